# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from p2hooks import report
from p2hooks.audit.counting import Tally
from p2hooks.audit.reading import summarise
from p2hooks.fleet import HookReport, NodeReport
from p2hooks.host_audit import decode_audit
from p2hooks.report import aggregate, failures
from p2hooks.report.failures import tail
from support_audit import record

NOW = datetime(2026, 1, 31, 15, 20, tzinfo=timezone.utc)


def answer(*records: dict[str, Any]) -> dict[str, Any]:
    return {"summary": summarise(records)}


def numbers(
    results: Mapping[str, Mapping[str, Any]],
    reports: Mapping[str, NodeReport] | None = None,
    since: datetime = NOW - timedelta(days=3),
) -> dict[str, Any]:
    audits = [decode_audit(host, result) for host, result in results.items()]
    return aggregate(audits, reports or {}, since=since, now=NOW)


def failed(**fields: object) -> dict[str, Any]:
    return record(**{"outcome": "failed", "exit_code": 3, "output": "sorry\n", **fields})


def installed(sha: str, **fields: Any) -> HookReport:
    return HookReport(
        **{"manifest_sha": sha, "scheduled_sha": sha, "versions": {"a": "1" + sha}, "origin": "store", **fields}
    )


def node(name: str, age: float = 60, error: str | None = None, **hooks: HookReport) -> NodeReport:
    reported = NOW.timestamp() - age
    named = {f"before_install/{hook_id}": hook for hook_id, hook in hooks.items()}
    return NodeReport(name, reported=reported, valid_for=1200, error=error, hooks=named)


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
    common, other = hook["kinds"]["shown"]
    assert (common["what"], common["output"], common["count"]) == ("failed with exit code 3", "sorry", 30)
    assert (common["newest"], common["newest_host"], common["pod"]) == ("2026-01-31T12:29:00Z", "node29", "hello")
    assert common["hosts"]["shown"][:3] == ["node0", "node1", "node2"]
    assert len(common["hosts"]["shown"]) + common["hosts"]["more"] == 30
    assert (other["output"], other["count"], other["newest_host"]) == ("else", 1, "other")


def told(**fields: object) -> HookReport:
    """Return what a host reports that counts its failures."""
    tally = Tally()
    tally.add(failed(**fields))
    return installed("x", last_failure=tally.last_failure)


def test_a_host_that_could_not_be_asked_may_have_told_the_store() -> None:
    reports = {
        "node1": node("node1", a=told(output="known already")),
        "node2": node("node2", a=told(output="told")),
        "node3": node("node3", a=told(start="2026-01-01T00:00:00Z")),
    }
    found = numbers({"node1": answer(failed()), "node2": {"unreachable": True, "msg": "no route"}}, reports)
    (hook,) = found["failures"]["shown"]
    assert hook["name"] == "before_install/a_b_launch"
    assert {kind["output"]: kind["hosts"]["shown"] for kind in hook["kinds"]["shown"]} == {
        "sorry": ["node1"],
        "told": ["node2"],
    }
    assert found["unread"]["shown"] == [
        {"error": "no route", "count": 1, "hosts": {"shown": ["node2"], "more": 0}},
    ]
    assert (found["totals"]["read"], found["totals"]["asked"], found["totals"]["hosts"]) == (1, 2, 3)


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


def test_hosts_differ_that_have_something_else_than_is_scheduled() -> None:
    reports = {
        "fine": node("fine", a=installed("x"), b=installed("x", scheduled_sha=None, origin="local")),
        "old1": node("old1", a=installed("w", scheduled_sha="x")),
        "old2": node("old2", a=installed("w", scheduled_sha="x")),
        "gone": node("gone", a=HookReport(scheduled_sha="x")),
        "left": node("left", a=installed("x", scheduled_sha=None)),
        "mine": node("mine", a=installed("w", scheduled_sha="x", origin="local")),
        "sick": node("sick", a=HookReport(scheduled_sha="x", error="no room")),
        "late": node("late", age=1201, a=installed("x")),
        "lost": node("lost", error="the store is empty"),
        "odd": NodeReport("odd", unreadable="no report"),
    }
    found = numbers({}, reports)
    assert [(each["hook"], each["what"], each["hosts"]["shown"]) for each in found["differences"]["shown"]] == [
        ("before_install/a", "has the manifest w in place of x", ["old1", "old2"]),
        ("before_install/a", "a local hook stands in front of the scheduled one", ["mine"]),
        ("before_install/a", "could not be installed: no room", ["sick"]),
        ("before_install/a", "is installed, and no longer scheduled", ["left"]),
        ("before_install/a", "is scheduled, and not installed", ["gone"]),
        (None, "has not reported for longer than it promised: nobody looks after it", ["late"]),
        (None, "no report", ["odd"]),
        (None, "the store is empty", ["lost"]),
    ]
    assert found["totals"]["differing_hosts"] == 9
    assert {host["name"]: host["state"] for host in found["hosts"]["shown"]}["fine"] == "idle"


def test_versions_are_those_that_hosts_report() -> None:
    reports = {f"node{number}": node(f"node{number}", a=installed("new")) for number in range(9)}
    reports["behind"] = node("behind", a=installed("old", scheduled_sha="new"))
    (hook,) = numbers({"node1": answer(record())}, reports)["versions"]["shown"]
    new, old = hook["versions"]["shown"]
    assert (hook["name"], hook["hosts"]) == ("before_install/a", 10)
    assert (new["version"], new["manifest"], new["is_scheduled"], new["count"]) == ("1new", "new", True, 9)
    assert (old["version"], old["is_scheduled"], old["hosts"]["shown"]) == ("1old", False, ["behind"])


def test_versions_are_those_that_ran_last_where_no_host_reports() -> None:
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
    in_inventory: str, in_records: str | None, reports: str
) -> None:
    result = answer(*[record(host=in_records)] * bool(in_records))
    found = numbers({in_inventory: result}, {reports: node(reports, a=installed("w", scheduled_sha="x"))})
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


def test_every_list_is_bounded_and_says_what_it_leaves_out() -> None:
    results = {
        f"node{number}": answer(
            *(failed(hook=f"hook{each}", hook_id=None, output=f"{number}", exit_code=number) for each in range(60))
        )
        for number in range(20)
    }
    hooks = {f"hook{each}": installed(f"{each}", scheduled_sha="x") for each in range(60)}
    found = numbers(results, {name: node(name, 60, None, **hooks) for name in results})
    for name, limit, total in [
        ("most_failing", report.MAX_RANKED, 60),
        ("slowest", report.MAX_RANKED, 60),
        ("failures", report.MAX_FAILING_HOOKS, 60),
        ("differences", report.MAX_DIFFERENCES, 60),
        ("hooks", report.MAX_HOOKS, 60),
        ("versions", report.MAX_HOOKS, 60),
        ("troubled_hosts", report.MAX_TROUBLED_HOSTS, 20),
    ]:
        assert (len(found[name]["shown"]), found[name]["more"]) == (limit, total - limit), name
    kinds = found["failures"]["shown"][0]["kinds"]
    assert (len(kinds["shown"]), kinds["more"]) == (failures.MAX_KINDS_OF_FAILURE, 20 - failures.MAX_KINDS_OF_FAILURE)


@pytest.mark.parametrize(
    "broken",
    [
        {"hours": {"yesterday": {}}},
        {"hours": {"2026-01-31T12": {"failed": "many"}}},
        {"hours": {"2026-01-31T12": 1}},
        {"hours": []},
        {"median_duration": "long"},
        {"last_failure": "yes"},
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
