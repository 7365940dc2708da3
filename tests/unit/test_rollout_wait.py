# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from p2hooks.errors import RolloutError, StoreConflict, StoreDenied, StoreError, StoreUnavailable
from p2hooks.rollout import Version, plan_abort, plan_promote, plan_rollback, plan_widen
from p2hooks.rollout_record import Cohort, Rollout
from p2hooks.rollout_wait import Waited, wait, wait_for_all
from p2hooks.schedule import apply
from p2hooks.store import Change, Snapshot
from p2hooks.store.directory import DirectoryStore
from support_rollout import BASE, KEY, NEW, NODES, OLD, OTHER, RECORD, START, Fleet


class World(DirectoryStore):
    """A store, and the time: it passes only while somebody waits, and brings what is to come."""

    def __init__(self, path: Path) -> None:
        super().__init__(str(path), create=True)
        self.time = START
        self.to_come: list[tuple[float, Callable[[], None]]] = []
        self.asked: list[float] = []
        self.error: StoreError | None = None
        self.commit_error: StoreError | None = None

    def at(self, seconds: float, event: Callable[[], None]) -> None:
        self.to_come.append((START + seconds, event))

    def sleep(self, seconds: float) -> None:
        assert seconds >= 0
        self._pass_until(self.time + seconds)

    def wait(self, prefix: str, index: int, seconds: float) -> Snapshot:
        self.asked.append(self.time - START)
        if self.error is not None:
            raise self.error
        if index:
            before, until = self.read(prefix), self.time + seconds
            while self.read(prefix) == before and self.time < until:
                self._pass_until(min([until, *(when for when, dummy in self.to_come)]))
        return Snapshot(self.read(prefix), 1)

    def commit(self, changes: Any) -> None:
        if self.commit_error is not None:
            raise self.commit_error
        super().commit(changes)

    def _pass_until(self, until: float) -> None:
        self.time = max(self.time, until)
        due = [event for when, event in self.to_come if when <= self.time]
        self.to_come = [(when, event) for when, event in self.to_come if when > self.time]
        for event in due:
            event()


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "store")


@pytest.fixture
def fleet(world: World, tmp_path: Path) -> Fleet:
    """Four hosts, two of which are to take a new version."""
    fleet = Fleet(tmp_path, world)
    fleet.schedule(OLD)
    fleet.takes(*NODES, manifest=OLD)
    fleet.start("node1", "node2")
    return fleet


def waited(world: World, fleet: Fleet, timeout: float = 600, **options: Any) -> Waited:
    def now() -> float:
        return world.time

    return wait(world, fleet.rollout, timeout=timeout, now=now, clock=now, sleep=world.sleep, **options)


def test_it_ends_when_the_cohort_was_watched_long_enough(world: World, fleet: Fleet) -> None:
    world.at(3, lambda: fleet.takes("node1", at=world.time))
    world.at(20, lambda: fleet.takes("node2", at=world.time, outcomes={"succeeded": 1}))
    result = waited(world, fleet)
    assert (result.error, result.aborted, result.verdict.converged) == (None, False, ("node1", "node2"))
    assert world.time == START + 80
    assert fleet.rollout.cohort.nodes == ("node1", "node2")


def test_a_controller_that_resumes_when_all_is_done_does_not_wait_again(world: World, fleet: Fleet) -> None:
    fleet.takes("node1", "node2")
    world.time += 100
    assert waited(world, fleet).error is None
    assert world.asked == [100]


def test_it_ends_and_aborts_as_soon_as_the_limits_are_broken(world: World, fleet: Fleet) -> None:
    world.at(3, lambda: fleet.takes("node1", at=world.time))
    world.at(5, lambda: fleet.takes("node1", at=START + 3, outcomes={"failed": 1}))
    result = waited(world, fleet)
    assert result.aborted
    assert str(result.error).endswith("node1: runs: failed 1; the rollout is aborted")
    assert [breach["node"] for breach in result.verdict.broken_by] == ["node1"]
    assert world.time < START + 7
    assert (fleet.text(RECORD), fleet.text(BASE)) == (None, OLD.text)


def test_a_version_that_never_ran_does_not_pass(world: World, fleet: Fleet) -> None:
    apply(world, plan_widen(world, KEY, None, Cohort(), {"min_runs": 3}, now=START))
    fleet.takes("node1", outcomes={"succeeded": 1})
    fleet.takes("node2")
    error = waited(world, fleet, timeout=90).error
    assert error == (
        "before_install/greet: after 90 s still waiting for the newest of its hosts to run it (1 of 3 times, "
        "min_runs); the rollout is still under way, so run this again to go on waiting, or abort it"
    )
    assert fleet.text(RECORD)


def test_it_ends_when_it_ran_often_enough(world: World, fleet: Fleet) -> None:
    apply(world, plan_widen(world, KEY, None, Cohort(), {"min_runs": 3}, now=START))
    fleet.takes("node1", outcomes={"succeeded": 1})
    fleet.takes("node2")
    world.at(100, lambda: fleet.takes("node2", outcomes={"succeeded": 2}))
    assert waited(world, fleet).error is None
    assert START + 100 <= world.time < START + 102


def test_it_need_not_abort(world: World, fleet: Fleet) -> None:
    fleet.takes("node1", outcomes={"failed": 1})
    result = waited(world, fleet, abort_when_broken=False)
    assert (result.aborted, str(result.error).endswith("the rollout is still under way")) == (False, True)
    assert fleet.text(RECORD)


def test_it_breaks_while_all_is_watched(world: World, fleet: Fleet) -> None:
    fleet.takes("node1", "node2")
    world.at(59, lambda: fleet.takes("node2", outcomes={"timed_out": 1}))
    assert waited(world, fleet).aborted


def test_at_the_end_of_its_time_it_names_who_is_missing(world: World, fleet: Fleet) -> None:
    fleet.takes("node1", valid_for=30)
    result = waited(world, fleet, timeout=90)
    assert result.error == (
        "before_install/greet: after 90 s still waiting for 1 of its hosts (node2: it does not have it yet, by its "
        "report of 90 s ago) and 1 of its hosts away (node1: its last report was due 60 s ago); the rollout is still "
        "under way, so run this again to go on waiting, or abort it, or run it with allow_away to do without those "
        "that are away"
    )
    assert world.time == START + 90
    assert fleet.text(RECORD)


def test_at_the_end_of_its_time_it_says_how_long_is_left_to_watch(world: World, fleet: Fleet) -> None:
    world.at(50, lambda: fleet.takes("node1", "node2", at=world.time))
    assert "after 90 s still to be watched for 20 s;" in str(waited(world, fleet, timeout=90).error)


def test_a_host_that_is_away_holds_it_up_unless_allowed(world: World, fleet: Fleet) -> None:
    fleet.takes("node1")
    fleet.takes("node2", manifest=OLD, valid_for=30)
    assert "1 of its hosts away (node2" in str(waited(world, fleet, timeout=90).error)
    result = waited(world, fleet, timeout=90, allow_away=True)
    assert (result.error, list(result.verdict.away)) == (None, ["node2"])


def test_where_all_are_away_nobody_is_told_to_do_without_them(world: World, fleet: Fleet) -> None:
    fleet.takes("node1", "node2", manifest=OLD, valid_for=30)
    assert str(waited(world, fleet, timeout=90).error).endswith("run this again to go on waiting, or abort it")


def test_where_one_failed_within_the_limits_the_others_can_be_done_without(world: World, fleet: Fleet) -> None:
    bear = {"failed_hosts": 1, "failed_runs": 1}
    apply(world, plan_widen(world, KEY, None, Cohort(), bear, now=START))
    fleet.takes("node1", outcomes={"failed": 1})
    fleet.takes("node2", manifest=OLD, valid_for=30)
    assert str(waited(world, fleet, timeout=90).error).endswith("to do without those that are away")


def test_when_nobody_could_install_it_that_is_said(world: World, fleet: Fleet) -> None:
    apply(world, plan_widen(world, KEY, None, Cohort(), {"failed_hosts": 2}, now=START))
    fleet.report("node1", "node2", scheduled_sha="other", error="no room")
    assert "still no host has it (node1: could not be installed: no room" in str(waited(world, fleet, 90).error)


def test_hosts_that_report_all_the_time_are_asked_once_in_a_second(world: World, fleet: Fleet) -> None:
    for tenth in range(1, 1000):
        world.at(tenth / 10, lambda: fleet.report("node4", at=world.time))
    waited(world, fleet, timeout=90)
    assert len(world.asked) < 95


def test_somebody_else_promotes_the_rollout_who_wants_the_same(world: World, fleet: Fleet) -> None:
    world.at(5, lambda: apply(world, plan_promote(world, KEY, None, now=START)))
    result = waited(world, fleet)
    assert (result.error, result.promoted, world.time < START + 20) == (None, True, True)


def test_somebody_else_aborts_the_rollout(world: World, fleet: Fleet) -> None:
    world.at(5, lambda: apply(world, plan_abort(world, KEY, None)))
    with pytest.raises(RolloutError, match="somebody else has ended the rollout meanwhile"):
        waited(world, fleet)
    assert world.time < START + 20


@pytest.mark.parametrize("meanwhile", [OTHER, None])
def test_somebody_else_schedules_something_over_it(world: World, fleet: Fleet, meanwhile: Any) -> None:
    world.at(5, lambda: fleet.schedule(meanwhile))
    with pytest.raises(RolloutError, match="was changed since the rollout was started; abort the rollout"):
        waited(world, fleet)
    assert world.time < START + 20
    assert fleet.text(RECORD)


def test_a_version_that_misbehaves_is_aborted_though_something_was_scheduled_over_it(
    world: World, fleet: Fleet
) -> None:
    fleet.schedule(OTHER)
    fleet.takes("node1", outcomes={"failed": 1})
    assert waited(world, fleet).aborted
    assert fleet.text(RECORD) is None


def test_somebody_else_widens_the_rollout(world: World, fleet: Fleet) -> None:
    fleet.takes("node1", "node2")
    world.at(5, lambda: apply(world, plan_widen(world, KEY, None, Cohort(("node3",)), {}, now=world.time)))
    world.at(30, lambda: fleet.takes("node3", at=world.time))
    assert waited(world, fleet).verdict.converged == ("node1", "node2", "node3")
    assert world.time == START + 90


def test_what_somebody_changed_meanwhile_is_looked_at_before_it_is_aborted(world: World, fleet: Fleet) -> None:
    fleet.takes("node1", outcomes={"failed": 1})
    fleet.takes("node2")
    commit = world.commit

    def conflict(changes: list[Change]) -> None:
        world.commit = commit  # type: ignore[method-assign]
        apply(world, plan_widen(world, KEY, None, Cohort(), {"failed_hosts": 1, "failed_runs": 1}, now=START))
        raise StoreConflict("the store: somebody else")

    world.commit = conflict  # type: ignore[method-assign]
    result = waited(world, fleet)
    assert (result.error, result.aborted) == (None, False)
    assert fleet.text(RECORD)


def test_an_abort_that_fails_is_told_with_the_reason_for_it(world: World, fleet: Fleet) -> None:
    fleet.takes("node1", outcomes={"failed": 1})
    world.commit_error = StoreDenied("the store: no")
    result = waited(world, fleet)
    assert not result.aborted
    assert str(result.error).endswith("node1: runs: failed 1; aborting the rollout failed: the store: no")


def test_a_store_that_cannot_be_reached_for_a_while_does_not_end_it(world: World, fleet: Fleet) -> None:
    fleet.takes("node1", "node2")
    world.error = StoreUnavailable("the store: no leader")
    world.at(20, lambda: setattr(world, "error", None))
    assert waited(world, fleet).error is None
    assert world.time == START + 60
    world.error = StoreUnavailable("the store: no leader")
    with pytest.raises(StoreUnavailable, match="no leader"):
        waited(world, fleet, timeout=90)
    assert world.time == START + 150


def test_a_store_that_refuses_ends_it_at_once(world: World, fleet: Fleet) -> None:
    world.error = StoreDenied("the store: no")
    with pytest.raises(StoreDenied):
        waited(world, fleet)
    assert world.time == START


@pytest.fixture
def rolled_back(world: World, fleet: Fleet) -> Callable[..., Waited]:
    """All four hosts had the new version, and are to take the one before; to be called with what to wait for."""
    apply(world, plan_promote(world, KEY, None, now=START))
    fleet.takes(*NODES)
    plan = plan_rollback(world, KEY)
    apply(world, plan)
    assert plan.scheduled
    return partial(all_waited, world, plan.scheduled)


def all_waited(world: World, scheduled: Rollout, timeout: float = 90, **options: Any) -> Waited:
    def now() -> float:
        return world.time

    return wait_for_all(world, scheduled, timeout=timeout, now=now, clock=now, sleep=world.sleep, **options)


def test_after_a_rollback_it_ends_as_soon_as_all_hosts_have_that(
    world: World, fleet: Fleet, rolled_back: Callable[..., Waited]
) -> None:
    for seconds, node in enumerate(NODES):
        world.at(10 * seconds, partial(fleet.takes, node, manifest=OLD, at=START + seconds, outcomes={"failed": 1}))
    result = rolled_back()
    assert (result.error, result.aborted, result.verdict.converged) == (None, False, NODES)
    assert START + 30 <= world.time < START + 32


def test_after_a_rollback_it_names_who_lacks_that_and_why(
    world: World, fleet: Fleet, rolled_back: Callable[..., Waited]
) -> None:
    fleet.takes("node1", manifest=OLD)
    fleet.report("node2", manifest_sha=NEW.sha, scheduled_sha=OLD.sha, error="no room")
    fleet.takes("node3", valid_for=30)
    result = rolled_back(advice="look there")
    assert result.error == (
        "before_install/greet: is scheduled, but after 90 s still waiting for 1 of its hosts (node4: it does not have "
        "it yet, by its report of 90 s ago) and 1 of its hosts away (node3: its last report was due 60 s ago) and 1 of "
        "its hosts failing (node2: could not be installed: no room); look there"
    )
    assert [breach["node"] for breach in result.verdict.broken_by] == ["node2"]
    assert world.time == START + 90


def test_a_host_that_failed_takes_it_after_all(world: World, fleet: Fleet, rolled_back: Callable[..., Waited]) -> None:
    fleet.takes(*NODES, manifest=OLD)
    fleet.report("node2", manifest_sha=NEW.sha, scheduled_sha=OLD.sha, error="no room")
    world.at(20, lambda: fleet.takes("node2", manifest=OLD, at=world.time))
    assert rolled_back().error is None
    assert START + 20 <= world.time < START + 22


def test_what_was_wrong_with_the_version_that_is_gone_does_not_count(
    world: World, fleet: Fleet, rolled_back: Callable[..., Waited]
) -> None:
    fleet.takes(*NODES, manifest=OLD, scheduled_sha=NEW.sha, error="no room")
    assert rolled_back().error is None
    assert world.asked == [0]


def test_a_rollback_does_without_hosts_that_are_away_if_allowed(
    fleet: Fleet, rolled_back: Callable[..., Waited]
) -> None:
    fleet.takes(*NODES, manifest=OLD)
    fleet.takes("node2", manifest=NEW, valid_for=-1)
    fleet.report("node3", manifest_sha="other", origin="local")
    fleet.write("node4", b"{}")
    assert "3 of its hosts away (node2: its last report" in str(rolled_back().error)
    result = rolled_back(allow_away=True)
    assert (result.error, list(result.verdict.away)) == (None, ["node2", "node3", "node4"])


def test_where_no_host_reports_nobody_is_waited_for(tmp_path: Path) -> None:
    world = World(tmp_path / "empty")
    fleet = Fleet(tmp_path, world)
    fleet.schedule(OLD)
    fleet.schedule(NEW)
    plan = plan_rollback(world, KEY)
    apply(world, plan)
    assert plan.scheduled
    assert all_waited(world, plan.scheduled).error is None
    assert world.time == START


@pytest.mark.parametrize("meanwhile", [lambda fleet: fleet.schedule(OTHER), lambda fleet: fleet.start("node1")])
def test_somebody_else_changes_what_was_rolled_back(
    world: World, fleet: Fleet, rolled_back: Callable[..., Waited], meanwhile: Callable[[Fleet], None]
) -> None:
    world.at(5, lambda: meanwhile(fleet))
    with pytest.raises(RolloutError, match="somebody else has scheduled something else meanwhile, or started a roll"):
        rolled_back()
    assert world.time < START + 20


def test_who_runs_it_again_goes_on_waiting_for_the_same(world: World, fleet: Fleet) -> None:
    fleet.report("node4", manifest_sha=OLD.sha, scheduled_sha=OLD.sha, error="no room")
    promotion = plan_promote(world, KEY, Version(NEW), now=START)
    apply(world, promotion)
    assert plan_promote(world, KEY, Version(NEW), now=START).scheduled == promotion.scheduled
    assert promotion.scheduled
    assert "waiting for 4 of its hosts (node1" in str(all_waited(world, promotion.scheduled).error)
    rollback = plan_rollback(world, KEY, leaving=NEW.sha)
    apply(world, rollback)
    assert plan_rollback(world, KEY, leaving=NEW.sha).scheduled == rollback.scheduled


def test_what_cannot_be_read_can_be_rolled_back(world: World, fleet: Fleet) -> None:
    apply(world, plan_abort(world, KEY, None))
    fleet.schedule(NEW)
    entry = world.get(BASE)
    assert entry
    world.commit([Change(BASE, b"?", entry.index)])
    plan = plan_rollback(world, KEY)
    apply(world, plan)
    assert (fleet.text(BASE), plan.scheduled and plan.scheduled.manifest.sha) == (OLD.text, OLD.sha)


def test_a_hook_that_nothing_schedules_is_not_waited_for(world: World, fleet: Fleet) -> None:
    apply(world, plan_abort(world, KEY, None))
    fleet.schedule(None)
    plan = plan_rollback(world, KEY, leaving=OLD.sha)
    assert (plan.groups, plan.scheduled) == ([], None)
