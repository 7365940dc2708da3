# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from p2hooks.audit.counting import OutcomeCounter
from p2hooks.errors import HookError, ManifestError
from p2hooks.hook_info import Info, Question, of_fleet, of_host
from p2hooks.node_status import NodeStatus
from p2hooks.store.base import Entry
from p2hooks.store.directory import DirectoryStore
from support_fleet import NOW, installed, report, roll_out
from support_host import Host, typed

A = typed("a")


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def fleet(host: Host, *nodes: str, now: float = NOW, **question: Any) -> Info:
    return of_fleet(host.store, Question(**question), nodes=nodes, now=now)


def test_what_is_scheduled_and_rolled_out_is_told_with_how_many_hosts_have_it(host: Host) -> None:
    old, new = host.pod("a", "1"), host.pod("a", "2")
    host.schedule(A, old)
    roll_out(host, A, new, "node1")
    report(host, "node1", {str(A): installed(new)})
    report(host, "node2", {str(A): installed(old)})
    report(host, "node3", {str(A): installed(new)})
    info = fleet(host)
    [hook] = info.data["hooks"]
    assert (hook["event"], hook["id"], hook["hosts"]) == ("before_install", "a", {"installed": 2, "outdated": 1})
    assert hook["scheduled"] == {"manifest_sha": old.sha, "versions": {"main": "1"}}
    assert {"manifest_sha": new.sha, "nodes": ["node1"], "started_by": "alice"}.items() <= hook["rollout"].items()
    [difference] = hook["differences"]
    assert (difference["node"], difference["state"]) == ("node3", "outdated")
    assert (difference["manifest_sha"], difference["wanted_sha"]) == (new.sha, old.sha)
    [node] = info.data["nodes"]
    assert (node["node"], node["hooks"]) == ("node3", {"outdated": 1})
    assert info.data["summary"] == {
        "hooks": 1,
        "nodes": 3,
        "stale": 0,
        "outdated": 0,
        "unreadable": 0,
        "error": 0,
        "differences": 1,
    }
    assert info.warnings == []
    json.dumps(info.data)


def test_a_rollout_is_told_with_how_it_is_doing_on_its_cohort(host: Host) -> None:
    old, new = host.pod("a", "1"), host.pod("a", "2")
    host.schedule(A, old)
    roll_out(host, A, new, "fine", "slow1", "slow2", "full", "silent")
    report(host, "fine", {str(A): installed(new, outcomes={"succeeded": 2})})
    report(host, "slow1", {str(A): installed(old, outcomes={"failed": 3}), "b": installed(old)})
    report(host, "slow2", {})
    report(host, "full", {str(A): {"error": "no space"}})
    report(host, "other", {str(A): installed(new, outcomes={"failed": 1})})
    [hook] = fleet(host, id="a").data["hooks"]
    progress = hook["rollout"]["progress"]
    broken = progress.pop("broken")
    assert progress == {
        "hosts": {"converged": 1, "waiting": 2, "away": 1, "failed": 1},
        "waiting": dict.fromkeys(("slow1", "slow2"), "it does not have it yet, by its report of 0 s ago"),
        "away": {"silent": "it has no report in the store"},
        "failed_nodes": {"full": "could not be installed: no space"},
        "outcomes": {"succeeded": 2},
    }
    assert "hosts where it failed: 1 of 5" in broken
    [hook] = fleet(host, id="a", limit=1).data["hooks"]
    assert (hook["rollout"]["progress"]["hosts"]["waiting"], hook["rollout"]["progress"]["waiting"].keys()) == (
        2,
        {"slow1"},
    )
    [hook] = fleet(host, "fine", id="a").data["hooks"]
    assert hook["rollout"]["progress"] is None


def test_what_is_wrong_with_a_host_as_a_whole_is_told(host: Host) -> None:
    report(host, "fine", {})
    report(host, "old", {}, engine="0.0.9")
    report(host, "lost", {}, valid_for=10)
    report(host, "broken", {}, error="nothing is scheduled")
    host.put("hooks-status/strange", b"?")
    data = fleet(host, now=NOW + 60).data
    found = {
        node["node"]: [key for key in node if node[key] and key not in ("node", "engine", "reported")]
        for node in data["nodes"]
    }
    assert found == {"old": ["outdated"], "lost": ["stale"], "broken": ["error"], "strange": ["unreadable"]}
    assert data["summary"] == {
        "hooks": 0,
        "nodes": 5,
        "stale": 1,
        "outdated": 1,
        "unreadable": 1,
        "error": 1,
        "differences": 0,
    }


def test_runs_that_failed_are_added_up_with_the_newest_of_them(host: Host) -> None:
    pod = host.pod("a", "1")
    host.schedule(A, pod)
    for node, start, outcomes in (
        ("node1", "2026-01-02", {"succeeded": 1, "failed": 2}),
        ("node2", "2026-01-01", {"timed_out": 1}),
        ("node3", None, {"succeeded": 3}),
    ):
        failure = {"start": start, "output": "oh"} if start else None
        report(host, node, {str(A): installed(pod, outcomes=outcomes, last_failure=failure)})
    [hook] = fleet(host).data["hooks"]
    assert hook["outcomes"] == {"succeeded": 4, "failed": 2, "timed_out": 1}
    assert hook["failing_hosts"] == 2
    has = {"manifest_sha": pod.sha, "versions": {"main": "1"}}
    assert hook["failures"] == [
        {"node": "node1", **has, "outcomes": {"failed": 2}, "last_failure": {"start": "2026-01-02", "output": "oh"}},
        {"node": "node2", **has, "outcomes": {"timed_out": 1}, "last_failure": {"start": "2026-01-01", "output": "oh"}},
    ]
    assert hook["last_failure"] == {"node": "node1", "start": "2026-01-02", "output": "oh"}
    assert hook["differences"] == []


def test_the_document_stays_small_and_says_what_it_leaves_off(host: Host) -> None:
    pod = host.pod("a", "1")
    host.schedule(A, pod)
    for number in range(5):
        report(host, f"node{number}", {str(A): {"error": "no space", "outcomes": {"failed": 1}}})
    [hook] = fleet(host, limit=2).data["hooks"]
    assert [difference["node"] for difference in hook["differences"]] == ["node0", "node1"]
    assert (hook["hosts"], hook["differences_left_off"]) == ({"failed": 5}, 3)
    assert (len(hook["failures"]), hook["failing_hosts"]) == (2, 5)
    [hook] = fleet(host, limit=None).data["hooks"]
    assert (len(hook["differences"]), hook["differences_left_off"]) == (5, 0)


@pytest.mark.parametrize(
    ("question", "found"),
    [
        ({}, ["a", "after_launch/a", "b", "before_install/a"]),
        ({"event": "before_install"}, ["before_install/a"]),
        ({"id": "a"}, ["a", "after_launch/a", "before_install/a"]),
        ({"id": "a", "event": "after_launch"}, ["after_launch/a"]),
        ({"id": "c"}, []),
    ],
)
def test_only_the_hooks_that_are_asked_for(host: Host, question: dict[str, Any], found: list[str]) -> None:
    pod = host.pod("a", "1")
    host.schedule(A, pod)
    host.schedule(typed("a", "after_launch"), pod)
    report(host, "node1", {"a": installed(pod), "b": installed(pod)})
    data = fleet(host, **question).data
    assert ["/".join(filter(None, (hook["event"], hook["id"]))) for hook in data["hooks"]] == found
    assert data["summary"]["differences"] == len(found)


def test_only_the_hosts_that_are_asked_for(host: Host) -> None:
    for node in ("node1", "node2", "node3"):
        report(host, node, {})
    info = fleet(host, "node3", "node1", "node9")
    assert info.data["summary"]["nodes"] == 2
    assert info.warnings == ["node9 has never reported; is its listener running?"]
    with pytest.raises(ManifestError, match="give the name of this host"):
        fleet(host, "../hooks")


def test_a_store_without_reports_is_no_error_but_warned_of(host: Host) -> None:
    [warning] = fleet(host).warnings
    assert "no host has reported; a file system that is not mounted looks the same" in warning


class CountingStore(DirectoryStore):
    """Knows what it was asked for."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.asked: list[str] = []

    def read(self, prefix: str) -> dict[str, Entry]:
        self.asked.append(prefix)
        return super().read(prefix)


def test_each_prefix_is_read_once(host: Host, tmp_path: Path) -> None:
    report(host, "node1", {})
    store = CountingStore(str(tmp_path / "store"))
    of_fleet(store, Question(), now=NOW)
    assert store.asked == ["hooks-rollout/", "hooks/", "hooks-status/"]


def test_what_a_listener_reports_is_understood(host: Host, tmp_path: Path) -> None:
    old, new = host.pod("a", "1"), host.pod("a", "2")
    host.schedule(A, old)
    host.reconcile()
    host.schedule(A, new)
    outcomes = OutcomeCounter(str(tmp_path / "audit.jsonl"))
    status = NodeStatus(host.layout, host.store, "node1", outcomes, valid_for=60, random=lambda: 0.5)
    status.write(NOW, scheduled={A: new.sha}, errors={}, error=None)
    [hook] = fleet(host).data["hooks"]
    [difference] = hook["differences"]
    assert (difference["state"], difference["manifest_sha"], difference["versions"]) == (
        "outdated",
        old.sha,
        {"main": "1"},
    )
    assert difference["installed"]
    status.write(NOW, scheduled={A: new.sha}, errors={str(A): HookError("no space")}, error="gone")
    outcomes.close()
    data = fleet(host).data
    assert data["hooks"][0]["differences"][0]["error"] == "no space"
    assert [(node["error"], node["hooks"]) for node in data["nodes"]] == [("gone", {"failed": 1})]


def test_this_host_looks_at_its_disk(host: Host) -> None:
    pod = host.pod("a", "1")
    host.schedule(A, pod)
    host.reconcile()
    info = of_host(host.store, host.layout, Question(), node="node1", now=NOW)
    [hook] = info.data["hooks"]
    assert (info.data["scope"], hook["hosts"], info.data["nodes"]) == ("host", {"installed": 1}, [])
    (host.pods / "before_install/a/env/POD_ID").unlink()
    [hook] = of_host(host.store, host.layout, Question(), node="node1", now=NOW).data["hooks"]
    [difference] = hook["differences"]
    assert (difference["node"], difference["state"], difference["manifest_sha"]) == ("node1", "changed", pod.sha)
