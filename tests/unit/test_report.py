# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from p2hooks import report as page
from p2hooks.audit.counting import Tally
from p2hooks.audit.summary import summarise
from p2hooks.hook_info import Question, of_fleet
from p2hooks.hook_key import HookKey
from p2hooks.host_audit import decode_audit
from p2hooks.manifest import PodManifest
from p2hooks.node_status import moment
from p2hooks.report import aggregate, failures
from p2hooks.report.failures import tail
from support_audit import record
from support_fleet import NOW as REPORTED
from support_fleet import installed, report, roll_out
from support_host import Host, typed

NOW = datetime(2026, 1, 31, 15, 20, tzinfo=timezone.utc)
A = typed("a")


@pytest.fixture
def store(tmp_path: Path) -> Host:
    """A store, and what hosts can have."""
    return Host(tmp_path)


def answer(*records: dict[str, Any]) -> dict[str, Any]:
    return {"summary": summarise(records)}


def numbers(
    results: Mapping[str, Mapping[str, Any]],
    store: Host | None = None,
    since: datetime = NOW - timedelta(days=3),
) -> dict[str, Any]:
    audits = [decode_audit(host, result) for host, result in results.items()]
    fleet = of_fleet(store.store, Question(limit=None), now=REPORTED).data if store else None
    return aggregate(audits, fleet, since=since, now=NOW)


def failed(**fields: object) -> dict[str, Any]:
    return record(**{"outcome": "failed", "exit_code": 3, "output": "sorry\n", **fields})


def test_runs_are_counted_by_outcome_and_those_that_close_another_are_none() -> None:
    found = numbers(
        {
            "node1": answer(record(), failed(), record(outcome="timed_out"), record(outcome="killed")),
            "node2": answer(record()),
        }
    )
    totals = found["totals"]
    assert totals["outcomes"] == {"succeeded": 2, "failed": 1, "timed_out": 1}
    assert (totals["runs"], totals["failures"], totals["hosts"]) == (4, 2, 2)
    assert (totals["failing_hooks"], totals["failing_hosts"], totals["hooks"]) == (1, 1, 1)


@pytest.mark.parametrize(
    ("days", "step", "count"), [(0.01, 1, 1), (3, 1, 73), (7, 2, 85), (30, 12, 61), (4000, 1011, 96)]
)
def test_a_timeline_has_few_bars_however_long_the_time(days: float, step: int, count: int) -> None:
    since = NOW - timedelta(days=days)
    timeline = numbers({"node1": answer(record(start="2026-01-31T15:00:00.000Z"))}, since=since)["timeline"]
    assert timeline["step"] == timedelta(hours=step)
    assert len(timeline["bars"]) == count
    assert [each["runs"] for each in timeline["bars"]] == [0] * (count - 1) + [1]
    assert timeline["bars"][0]["start"] <= since < timeline["bars"][0]["start"] + timeline["step"]


def test_a_host_whose_clock_is_wrong_is_in_the_first_or_the_last_bar() -> None:
    bars = numbers({"node1": answer(failed(start="1999-01-01T00:00:00Z"), record(start="2999-01-01T00:00:00Z"))})[
        "timeline"
    ]["bars"]
    assert [(each["runs"], each["failures"]) for each in (bars[0], bars[-1])] == [(1, 1), (1, 0)]


def test_hooks_are_ranked_by_failures_and_by_time() -> None:
    found = numbers(
        {
            f"node{number}": answer(
                failed(hook="often", hook_id=None, duration=0.1 * number),
                record(hook="slow", hook_id=None, duration=10.0 * number),
                record(hook="started", hook_id=None, outcome="started", duration=None),
            )
            for number in (1, 2, 6)
        }
    )
    assert [hook["name"] for hook in found["most_failing"]["shown"]] == ["before_install/often"]
    slow, often = found["slowest"]["shown"]
    assert (slow["name"], slow["median"], slow["max"], slow["hosts"]) == ("before_install/slow", 20.0, 60.0, 3)
    assert (often["name"], often["failures"], often["failing_hosts"]) == ("before_install/often", 3, 3)


def test_a_hook_is_called_by_its_id_where_its_link_says_no_more() -> None:
    results = {"node1": answer(record(hook="a_a_launch"), record(hook="a_b_launch"), record(hook="a", hook_id=None))}
    assert sorted(hook["name"] for hook in numbers(results)["hooks"]["shown"]) == [
        "before_install/a",
        "before_install/a",
        "before_install/a_b_launch",
    ]


def test_failures_that_say_the_same_are_one_and_those_of_most_hosts_come_first() -> None:
    results = {f"node{number}": answer(failed(start=f"2026-01-31T12:{number:02}:00Z")) for number in range(30)}
    results["other"] = answer(record(), failed(output="else", start="2026-01-31T14:00:00Z"))
    (hook,) = numbers(results)["failures"]["shown"]
    assert (hook["count"], hook["hosts"], hook["newest"]) == (31, 31, "2026-01-31T14:00:00Z")
    common, other = hook["versions"]["shown"][0]["kinds"]["shown"]
    assert (common["what"], common["output"], common["count"]) == ("failed with exit code 3", "sorry", 30)
    assert (common["newest"], common["newest_host"], common["pod"]) == ("2026-01-31T12:29:00Z", "node29", "hello")
    assert common["hosts"]["shown"][:3] == ["node0", "node1", "node2"]
    assert len(common["hosts"]["shown"]) + common["hosts"]["more"] == 30
    assert (other["output"], other["count"], other["newest_host"]) == ("else", 1, "other")


def test_a_host_that_could_not_be_asked_may_have_told_the_store(store: Host) -> None:
    pod = store.pod("a", "1")
    for node, output, start in (
        ("node1", "known already", "2026-01-31T12:00:00Z"),
        ("node2", "told", "2026-01-31T12:00:00Z"),
        ("node3", "old", "2026-01-01T00:00:00Z"),
    ):
        tally = Tally()
        tally.add(failed(output=output, start=start))
        failure = {"outcomes": tally.outcomes, "last_failure": tally.last_failure}
        report(store, node, {str(A): installed(pod, **failure)})
    store.schedule(A, pod)
    found = numbers({"node1": answer(failed()), "node2": {"unreachable": True, "msg": "no route"}}, store)
    (hook,) = found["failures"]["shown"]
    assert hook["name"] == "before_install/a_b_launch"
    assert {
        (version["version"], version["manifest"], kind["output"]): kind["hosts"]["shown"]
        for version in hook["versions"]["shown"]
        for kind in version["kinds"]["shown"]
    } == {("1f", "5b0c", "sorry"): ["node1"], ("1", pod.sha[:12], "told"): ["node2"]}
    assert (found["totals"]["read"], found["totals"]["asked"], found["totals"]["hosts"]) == (1, 2, 3)
    assert {host["name"]: host["state"] for host in found["hosts"]["shown"]} == {
        "node1": "failing",
        "node2": "unreachable",
        "node3": "unasked",
    }


def test_a_host_without_an_audit_says_why() -> None:
    nowhere = "no audit log at /var/log/audit.jsonl"
    found = numbers(
        {
            "down": {"unreachable": True, "msg": "no route"},
            "denied": {"failed": True, "msg": "Permission denied"},
            "new1": {**answer(), "missing": nowhere},
            "new2": {**answer(), "missing": nowhere},
            "quiet": {**answer(), "missing": None},
        }
    )
    assert {host["name"]: host["state"] for host in found["hosts"]["shown"]} == {
        "denied": "unread",
        "down": "unreachable",
        "new1": "no_audit",
        "new2": "no_audit",
        "quiet": "idle",
    }
    assert [(each["kind"], each["error"], each["hosts"]["shown"]) for each in found["unread"]["shown"]] == [
        ("no_audit", nowhere, ["new1", "new2"]),
        ("unread", "Permission denied", ["denied"]),
        ("unreachable", "no route", ["down"]),
    ]
    assert (found["totals"]["read"], found["totals"]["asked"]) == (1, 5)


def of_version(pod: PodManifest, **fields: object) -> dict[str, Any]:
    return {"hook_id": "a", "manifest_sha": pod.sha, "artifact_version": pod.launchables[0].version, **fields}


def test_failures_are_told_by_version_and_of_each_whether_it_is_anywhere_any_more(store: Host) -> None:
    good, bad, worse, tried, left = (store.pod("a", version) for version in ("1", "2", "3", "4", "5"))
    store.schedule(A, good)
    roll_out(store, A, tried, "node3")
    report(store, "node1", {str(A): installed(good)})
    report(store, "node2", {str(A): installed(good)})
    report(store, "node3", {str(A): installed(left)})
    results = {
        "node1": answer(
            *[failed(**of_version(bad, output="bad", start=f"2026-01-31T11:0{number}:00Z")) for number in range(5)],
            *[failed(**of_version(worse, output="worse", start=f"2026-01-31T12:0{number}:00Z")) for number in range(3)],
            record(**of_version(good, start="2026-01-31T13:00:00Z")),
        ),
        "node2": answer(
            failed(**of_version(bad, output="bad", start="2026-01-31T11:30:00Z")),
            failed(**of_version(good, output="good", start="2026-01-31T12:30:00Z")),
        ),
        "node3": answer(
            failed(**of_version(tried, output="tried", start="2026-01-31T13:00:00Z")),
            failed(**of_version(left, output="left", start="2026-01-31T14:00:00Z")),
        ),
    }
    found = numbers(results, store)
    (hook,) = found["failures"]["shown"]
    assert (hook["count"], hook["hosts"], hook["is_past"], hook["versions"]["more"]) == (12, 3, False, 6)
    assert [
        (version["version"], version["is_past"], version["count"], version["hosts"])
        for version in hook["versions"]["shown"]
    ] == [("5", False, 1, 1), ("4", False, 1, 1), ("1", False, 1, 1), ("3", True, 3, 1)]
    assert hook["versions"]["shown"][-1]["manifest"] == worse.sha[:12]
    assert [kind["newest"] for kind in hook["versions"]["shown"][-1]["kinds"]["shown"]] == ["2026-01-31T12:02:00Z"]
    assert (found["totals"]["failures"], found["totals"]["past_failures"]) == (12, 9)


def test_hooks_of_which_only_past_versions_failed_come_last(store: Host) -> None:
    good, bad = store.pod("a", "1"), store.pod("a", "2")
    store.schedule(A, good)
    report(store, "node1", {str(A): installed(good)})
    records = [failed(**of_version(bad)) for dummy in range(5)]
    found = numbers({"node1": answer(*records, failed(hook="by_hand", hook_id=None, manifest_sha=None))}, store)
    assert [(each["name"], each["is_past"]) for each in found["failures"]["shown"]] == [
        ("before_install/by_hand", False),
        ("before_install/a_b_launch", True),
    ]


@pytest.mark.parametrize(
    ("why", "is_past"),
    [
        ("replaced", True),
        ("global", False),
        ("no store", False),
        ("no reports", False),
        ("unreadable", False),
        ("local", False),
        ("ran last on a host without a report", False),
        ("ran last on a host without a report that can be read", False),
        ("replaced on a host without a report", True),
    ],
)
def test_a_version_is_past_only_where_that_is_known(store: Host, why: str, is_past: bool) -> None:
    good, bad = store.pod("a", "1"), store.pod("a", "2")
    if why == "unreadable":
        store.put("hooks/before_install/a", b"?")
    elif why == "global":
        store.schedule(HookKey(None, "a"), bad)
    elif why != "local":
        store.schedule(A, good)
    if why != "no reports":
        report(store, "node1", {str(A): installed(good, origin="local" if why == "local" else "store")})
    results = {"node1": answer(failed(**of_version(bad)))}
    if "can be read" in why:
        store.put("hooks-status/node2", b"?")
    if "without a report" in why:
        last = bad if why.startswith("ran") else good
        results = {
            "node1": answer(record(**of_version(good))),
            "node2": answer(
                failed(**of_version(bad, start="2026-01-31T11:00:00Z")),
                record(**of_version(last, start="2026-01-31T12:00:00Z")),
            ),
        }
    (hook,) = numbers(results, None if why == "no store" else store)["failures"]["shown"]
    assert hook["versions"]["shown"][0]["is_past"] is is_past


@pytest.mark.parametrize(
    ("output", "shown"),
    [
        ("a\nb\n\n", "a\nb"),
        ("".join(f"{number}\n" for number in range(100)), "\n".join(map(str, range(84, 100)))),
        ("x" * 65536, "x" * 2000),
        (None, ""),
        (["no text"], "['no text']"),
    ],
)
def test_the_tail_of_an_output_is_its_last_lines(output: object, shown: str) -> None:
    assert tail({"output": output}) == shown


def test_hosts_differ_that_have_something_else_than_the_store_wants(store: Host) -> None:
    old, new = store.pod("a", "1"), store.pod("a", "2")
    again = store.pod("a", "2", config={"level": 3})
    store.schedule(A, new)
    roll_out(store, typed("b"), store.pod("b", "3"), "old1")
    report(store, "fine", {str(A): installed(new), "mine": installed(new, origin="local")})
    report(store, "old1", {str(A): installed(old), "before_install/b": installed(old)})
    # What a host itself takes for scheduled does not count.
    report(store, "old2", {str(A): installed(old, scheduled_sha=old.sha)})
    report(store, "odd1", {str(A): installed(again)})
    report(store, "gone", {})
    report(store, "left", {str(A): installed(new), "left": installed(new)})
    report(store, "mine", {str(A): installed(old, origin="local")})
    report(store, "sick", {str(A): {"error": "no room"}})
    report(store, "late", {str(A): installed(new)}, valid_for=-1)
    report(store, "lost", {str(A): installed(new)}, error="the store is empty")
    report(store, "past", {str(A): installed(new)}, engine="0.0.1")
    store.put("hooks-status/hurt", b"?")
    store.put("hooks/before_install/torn", b"?")
    found = numbers({}, store)
    differences = found["differences"]["shown"]
    shown = [(each["hook"], each["state"], each["what"], each["hosts"]["shown"]) for each in differences]
    torn = shown[0]
    assert (torn[:2], "before_install/torn" in torn[2], torn[3]) == (("before_install/torn", "unknown"), True, [])
    assert differences[0]["count"] == 11
    assert shown[1] == ("before_install/a", "outdated", "it has 1 in place of 2", ["old1", "old2"])
    shas = f"{again.sha[:12]} in place of {new.sha[:12]}"
    assert sorted(each for each in shown[2:] if each[0] is not None) == [
        ("before_install/a", "failed", "no room", ["sick"]),
        ("before_install/a", "missing", "it is not there", ["gone"]),
        ("before_install/a", "outdated", f"it has the manifest {shas}", ["odd1"]),
        ("before_install/a", "overridden", "a local hook stands in front of it", ["mine"]),
        ("before_install/b", "outdated", "it has 1 in place of 3, which is in rollout", ["old1"]),
        ("left", "extra", "it came from the store, which no longer schedules it", ["left"]),
    ]
    assert {each[2]: each[3] for each in shown if each[0] is None} == {
        "its listener no longer reports": ["late"],
        "its engine is older than this one": ["past"],
        "its report is no JSON document of a listener; look at what writes it": ["hurt"],
        "the store is empty": ["lost"],
    }
    assert found["totals"]["differing_hosts"] == 10
    names = {host["name"]: host["state"] for host in found["hosts"]["shown"]}
    assert set(names.values()) == {"differs"}
    assert not names.keys() & {"fine", "past"}


def test_what_is_scheduled_is_told_with_the_states_of_hosts(store: Host) -> None:
    old, new = store.pod("a", "1"), store.pod("a", "2")
    store.schedule(A, old)
    store.schedule(typed("b"), store.pod("b", "1"))
    roll_out(store, A, new, "node1")
    report(store, "node1", {str(A): installed(new), "before_install/b": installed(store.pod("b", "1"))})
    report(store, "node2", {str(A): installed(old)})
    report(store, "node3", {str(A): installed(old), "c": installed(old, origin="local")})
    store.put("hooks/torn", b"?")
    found = {hook["name"]: hook for hook in numbers({}, store)["versions"]["shown"]}
    assert list(found) == ["before_install/b", "before_install/a", "torn", "c"]
    assert {name: hook["states"] for name, hook in found.items()} == {
        "before_install/a": {"installed": 3},
        "before_install/b": {"installed": 1, "missing": 2},
        "c": {"local": 1},
        "torn": {"unknown": 3},
    }
    assert found["before_install/a"]["scheduled"] == {"version": "1", "manifest": old.sha[:12]}
    assert found["before_install/a"]["rollout"] == {"version": "2", "manifest": new.sha[:12]}
    assert (found["c"]["scheduled"], found["c"]["rollout"], found["torn"]["is_readable"]) == (None, None, False)


def test_rollouts_are_told_with_how_they_are_doing_the_broken_ones_first(store: Host) -> None:
    old, new = store.pod("a", "1"), store.pod("a", "2")
    store.schedule(A, old)
    roll_out(store, A, new, "fine")
    other = store.pod("b", "1")
    roll_out(store, typed("b"), other, "fine", "slow2", "slow1", "sick", "none")
    report(store, "fine", {str(A): installed(new), "before_install/b": installed(other, outcomes={"succeeded": 3})})
    report(store, "slow1", {})
    report(store, "slow2", {})
    report(store, "sick", {"before_install/b": {"error": "no room"}})
    found = numbers({}, store)
    broken, good = found["rollouts"]["shown"]
    assert (found["totals"]["rollouts"], found["totals"]["broken_rollouts"]) == (2, 1)
    assert (good["name"], good["broken"], good["reasons"]["shown"]) == ("before_install/a", None, [])
    assert (good["version"], good["manifest"], good["base"]) == ("2", new.sha[:12], None)
    assert (good["started_by"], good["started"][:10], good["widened"]) == ("alice", "2027-01-15", None)
    assert "was changed since the rollout was started" in good["overtaken"]
    assert (broken["name"], broken["total"], broken["overtaken"]) == ("before_install/b", 5, None)
    assert broken["hosts"] == {"converged": 1, "waiting": 2, "away": 1, "failed": 1}
    assert broken["outcomes"] == {"succeeded": 3}
    assert broken["broken"] == "hosts where it failed: 1 of 5, at most 0 may be (failed_hosts)"
    assert [(each["standing"], each["why"], each["hosts"]["shown"]) for each in broken["reasons"]["shown"]] == [
        ("failed", "could not be installed: no room", ["sick"]),
        ("away", "it has no report in the store", ["none"]),
        ("waiting", "it does not have it yet, by its report of 0 s ago", ["slow1", "slow2"]),
    ]


def test_hosts_that_wait_are_one_however_old_their_reports_are(store: Host) -> None:
    nodes = [f"node{number}" for number in range(20)]
    roll_out(store, A, store.pod("a", "1"), *nodes)
    for number, node in enumerate(nodes):
        report(store, node, {}, reported=moment(REPORTED - number))
    (rollout,) = numbers({}, store)["rollouts"]["shown"]
    assert [(each["why"], each["count"]) for each in rollout["reasons"]["shown"]] == [
        ("it does not have it yet, by its report of up to 19 s ago", 20)
    ]


def test_a_page_without_the_store_says_nothing_of_it(store: Host) -> None:
    store.schedule(A, store.pod("a", "1"))
    asked, not_asked = numbers({}, store), numbers({})
    assert (asked["totals"]["reports"], not_asked["totals"]["reports"]) == (0, None)
    assert (len(asked["versions"]["shown"]), not_asked["versions"]["shown"]) == (1, [])


def test_a_page_says_why_the_store_could_not_be_read() -> None:
    found = aggregate(
        [decode_audit("node1", answer(failed()))],
        {"failed": True, "msg": "x" * 1000},
        since=NOW - timedelta(3),
        now=NOW,
    )
    assert found["store_error"] == "x" * 299 + "…"
    assert (found["totals"]["reports"], found["totals"]["failures"]) == (None, 1)
    assert numbers({})["store_error"] is None


def test_versions_are_those_that_ran_last_where_the_store_is_not_asked() -> None:
    results = {
        "node1": answer(record(artifact_version="old"), record(artifact_version="new", start="2026-01-31T13:00:00Z")),
        "node2": answer(record(artifact_version="old")),
    }
    (hook,) = numbers(results)["versions"]["shown"]
    assert {version["version"]: version["hosts"]["shown"] for version in hook["versions"]["shown"]} == {
        "new": ["node1"],
        "old": ["node2"],
    }


@pytest.mark.parametrize(
    ("in_inventory", "in_records", "reports"),
    [("web1", "web1", "web1"), ("web1", "web1.example.com", "web1.example.com"), ("web1.example.com", None, "web1")],
)
def test_a_host_is_one_host_by_whichever_name_it_reports(
    store: Host, in_inventory: str, in_records: str | None, reports: str
) -> None:
    store.schedule(A, store.pod("a", "1"))
    report(store, reports, {})
    found = numbers({in_inventory: answer(*[record(host=in_records)] * bool(in_records))}, store)
    assert [(host["name"], host["state"]) for host in found["hosts"]["shown"]] == [(in_inventory, "differs")]


def test_hosts_are_called_by_the_worst_that_applies() -> None:
    results = {
        "down": {"failed": True, "msg": "no room"},
        "bad": answer(failed(), record()),
        "some": answer(failed(), *[record()] * 20),
        "fine": answer(record()),
        "idle": answer(),
    }
    states = {host["name"]: host["state"] for host in numbers(results)["hosts"]["shown"]}
    assert states == {"down": "unread", "bad": "failing", "some": "some", "fine": "fine", "idle": "idle"}


def test_hosts_stand_in_the_order_that_people_count_in() -> None:
    results = {name: answer() for name in ("node10", "node2", "node1", "a", "node²", "10", "node" + "9" * 400)}
    names = [host["name"] for host in numbers(results)["hosts"]["shown"]]
    assert names[:2] == ["10", "a"]
    assert [name for name in names if name in ("node1", "node2", "node10")] == ["node1", "node2", "node10"]


def test_every_list_is_bounded_and_says_what_it_leaves_out(store: Host) -> None:
    results = {
        f"node{number}": answer(
            *(failed(hook=f"hook{each}", hook_id=None, output=f"{number}", exit_code=number) for each in range(60))
        )
        for number in range(20)
    }
    pod = store.pod("a", "1")
    for name in results:
        report(store, name, {f"hook{each}": installed(pod) for each in range(60)})
    for each in range(60):
        roll_out(store, typed(f"r{each}"), store.pod(f"r{each}", "1"), "node1")
    found = numbers(results, store)
    for name, limit, total in [
        ("most_failing", page.MAX_RANKED, 60),
        ("slowest", page.MAX_RANKED, 60),
        ("failures", page.MAX_FAILING_HOOKS, 60),
        ("differences", page.MAX_DIFFERENCES, 120),
        ("hooks", page.MAX_HOOKS, 60),
        ("versions", page.MAX_HOOKS, 120),
        ("rollouts", page.MAX_ROLLOUTS, 60),
        ("troubled_hosts", page.MAX_TROUBLED_HOSTS, 20),
    ]:
        assert (len(found[name]["shown"]), found[name]["more"]) == (limit, total - limit), name
    kinds = found["failures"]["shown"][0]["versions"]["shown"][0]["kinds"]
    assert (len(kinds["shown"]), kinds["more"]) == (failures.MAX_KINDS_OF_FAILURE, 20 - failures.MAX_KINDS_OF_FAILURE)


@pytest.mark.parametrize(
    "broken",
    [
        {"hours": {"yesterday": {}}},
        {"hours": {"2026-01-31T12": {"failed": "many"}}},
        {"hours": {"2026-01-31T12": 1}},
        {"hours": []},
        {"median_duration": "long"},
        {"failures": [{"manifest_sha": "5b0c", "artifact_version": "1f", "count": 1, "last_failure": "yes"}]},
        {"failures": 1},
    ],
)
def test_a_host_that_answers_nonsense_is_shown_as_that(broken: dict[str, object]) -> None:
    result = answer(record())
    result["summary"][0].update(broken)
    found = numbers({"odd": result, "fine": answer(record())})
    assert [each["hosts"]["shown"] for each in found["unread"]["shown"]] == [["odd"]]
    assert found["totals"]["runs"] == 1


@pytest.mark.parametrize("result", [{}, {"summary": None}, {"summary": [None]}, {"summary": [{}]}, {"summary": "text"}])
def test_an_answer_that_is_none_is_shown_as_that(result: dict[str, object]) -> None:
    assert numbers({"odd": result})["unread"]["shown"][0]["hosts"]["shown"] == ["odd"]


@pytest.mark.parametrize(("count", "shown"), [(-5, 0), (10**400, 10**9)])
def test_numbers_that_no_chart_can_show_are_bounded(count: int, shown: int) -> None:
    result = answer(record())
    result["summary"][0].update(hours={"2026-01-31T12": {"failed": count}}, max_duration=float("nan"))
    found = numbers({"odd": result})
    assert found["totals"]["failures"] == shown
    assert found["hooks"]["shown"][0]["max"] == 0.0


def test_a_fleet_without_anything_is_a_report_as_well() -> None:
    found = numbers({})
    assert found["totals"]["hosts"] == found["totals"]["runs"] == 0
    assert found["timeline"]["max_runs"] == 0
