# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from p2hooks.attention import GROUPS, attention
from p2hooks.drift import read_wanted
from p2hooks.fleet import reports
from support_fleet import NOW, installed, report, roll_out
from support_host import Host, typed

A = typed("a")


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def found(host: Host, now: float = NOW) -> dict[str, dict[str, Any]]:
    return attention(read_wanted(host.store), reports(host.store), now)


def groups(host: Host, now: float = NOW) -> dict[str, list[str]]:
    return {node: each["groups"] for node, each in found(host, now).items()}


def test_hosts_are_grouped_by_what_is_wrong_with_their_hooks(host: Host) -> None:
    pod = host.pod("a", "1")
    host.schedule(A, pod)
    report(host, "fine", {str(A): installed(pod, outcomes={"succeeded": 9})})
    report(host, "lacks", {})
    report(host, "refuses", {str(A): {"error": "no space"}})
    report(host, "fails", {str(A): installed(pod, outcomes={"succeeded": 1, "killed": 2})})
    report(
        host, "fails_globally", {str(A): installed(pod), "b": installed(pod, origin="local", outcomes={"failed": 1})}
    )
    assert groups(host) == {
        "fine": [],
        "lacks": ["hook_drifted"],
        "refuses": ["hook_drifted", "hook_failed", "hook_failed_before_install"],
        "fails": ["hook_failed", "hook_failed_before_install"],
        "fails_globally": ["hook_failed", "hook_failed_global"],
    }


def test_hosts_are_grouped_by_what_is_wrong_with_them_as_a_whole(host: Host) -> None:
    report(host, "lost", {}, valid_for=10)
    report(host, "broken", {}, error="nothing is scheduled")
    report(host, "old", {}, engine="0.0.9")
    report(host, "odd", {}, engine="\N{SUPERSCRIPT TWO}." + "9" * 5000)
    host.put("hooks-status/strange", b"?")
    assert groups(host, NOW + 60) == {
        "lost": ["listener_stale"],
        "broken": ["listener_error"],
        "old": ["engine_outdated"],
        "odd": ["engine_outdated"],
        "strange": ["report_unreadable"],
    }


def test_the_cohort_of_a_rollout_is_a_group(host: Host) -> None:
    pod = host.pod("a", "1")
    roll_out(host, A, pod, "canary")
    report(host, "canary", {str(A): installed(pod)})
    report(host, "other", {})
    assert groups(host) == {"canary": ["in_rollout", "in_rollout_before_install/a"], "other": []}


def test_all_groups_but_those_of_single_rollouts_are_known(host: Host) -> None:
    pod = host.pod("a", "1")
    roll_out(host, A, pod, "node1")
    report(host, "node1", {"a": {"error": "no"}}, valid_for=10, error="no", engine="0.0.9")
    host.put("hooks-status/strange", b"?")
    seen = {group for each in groups(host, NOW + 60).values() for group in each}
    assert seen - set(GROUPS) == {"in_rollout_before_install/a"}


def test_variables_say_what_differs_and_what_failed(host: Host) -> None:
    pod = host.pod("a", "1")
    host.schedule(A, pod)
    report(host, "node1", {str(A): {"error": "no space"}, "b": installed(pod, outcomes={"failed": 1, "succeeded": 2})})
    variables = found(host)["node1"]["variables"]
    assert variables["p2_hooks"] == {"failed": 1, "extra": 1}
    assert variables["p2_drift"] == {str(A): "failed", "b": "extra"}
    assert variables["p2_failures"] == {
        str(A): {"error": "no space", "outcomes": {}},
        "b": {"error": None, "outcomes": {"failed": 1}},
    }
    assert json.loads(json.dumps(variables)) == variables  # an inventory can keep it in a cache
