# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
from typing import Any

import pytest
from p2hooks import manifest
from p2hooks.errors import ManifestError
from p2hooks.hook_key import HookKey
from p2hooks.rollout_record import Cohort, Limits, Rollout, decode

KEY = HookKey.of("before_install", "ensure_user")
NODES = [f"node{number}" for number in range(10_000)]
POD = manifest.from_mapping(
    {
        "id": "ensure_user",
        "launchables": {"ensure_user": {"launchable_type": "hoist", "location": "https://example.com/a_1.tar.gz"}},
    },
    "a test",
)
ROLLOUT = Rollout(
    key=KEY,
    manifest=POD,
    cohort=Cohort(("node1", "node2"), 12.5),
    limits=Limits(1, 2, ("failed", "killed"), 30.0, 4),
    base_sha=None,
    started_by="alice",
    started="2026-01-31T12:00:00.000Z",
    widened="2026-01-31T12:00:00.000Z",
    cohort_before=Cohort(("node1",), 5.0),
)


def test_a_record_says_the_same_after_it_was_written() -> None:
    assert decode(KEY, ROLLOUT.encode(), "there") == ROLLOUT


def test_a_record_of_an_older_engine_wants_no_runs() -> None:
    content = json.loads(ROLLOUT.encode())
    del content["limits"]["min_runs"], content["cohort_before"]
    found = decode(KEY, json.dumps(content).encode(), "there")
    assert (found.limits, found.cohort_before) == (Limits(1, 2, ("failed", "killed"), 30.0, 0), Cohort())


@pytest.mark.parametrize(
    "change",
    [
        {"manifest": None},
        {"manifest": 7},
        {"cohort": {"nodes": [], "percent": "many"}},
        {"cohort": []},
        {"limits": {}},
        {"limits": {"failed_hosts": float("inf"), "failed_runs": 0, "outcomes": [], "watch_for": 1}},
    ],
)
def test_what_is_no_record_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ManifestError, match=r"^there: "):
        decode(KEY, json.dumps({**json.loads(ROLLOUT.encode()), **change}).encode(), "there")


@pytest.mark.parametrize("value", [b"", b"[]", b"7", b"\xff", b"{}", b"[" * 100_000])
def test_what_is_no_document_is_refused(value: bytes) -> None:
    with pytest.raises(ManifestError, match=r"^there: is no record of a rollout"):
        decode(KEY, value, "there")


def test_a_newer_schema_is_named() -> None:
    with pytest.raises(ManifestError, match="the schema 2, and this engine knows 1"):
        decode(KEY, json.dumps({**json.loads(ROLLOUT.encode()), "schema": 2}).encode(), "there")


def test_a_record_of_another_hook_is_refused() -> None:
    with pytest.raises(ManifestError, match="the manifest's id is ensure_user"):
        decode(HookKey.of("before_install", "other"), ROLLOUT.encode(), "there")


def test_a_share_takes_about_that_many_hosts() -> None:
    taken = [node for node in NODES if Cohort(percent=10).includes(node, KEY)]
    assert 900 < len(taken) < 1_100


def test_a_share_that_grows_leaves_nobody_out() -> None:
    before: set[str] = set()
    for percent in (0, 0.01, 1, 10, 50, 99.99, 100):
        taken = {node for node in NODES if Cohort(percent=percent).includes(node, KEY)}
        assert before <= taken
        before = taken
    assert before == set(NODES)


def test_other_hosts_go_first_for_another_hook() -> None:
    cohort = Cohort(percent=10)
    other = HookKey.of(None, "ensure_user")
    assert {node for node in NODES if cohort.includes(node, KEY)} != {
        node for node in NODES if cohort.includes(node, other)
    }


def test_a_named_host_is_in_without_a_share() -> None:
    cohort = Cohort(("node7",))
    assert [node for node in NODES if cohort.includes(node, KEY)] == ["node7"]
