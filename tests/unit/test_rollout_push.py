# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

import pytest
from p2hooks.errors import RolloutError
from p2hooks.rollout_push import assess, cohorts, limits_of
from p2hooks.rollout_record import Cohort, Limits, position
from support_rollout import KEY, NEW, NODES, OLD, START, moment

ORDER = sorted(NODES, key=lambda node: position(node, KEY))


def test_hosts_take_it_as_they_would_with_listeners() -> None:
    hosts = [f"host{number}" for number in range(200)]
    steps = cohorts(KEY, hosts, None, [10.0, 50.0])
    first = min(hosts, key=lambda host: position(host, KEY))
    assert steps[0] == [first]
    assert steps[1] == [host for host in hosts if Cohort(percent=10).includes(host, KEY)]
    assert [*map(len, steps)] == sorted({*map(len, steps)})
    assert steps[-1] == hosts


def test_steps_for_nobody_are_left_out() -> None:
    assert cohorts(KEY, NODES, None, [1e-9, 100.0]) == [[ORDER[0]], list(NODES)]
    assert cohorts(KEY, ["alone"], None, [10.0, 50.0]) == [["alone"]]
    assert cohorts(KEY, NODES, NODES[1:3], [])[0] == list(NODES[1:3])


@pytest.mark.parametrize(
    ("hosts", "nodes", "message"),
    [
        (NODES, ["node9"], "nodes: 'node9' is none of the 4 hosts; give names of the inventory"),
        (NODES, [], "before_install/greet: there is no host to begin with"),
        ([], None, "before_install/greet: there is no host to begin with"),
    ],
)
def test_nobody_to_begin_with(hosts: list[str], nodes: list[str] | None, message: str) -> None:
    with pytest.raises(RolloutError, match=message):
        cohorts(KEY, hosts, nodes, [])


def test_limits_are_read_as_people_write_them() -> None:
    given = {
        "failed_hosts": "1",
        "watch_for": "2.5",
        "outcomes": "failed, timed_out",
        "min_runs": 3,
        "failed_runs": None,
    }
    assert limits_of(given) == Limits(1, 0, ("failed", "timed_out"), 2.5, 3)


@pytest.mark.parametrize(
    ("name", "value"),
    [("failed_hosts", "x"), ("min_runs", -1), ("outcomes", ["succeeded"]), ("outcomes", 7), ("watch_for", "nan")],
)
def test_a_limit_that_makes_no_sense_is_refused(name: str, value: object) -> None:
    with pytest.raises(RolloutError, match=f"^{name}"):
        limits_of({name: value})


def test_a_limit_that_does_not_exist_is_refused() -> None:
    with pytest.raises(RolloutError, match=r"^limits: 'min_run' is none; give some of failed_hosts, .*min_runs"):
        limits_of({"min_run": 1})


def installed(at: float = START, sha: str = NEW.sha, origin: str = "local") -> dict[str, Any]:
    return {"hook": {"manifest_sha": sha, "versions": {}, "origin": origin, "installed": moment(at)}}


def ran(last_failure: dict[str, Any] | None = None, sha: str = NEW.sha, **outcomes: int) -> dict[str, Any]:
    return {"summary": [{"manifest_sha": sha, "outcomes": outcomes, "last_failure": last_failure}]}


def judged(
    allow_away: bool = False,
    now: float = START + 10,
    limits: Limits | None = None,
    had_it: tuple[str, ...] = (),
    **answers: Any,
) -> Any:
    installs = {host: answer["install"] for host, answer in answers.items()}
    audits = {host: answer["audit"] for host, answer in answers.items() if "audit" in answer}
    return assess(KEY, NEW, installs, audits, limits or Limits(), had_it=had_it, allow_away=allow_away, now=now)


def test_a_host_that_has_it_is_watched() -> None:
    found = judged(node1={"install": installed(), "audit": ran(succeeded=2)})
    assert (found["verdict"].converged, found["verdict"].outcomes) == (("node1",), {"succeeded": 2})
    assert (found["watch_left"], found["lacking"]) == (50, "to be watched for 50 s")
    found = judged(now=START + 60, node1={"install": installed(), "audit": ran(succeeded=2)})
    assert (found["watch_left"], found["lacking"]) == (0, "")


def test_runs_are_waited_for() -> None:
    limits = Limits(min_runs=3)
    found = judged(limits=limits, now=START + 99, node1={"install": installed(), "audit": ran(succeeded=2)})
    assert found["watch_left"] is None
    assert found["lacking"] == "waiting for the newest of its hosts to run it (2 of 3 times, min_runs)"


def test_only_runs_of_the_hosts_that_a_step_added_are_waited_for() -> None:
    old = {"install": installed(), "audit": ran(succeeded=9)}
    limits = Limits(min_runs=1, watch_for=1)
    found = judged(had_it=("node1",), limits=limits, node1=old, node2={"install": installed(), "audit": ran()})
    assert found["lacking"] == "waiting for the newest of its hosts to run it (0 of 1 times, min_runs)"
    found = judged(had_it=("node1",), limits=limits, node1=old, node2={"install": installed(), "audit": ran(failed=1)})
    assert found["verdict"].runs == 1


def test_where_the_hosts_that_a_step_added_are_away_the_runs_of_the_others_do() -> None:
    old = {"install": installed(), "audit": ran(succeeded=9)}
    away = {"install": {"unreachable": True, "msg": "no route"}}
    limits = Limits(min_runs=9, watch_for=1)
    assert judged(had_it=("node1",), limits=limits, allow_away=True, node1=old, node2=away)["lacking"] == ""


def test_a_run_that_has_not_ended_is_none_yet() -> None:
    hangs = {"install": installed(), "audit": ran(started=1)}
    found = judged(limits=Limits(min_runs=1, watch_for=1), now=START + 99, node1=hangs)
    assert found["lacking"] == "waiting for the newest of its hosts to run it (0 of 1 times, min_runs)"


def test_a_run_that_failed_breaks_the_limits() -> None:
    failure = {
        "outcome": "failed",
        "exit_code": 3,
        "hook": "greet",
        "pod_id": "hello",
        "start": "x",
        "output": "no\x1b",
    }
    found = judged(node1={"install": installed(), "audit": ran(failure, failed=1, succeeded=1)})
    assert "hosts where it failed: 1 of 1" in found["verdict"].broken
    (breach,) = found["verdict"].broken_by
    assert (breach["node"], breach["outcomes"], breach["last_failure"]["output"]) == ("node1", {"failed": 1}, "no\\x1b")


def test_what_was_there_before_does_not_count() -> None:
    found = judged(node1={"install": installed(), "audit": ran(sha=OLD.sha, failed=1)})
    assert (found["verdict"].converged, found["verdict"].outcomes) == (("node1",), {})


def test_a_host_where_it_cannot_be_installed() -> None:
    failed = {"install": {"failed": True, "msg": "no room"}, "audit": {"skipped": True}}
    verdict = judged(node1=failed, node2={"install": installed(), "audit": ran()})["verdict"]
    assert verdict.failed == {"node1": "could not be installed: no room"}
    assert verdict.broken


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ({"install": {"unreachable": True, "msg": "no route"}}, "it cannot be reached: no route"),
        ({"install": installed(), "audit": {"unreachable": True, "msg": "no route"}}, "it cannot be reached: no route"),
        ({"install": installed(), "audit": {"failed": True, "msg": "denied"}}, "its audit cannot be read: denied"),
        ({"install": installed(sha=OLD.sha)}, "a local hook stands in front of the scheduled one"),
    ],
)
def test_a_host_that_is_away(answer: dict[str, Any], why: str) -> None:
    answers: dict[str, Any] = {"node1": answer, "node2": {"install": installed(), "audit": ran()}}
    found = judged(now=START + 60, **answers)
    assert (found["verdict"].away, found["watch_left"]) == ({"node1": why}, None)
    assert judged(now=START + 60, allow_away=True, **answers)["watch_left"] == 0
