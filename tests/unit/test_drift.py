# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from p2hooks.drift import compare_host, failed_runs, read_host, read_wanted
from p2hooks.fleet import HookReport, read_fleet
from support_fleet import NOW, installed, report, roll_out
from support_host import Host, typed

A, B = typed("a"), typed("b")


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def states(host: Host, node: str = "node1") -> dict[str, str]:
    """Return what is found of each hook on a host that has reported."""
    return {each.name: each.state for each in read_wanted(host.store).compare(read_fleet(host.store)[node])}


def states_here(host: Host, node: str = "node1") -> dict[str, str]:
    """Return what is found of each hook on this host."""
    here = read_host(host.layout, node, None, NOW)
    return {each.name: each.state for each in compare_host(host.layout, read_wanted(host.store), here)}


def test_each_way_in_which_a_host_can_differ(host: Host) -> None:
    pod, other = host.pod("a", "2"), host.pod("a", "1")
    reports = {
        "installed": installed(pod),
        "missing": installed(pod, manifest_sha=None, origin=None),
        "outdated": installed(other),
        "failed": installed(other, error="no space"),
        "overridden": installed(other, origin="local"),
    }
    host.schedule(A, pod)
    for state, hook in reports.items():
        report(host, state, {str(A): hook})
    assert {state: states(host, state) for state in reports} == {state: {str(A): state} for state in reports}


def test_a_hook_that_is_not_wanted_is_extra_if_it_came_from_the_store(host: Host) -> None:
    pod = host.pod("a", "1")
    report(host, "node1", {"a": installed(pod), "b": installed(pod, origin="local"), "c": {"manifest_sha": None}})
    assert states(host) == {"a": "extra", "b": "local"}


def test_a_hook_that_a_host_does_not_mention_is_missing(host: Host) -> None:
    host.schedule(A, host.pod("a", "1"))
    report(host, "node1", {})
    assert states(host) == {str(A): "missing"}


def test_the_cohort_of_a_rollout_should_have_its_manifest_and_the_others_what_is_scheduled(host: Host) -> None:
    old, new = host.pod("a", "1"), host.pod("a", "2")
    host.schedule(A, old)
    roll_out(host, A, new, "canary", "late")
    roll_out(host, B, host.pod("b", "1"), "canary")
    report(host, "canary", {str(A): installed(new)})
    report(host, "late", {str(A): installed(old)})
    report(host, "other", {str(A): installed(old)})
    report(host, "ahead", {str(A): installed(new)})
    assert states(host, "canary") == {str(A): "installed", str(B): "missing"}
    assert states(host, "late") == {str(A): "outdated"}
    assert states(host, "other") == {str(A): "installed"}
    assert states(host, "ahead") == {str(A): "outdated"}


@pytest.mark.parametrize("prefix", ["hooks/", "hooks-rollout/"])
def test_what_cannot_be_read_in_the_store_tells_nothing_of_hosts(host: Host, prefix: str) -> None:
    host.put(f"{prefix}{A}", b"[]")
    report(host, "has", {str(A): installed(host.pod("a", "1"))})
    report(host, "lacks", {})
    report(host, "complains", {str(A): {"error": "it is no manifest"}})
    wanted = read_wanted(host.store)
    assert f"{prefix}{A}" in wanted.errors[str(A)]
    assert [states(host, node)[str(A)] for node in ("has", "lacks", "complains")] == ["unknown", "unknown", "failed"]


def test_nothing_is_said_of_a_host_whose_report_cannot_be_read(host: Host) -> None:
    host.schedule(A, host.pod("a", "1"))
    host.put("hooks-status/node1", b"?")
    assert states(host) == {}


def test_only_what_is_meant_is_read(host: Host) -> None:
    host.schedule(A, host.pod("a", "1"))
    host.put("hooks/broken", b"[]")
    roll_out(host, B, host.pod("b", "1"), "node1")
    wanted = read_wanted(host.store, lambda name: name == str(A))
    assert (list(wanted.scheduled), wanted.rollouts, wanted.errors) == ([A], {}, {})


# --- on the disk of this host --------------------------------------------------------------------------------------


def test_a_host_finds_that_all_is_as_it_should_be_and_what_is_not(host: Host) -> None:
    host.schedule(A, host.pod("a", "1"))
    host.schedule(B, host.pod("b", "1"))
    assert states_here(host) == {str(A): "missing", str(B): "missing"}
    host.reconcile()
    assert states_here(host) == {str(A): "installed", str(B): "installed"}
    host.schedule(A, host.pod("a", "2"))
    host.schedule(B, None)
    assert states_here(host) == {str(A): "outdated", str(B): "extra"}
    host.present(B, host.pod("b", "1"))
    assert states_here(host)[str(B)] == "local"


def test_a_host_in_a_cohort_should_have_what_is_rolled_out(host: Host) -> None:
    host.schedule(A, host.pod("a", "1"))
    host.reconcile()
    roll_out(host, A, host.pod("a", "2"), "canary")
    assert states_here(host, "canary") == {str(A): "outdated"}
    assert states_here(host, "other") == {str(A): "installed"}
    roll_out(host, B, host.pod("b", "1"), "canary")
    host.reconcile(node="canary")
    assert states_here(host, "canary") == {str(A): "installed", str(B): "installed"}


def change_manifest(home: Path) -> None:
    (home / "current_manifest.yaml").write_text("id: a\n")


def change_environment(home: Path) -> None:
    (home / "env" / "POD_ID").write_text("b")


def add_variable(home: Path) -> None:
    (home / "env" / "PATH").write_text("/tmp")


def remove_script(home: Path) -> None:
    (home / "main" / "current" / "bin" / "launch").unlink()


def remove_link(home: Path) -> None:
    (home.parents[2] / "exec" / "before_install" / "a_main_launch").unlink()


@pytest.mark.parametrize("change", [change_manifest, change_environment, add_variable, remove_script, remove_link])
def test_what_somebody_changed_on_the_disk_is_found_and_nothing_is_written(
    host: Host, change: Callable[[Path], None]
) -> None:
    host.schedule(A, host.pod("a", "1"))
    host.reconcile()
    change(host.pods / "before_install" / "a")
    before = host.identity()
    assert states_here(host) == {str(A): "changed"}
    assert host.identity() == before


def test_an_artifact_that_changed_under_its_version_says_so(host: Host) -> None:
    host.schedule(A, host.pod("a", "1"))
    host.reconcile()
    (host.pods / "before_install/a/main/current/.artifact-sha256").write_text("0" * 64)
    here = read_host(host.layout, "node1", None, NOW)
    [difference] = compare_host(host.layout, read_wanted(host.store), here)
    assert difference.state == "failed"
    assert "another digest" in str(difference.found.error)


def test_only_outcomes_that_are_failures_count() -> None:
    outcomes = {"succeeded": 5, "failed": 2, "killed": 0, "timed_out": 1}
    assert failed_runs(HookReport(outcomes=outcomes)) == {"failed": 2, "timed_out": 1}
