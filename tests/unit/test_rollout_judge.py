# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from p2hooks.fleet import read_fleet
from p2hooks.rollout_judge import Verdict, judge
from p2hooks.rollout_record import Cohort, Limits, Rollout
from support_rollout import KEY, NEW, NODES, OLD, START, Fleet, moment

ROLLOUT = Rollout(KEY, NEW, Cohort(NODES), Limits(), OLD.sha, "alice", moment(START), moment(START))
FAILURE = {
    "run_id": "1", "hook": "greet_greet_launch", "pod_id": "hello", "start": "2026-01-31T12:00:00.000Z",
    "outcome": "failed", "exit_code": 3, "signal": None, "reason": None, "output": "first\n\x1b[31mno such user\n",
}  # fmt: skip


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return Fleet(tmp_path / "store")


def verdict(fleet: Fleet, rollout: Rollout = ROLLOUT, now: float = START + 10) -> Verdict:
    return judge(rollout, read_fleet(fleet.store), now)


def limited(**limits: Any) -> Rollout:
    return replace(ROLLOUT, limits=Limits(**limits))


def watched(judged: Verdict, now: float, *, allow_away: bool = False) -> float | None:
    return judged.watch_left(ROLLOUT.limits, now, allow_away=allow_away)


def test_hosts_that_have_it_have_converged(fleet: Fleet) -> None:
    fleet.takes(*NODES, outcomes={"succeeded": 2})
    fleet.takes("node3", outcomes={"succeeded": 1}, at=START + 5)
    judged = verdict(fleet)
    assert judged.converged == NODES
    assert (judged.waiting, judged.away, judged.failed, judged.broken, judged.broken_by) == ({}, {}, {}, None, ())
    assert judged.outcomes == {"succeeded": 7}
    assert judged.since == START + 5


def test_it_is_watched_since_the_last_host_has_it(fleet: Fleet) -> None:
    fleet.takes(*NODES)
    fleet.takes("node3", at=START + 5)
    judged = verdict(fleet)
    assert watched(judged, START + 10) == 55
    assert watched(judged, START + 65) == 0
    assert watched(judged, START + 1000) == 0


def test_a_cohort_that_grew_is_watched_anew(fleet: Fleet) -> None:
    fleet.takes(*NODES)
    judged = verdict(fleet, replace(ROLLOUT, widened=moment(START + 30)))
    assert watched(judged, START + 70) == 20


def test_hosts_outside_of_the_cohort_do_not_matter(fleet: Fleet) -> None:
    fleet.takes("node1")
    fleet.takes("node2", outcomes={"failed": 7})
    fleet.report("node3", manifest_sha=OLD.sha, scheduled_sha=NEW.sha, error="no room")
    judged = verdict(fleet, replace(ROLLOUT, cohort=Cohort(("node1",))))
    assert (judged.converged, judged.waiting, judged.failed, judged.outcomes) == (("node1",), {}, {}, {})


def test_hosts_without_it_are_waited_for(fleet: Fleet) -> None:
    fleet.takes("node1")
    fleet.takes("node2", manifest=OLD)
    fleet.report("node3", at=START - 400)
    fleet.report("node4", host_error="Consul denies key:read", at=START + 11)  # its clock is ahead
    judged = verdict(fleet)
    assert judged.waiting == {
        "node2": "it does not have it yet, by its report of 10 s ago",
        "node3": "it does not have it yet, by its report of 410 s ago",
        "node4": "Consul denies key:read, by its report of 0 s ago",
    }
    assert watched(judged, START + 1000, allow_away=True) is None


def test_a_host_that_cannot_install_it_has_failed(fleet: Fleet) -> None:
    fleet.takes("node1", "node2", "node3")
    fleet.takes("node4", manifest=OLD, scheduled_sha=NEW.sha, error="the artifact\x1b is damaged")
    judged = verdict(fleet)
    assert judged.failed == {"node4": "could not be installed: the artifact\\x1b is damaged"}
    assert judged.broken_by == (
        {"node": "node4", "error": "the artifact\\x1b is damaged", "outcomes": {}, "last_failure": None},
    )
    assert judged.broken == (
        "before_install/greet: hosts where it failed: 1 of 4, at most 0 may be (failed_hosts): "
        "node4: could not be installed: the artifact\\x1b is damaged"
    )
    assert watched(judged, START + 1000) is None


def test_a_host_that_takes_it_for_no_manifest_has_failed(fleet: Fleet) -> None:
    fleet.report(*NODES, scheduled_sha=None, error="is no YAML")
    assert len(verdict(fleet, replace(ROLLOUT, base_sha=None)).failed) == 4


def test_what_was_wrong_before_does_not_count(fleet: Fleet) -> None:
    fleet.report(*NODES, scheduled_sha=OLD.sha, error="the old artifact is gone")
    judged = verdict(fleet)
    assert judged.failed == {}
    assert judged.waiting == dict.fromkeys(NODES, "the old artifact is gone, by its report of 10 s ago")


def test_runs_of_the_version_before_do_not_count(fleet: Fleet) -> None:
    fleet.takes(*NODES, manifest=OLD, outcomes={"failed": 100})
    judged = verdict(fleet)
    assert (judged.broken, judged.outcomes) == (None, {})


def test_a_run_that_failed_names_host_and_output(fleet: Fleet) -> None:
    fleet.takes(*NODES, outcomes={"succeeded": 1})
    fleet.takes("node2", outcomes={"failed": 1, "succeeded": 1}, last_failure=FAILURE)
    judged = verdict(fleet)
    assert judged.converged == ("node1", "node3", "node4")
    assert judged.outcomes == {"succeeded": 4, "failed": 1}
    (breach,) = judged.broken_by
    assert (breach["node"], breach["error"], breach["outcomes"]) == ("node2", None, {"failed": 1})
    assert breach["last_failure"]["output"] == "first\\n\\x1b[31mno such user\\n"
    assert breach["last_failure"]["pod_id"] == "hello"
    assert str(judged.broken).endswith(
        "node2: runs: failed 1; the last one: greet_greet_launch for hello at 2026-01-31T12:00:00.000Z failed with "
        'exit code 3, having written "first\\n\\x1b[31mno such user\\n"'
    )
    assert str(judged.broken).isprintable()


@pytest.mark.parametrize(
    "last_failure",
    [
        None,
        {},
        {"outcome": "succeeded"},
        {"outcome": ["failed"]},
        {"outcome": "failed"},
        {**FAILURE, "output": 7},
    ],
)
def test_an_older_engine_may_say_less(fleet: Fleet, last_failure: Any) -> None:
    fleet.takes("node1", outcomes={"failed": 1}, last_failure=last_failure)
    fleet.write("node2", json.dumps({
        "schema": 1, "node": "node2", "engine": "0.0.9", "reported": moment(START), "valid_for": 60, "error": None,
        "hooks": {str(KEY): {"manifest_sha": NEW.sha}},
    }).encode())  # fmt: skip
    judged = verdict(fleet, replace(ROLLOUT, cohort=Cohort(("node1", "node2"))))
    assert judged.converged == ("node2",)
    assert judged.since == START
    assert str(judged.broken).isprintable()
    assert "node1: runs: failed 1" in str(judged.broken)


@pytest.mark.parametrize("installed", [None, "", "yesterday"])
def test_a_host_that_does_not_say_since_when_has_it_since_its_report(fleet: Fleet, installed: Any) -> None:
    fleet.takes(*NODES, reported=START + 7, installed=installed)
    assert verdict(fleet).since == START + 7


@pytest.mark.parametrize(
    ("limits", "is_broken"),
    [
        ({}, True),
        ({"failed_hosts": 2, "failed_runs": 4}, True),
        ({"failed_hosts": 1, "failed_runs": 5}, True),
        ({"failed_hosts": 2, "failed_runs": 5}, False),
        ({"outcomes": ("interrupted",)}, False),
        ({"outcomes": ("skipped",), "failed_hosts": 1}, True),
        ({"outcomes": ("skipped",), "failed_hosts": 1, "failed_runs": 2}, False),
    ],
)
def test_limits_are_broken_by_more_than_they_say(fleet: Fleet, limits: dict[str, Any], is_broken: bool) -> None:
    fleet.takes(*NODES)
    fleet.takes("node1", outcomes={"failed": 3})
    fleet.takes("node2", outcomes={"skipped": 2})
    assert (verdict(fleet, limited(**limits)).broken is not None) is is_broken


def test_what_is_borne_does_not_hold_the_rollout_up(fleet: Fleet) -> None:
    fleet.takes("node1", "node2")
    fleet.takes("node3", outcomes={"failed": 1})
    fleet.takes("node4", manifest=OLD, scheduled_sha=NEW.sha, error="no room")
    judged = verdict(fleet, limited(failed_hosts=2, failed_runs=1))
    assert list(judged.failed) == ["node3", "node4"]
    assert watched(judged, START + 60) == 0


def test_a_run_that_timed_out_and_was_killed_is_one(fleet: Fleet) -> None:
    fleet.takes(*NODES, outcomes={"timed_out": 1, "killed": 1})
    assert verdict(fleet, limited(failed_hosts=4, failed_runs=4)).broken is None
    assert verdict(fleet, limited(failed_hosts=4, failed_runs=3)).broken
    assert verdict(fleet, limited(failed_hosts=4, failed_runs=3, outcomes=("killed",))).broken


def test_a_host_is_away_while_others_converge(fleet: Fleet) -> None:
    fleet.takes("node1", "node2")
    fleet.takes("node3", reported=START - 100, valid_for=60, at=START + 900)
    fleet.write("node4", json.dumps({"schema": 2}).encode())
    judged = verdict(fleet, replace(ROLLOUT, cohort=Cohort((*NODES, "node5"))))
    assert judged.converged == ("node1", "node2")
    assert judged.away["node3"] == "its last report was due 50 s ago"
    assert "schema 2" in judged.away["node4"]
    assert judged.away["node5"] == "it has no report in the store"
    assert watched(judged, START + 1000) is None
    assert watched(judged, START + 60, allow_away=True) == 0


def test_when_all_are_away_nothing_is_shown(fleet: Fleet) -> None:
    fleet.takes(*NODES, reported=START - 100, valid_for=60)
    judged = verdict(fleet)
    assert len(judged.away) == 4
    assert watched(judged, START + 1000, allow_away=True) is None


def test_a_host_that_failed_before_it_was_away_has_failed(fleet: Fleet) -> None:
    fleet.takes(*NODES, reported=START - 100, valid_for=60, outcomes={"failed": 1})
    assert len(verdict(fleet).failed) == 4


def test_a_host_with_a_local_hook_does_not_take_part(fleet: Fleet) -> None:
    fleet.takes("node1", "node2", "node3")
    fleet.takes("node4", manifest=OLD, origin="local")
    assert verdict(fleet).away == {"node4": "a local hook stands in front of the scheduled one"}


def test_a_message_names_the_first_few_hosts(fleet: Fleet) -> None:
    nodes = tuple(f"web{number}" for number in range(200))
    fleet.takes(*nodes, outcomes={"failed": 1})
    judged = verdict(fleet, replace(ROLLOUT, cohort=Cohort(percent=100)))
    assert str(judged.broken).endswith("web10: runs: failed 1; and 197 more")
    assert len(judged.broken_by) == 200


def test_runs_of_the_hosts_that_the_newest_step_added_are_wanted(fleet: Fleet) -> None:
    widened = replace(limited(min_runs=2, watch_for=0), widened=moment(START + 60), cohort_before=Cohort(("node1",)))
    fleet.takes("node1", outcomes={"succeeded": 9})
    fleet.takes(*NODES[1:], at=START + 55)  # their clocks need not be exact
    judged = verdict(fleet, widened, START + 70)
    assert (judged.runs, judged.watch_left(widened.limits, START + 70, allow_away=False)) == (0, None)
    fleet.takes("node2", "node4", at=START + 55, outcomes={"succeeded": 1})
    judged = verdict(fleet, widened, START + 70)
    assert (judged.runs, judged.watch_left(widened.limits, START + 70, allow_away=False)) == (2, 0)


def test_where_the_newest_are_away_the_runs_of_the_others_are_counted(fleet: Fleet) -> None:
    widened = replace(limited(min_runs=2), widened=moment(START + 60), cohort_before=Cohort(NODES[:-1]))
    fleet.takes(*NODES[:-1], reported=START + 5000, outcomes={"succeeded": 1})
    fleet.takes(NODES[-1], at=START + 60)
    judged = verdict(fleet, widened, START + 5000)
    assert (list(judged.away), judged.runs) == ([NODES[-1]], len(NODES) - 1)


def test_where_the_newest_could_not_be_installed_the_runs_of_the_others_are_counted(fleet: Fleet) -> None:
    bears = replace(limited(min_runs=2, failed_hosts=1, watch_for=0), cohort_before=Cohort(NODES[:-1]))
    fleet.takes(*NODES[:-1], outcomes={"succeeded": 1})
    fleet.takes(NODES[-1], manifest=OLD, scheduled_sha=NEW.sha, error="no room")
    judged = verdict(fleet, bears)
    assert (list(judged.failed), judged.runs) == ([NODES[-1]], len(NODES) - 1)


@pytest.mark.parametrize(
    ("outcomes", "runs"),
    [
        ({}, 0),
        ({"succeeded": 2, "failed": 1}, 3),
        ({"timed_out": 1, "killed": 1}, 1),
        ({"skipped": 5}, 0),
        ({"interrupted": 1}, 1),
    ],
)
def test_runs_are_counted_once_and_what_was_skipped_is_none(fleet: Fleet, outcomes: dict[str, int], runs: int) -> None:
    fleet.takes(*NODES)
    fleet.takes("node1", outcomes=outcomes)
    fleet.takes("node2", manifest=OLD, outcomes={"succeeded": 9})
    bearing = limited(failed_hosts=9, failed_runs=9, min_runs=runs)
    judged = verdict(fleet, replace(bearing, cohort=Cohort(("node1", "node2"))))
    assert judged.runs == runs
    fleet.takes("node2")
    assert verdict(fleet, bearing).watch_left(bearing.limits, START + 70, allow_away=False) == 0
    wants_more = replace(bearing.limits, min_runs=runs + 1)
    assert verdict(fleet, bearing).watch_left(wants_more, START + 70, allow_away=False) is None
