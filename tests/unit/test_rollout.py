# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from p2hooks.errors import HookError, ManifestError, RolloutError, StoreConflict, StoreUnavailable
from p2hooks.hook_key import HookKey
from p2hooks.manifest import PodManifest
from p2hooks.rollout import (
    RolloutPlan,
    Version,
    plan_abort,
    plan_promote,
    plan_rollback,
    plan_start,
    plan_widen,
)
from p2hooks.rollout_options import DEFAULTS, percent_of, steer
from p2hooks.rollout_record import Cohort, Limits, position
from p2hooks.schedule import apply
from p2hooks.store import ABSENT, Change
from p2hooks.wanted import rollouts_under_way
from support_rollout import BASE, KEY, NEW, NODES, OLD, OTHER, PREVIOUS, RECORD, START, Fleet, moment, pod


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    """Four hosts that have the old version."""
    fleet = Fleet(tmp_path / "store")
    fleet.schedule(OLD)
    fleet.takes(*NODES, manifest=OLD)
    return fleet


def start(fleet: Fleet, cohort: Cohort | None, version: Version = Version(NEW), **limits: Any) -> RolloutPlan:  # noqa: B008
    return plan_start(fleet.store, KEY, version, cohort, limits, started_by="bob", now=START + 10)


def done(fleet: Fleet, plan: RolloutPlan) -> RolloutPlan:
    apply(fleet.store, plan)
    return plan


def refused(attempt: Callable[[], object], kind: type[HookError] = RolloutError) -> str:
    with pytest.raises(kind) as caught:
        attempt()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_rollout_has_a_record_and_leaves_what_is_scheduled(fleet: Fleet) -> None:
    plan = done(fleet, start(fleet, Cohort(("node1",), 5.0), failed_hosts=1, watch_for=30.0))
    rollout = fleet.rollout
    assert rollout == plan.rollout
    assert (rollout.manifest, rollout.cohort) == (NEW, Cohort(("node1",), 5.0))
    assert rollout.limits == Limits(failed_hosts=1, watch_for=30.0)
    assert (rollout.base_sha, rollout.started_by) == (OLD.sha, "bob")
    assert rollout.started == rollout.widened == moment(START + 10)
    assert fleet.text(BASE) == OLD.text
    assert plan.before == {}
    assert list(plan.after) == [RECORD]
    assert NEW.text in plan.after[RECORD]


def test_a_hook_that_is_scheduled_nowhere_can_be_rolled_out(fleet: Fleet) -> None:
    fleet.schedule(None)
    assert fleet.start("node1").base_sha is None
    done(fleet, plan_promote(fleet.store, KEY, None, now=START))
    assert (fleet.text(BASE), fleet.text(RECORD)) == (NEW.text, None)


def test_a_global_hook_that_is_scheduled_on_events_as_well_is_told(fleet: Fleet) -> None:
    everywhere = HookKey.of(None, "greet")

    def warnings() -> list[str]:
        chosen = Cohort(("node1",))
        plan = plan_start(fleet.store, everywhere, Version(NEW), chosen, {}, started_by="bob", now=START)
        return done(fleet, plan).warnings

    assert warnings() == ["greet: is scheduled on before_install as well; without event it runs on all of them"]
    assert warnings() == []
    assert start(fleet, None).warnings == []


def test_its_artifacts_are_uploaded(fleet: Fleet, tmp_path: Path) -> None:
    artifact = tmp_path / "greet_2.tar.gz"
    artifact.write_bytes(b"an artifact")
    version = Version(pod(2, location=artifact.as_uri()), upload_artifacts=True)
    key = f"hooks-artifacts/{hashlib.sha256(b'an artifact').hexdigest()}/greet_2.tar.gz"
    assert list(start(fleet, Cohort(("node1",)), version).uploads) == [key]
    done(fleet, start(fleet, Cohort(("node1",)), version))
    assert fleet.text(key) == "an artifact"
    assert fleet.rollout.manifest.launchables[0].location == f"store:{key}"
    # Later steps know it by the file as well.
    assert not start(fleet, Cohort(("node1",)), version).groups
    done(fleet, plan_promote(fleet.store, KEY, version, now=START))
    assert not plan_promote(fleet.store, KEY, version, now=START).groups
    assert not start(fleet, Cohort(("node1",)), version).groups


@pytest.mark.parametrize("cohort", [Cohort(), Cohort(percent=1e-9)])
def test_a_cohort_that_matches_no_host_is_refused(fleet: Fleet, cohort: Cohort) -> None:
    message = refused(lambda: start(fleet, cohort))
    assert message.endswith("is none of the 4 hosts that report; name nodes, or raise percent")


@pytest.mark.parametrize("cohort", [Cohort(percent=100), None])
def test_a_fleet_without_hosts_is_refused(tmp_path: Path, cohort: Cohort | None) -> None:
    fleet = Fleet(tmp_path / "empty")
    assert "no host has reported" in refused(lambda: start(fleet, cohort))


#: The hosts in the order of the hook.
IN_ORDER = sorted(NODES, key=lambda node: position(node, KEY))


def test_without_a_cohort_the_first_host_takes_it(fleet: Fleet) -> None:
    done(fleet, start(fleet, None, failed_runs=3))
    assert fleet.rollout.cohort == Cohort((IN_ORDER[0],))
    assert fleet.rollout.limits == Limits(failed_runs=3)
    wider = done(
        fleet, plan_widen(fleet.store, KEY, None, Cohort(percent=position(IN_ORDER[1], KEY) + 1e-9), {}, now=START)
    )
    assert wider.rollout
    assert [node for node in IN_ORDER if wider.rollout.cohort.includes(node, KEY)] == IN_ORDER[:2]


def test_the_first_host_is_one_that_is_not_away(fleet: Fleet) -> None:
    fleet.takes(IN_ORDER[0], manifest=OLD, valid_for=1)
    fleet.takes(IN_ORDER[1], manifest=OLD, origin="local")
    fleet.write(IN_ORDER[2], b"{}")
    done(fleet, start(fleet, None))
    assert fleet.rollout.cohort == Cohort((IN_ORDER[3],))


def test_where_all_are_away_it_is_the_first_of_them(fleet: Fleet) -> None:
    fleet.takes(*NODES, manifest=OLD, valid_for=1)
    done(fleet, start(fleet, None))
    assert fleet.rollout.cohort == Cohort((IN_ORDER[0],))


def test_to_start_again_without_a_cohort_changes_nothing_whatever_hosts_joined(fleet: Fleet) -> None:
    done(fleet, start(fleet, None))
    first = next(name for name in map("new{}".format, range(100)) if position(name, KEY) < position(IN_ORDER[0], KEY))
    fleet.takes(first, manifest=OLD)
    assert not start(fleet, None).groups
    done(fleet, plan_widen(fleet.store, KEY, None, Cohort((first,), 50.0), {}, now=START))
    again = start(fleet, None)
    assert (again.groups, again.rollout) == ([], fleet.rollout)
    assert "another manifest is under way" in refused(lambda: start(fleet, None, Version(OTHER)))
    done(fleet, plan_promote(fleet.store, KEY, None, now=START))
    assert (start(fleet, None).groups, start(fleet, None).rollout) == ([], None)


@pytest.mark.parametrize("percent", [-1, 100.1, float("nan"), float("inf"), float("-inf")])
def test_a_share_out_of_range_is_refused(fleet: Fleet, percent: float) -> None:
    message = refused(lambda: start(fleet, Cohort(("node1",), percent)))
    assert message == f"percent is {percent:g}; give a number from 0 to 100"
    fleet.start("node1")
    assert refused(lambda: plan_widen(fleet.store, KEY, None, Cohort((), percent), {}, now=START)) == message


@pytest.mark.parametrize(("option", "percent"), [(5, 5), (0.5, 0.5), ("5", 5), ("5%", 5), (" 12.5 % ", 12.5), ("0", 0)])
def test_a_share_may_have_a_percent_sign(option: object, percent: float) -> None:
    assert percent_of(option) == percent


@pytest.mark.parametrize("option", ["", "%", "5%%", "five", "101%", "-1", "nan", True, [5], {}])
def test_what_is_no_share_is_refused(option: object) -> None:
    message = refused(lambda: percent_of(option))
    assert message.startswith("percent is ")
    assert message.endswith("; give a number from 0 to 100")


@pytest.mark.parametrize("node", ["node5", "", "node1\n", "../node1"])
def test_a_node_that_is_not_in_the_fleet_is_refused(fleet: Fleet, node: str) -> None:
    message = refused(lambda: start(fleet, Cohort(("node1", node))))
    assert message.startswith(f"nodes: {node!r} is none of the 4 hosts")
    fleet.start("node1")
    assert refused(lambda: plan_widen(fleet.store, KEY, None, Cohort((node,)), {}, now=START)) == message


@pytest.mark.parametrize(
    "limit",
    [
        {"failed_hosts": -1},
        {"failed_runs": -1},
        {"min_runs": -1},
        {"watch_for": -0.1},
        {"watch_for": float("nan")},
        {"watch_for": float("inf")},
        {"outcomes": ("failed", "succeeded")},
        {"outcomes": ("fialed",)},
    ],
)
def test_a_limit_that_makes_no_sense_is_refused(fleet: Fleet, limit: dict[str, Any]) -> None:
    assert refused(lambda: start(fleet, Cohort(("node1",)), **limit)).startswith(next(iter(limit)))
    fleet.start("node1")
    assert refused(lambda: plan_widen(fleet.store, KEY, None, Cohort(), limit, now=START))


def test_a_rollout_over_one_under_way_is_refused(fleet: Fleet) -> None:
    fleet.start("node1")
    expected = f"the rollout of another manifest is under way, started by 'alice' at '{moment(START)}'"
    other = Version(OTHER)
    assert expected in refused(lambda: start(fleet, Cohort(("node1",)), other))
    assert expected in refused(lambda: plan_widen(fleet.store, KEY, other, Cohort(("node2",)), {}, now=START))
    assert expected in refused(lambda: plan_promote(fleet.store, KEY, other, now=START))
    assert expected in refused(lambda: plan_abort(fleet.store, KEY, other))
    assert fleet.rollout.manifest == NEW
    assert refused(lambda: start(fleet, None, other)).endswith(
        "promote or abort that one first, as with 'p2-hook rollout abort greet --event before_install', "
        "or with state=aborted of p2_hook_rollout"
    )


def test_what_is_scheduled_already_is_no_change(fleet: Fleet) -> None:
    for plan in (
        start(fleet, Cohort(("node1",)), Version(OLD)),
        plan_widen(fleet.store, KEY, Version(OLD), Cohort(percent=50), {}, now=START),
        plan_promote(fleet.store, KEY, Version(OLD), now=START),
    ):
        assert (plan.groups, plan.rollout) == ([], None)
        assert plan.summary == f"manifest {OLD.sha[:12]} is scheduled already"


def test_to_start_again_changes_nothing(fleet: Fleet) -> None:
    rollout = fleet.start("node1", percent=5.0)
    again = start(fleet, Cohort(("node1",), 5.0))
    assert (again.groups, again.before, again.after, again.rollout) == ([], {}, {}, rollout)


def test_a_controller_that_died_between_steps_resumes_by_running_the_same_again(fleet: Fleet) -> None:
    fleet.start("node1")
    done(fleet, plan_widen(fleet.store, KEY, Version(NEW), Cohort(("node2",), 50.0), {}, now=START + 1))
    died_with = fleet.rollout
    assert not start(fleet, Cohort(("node1",))).groups
    assert not plan_widen(fleet.store, KEY, Version(NEW), Cohort(("node2",), 10.0), {}, now=START + 2).groups
    assert not plan_widen(fleet.store, KEY, Version(NEW), Cohort(("node2",), 50.0), {}, now=START + 3).groups
    assert fleet.rollout == died_with
    done(fleet, plan_promote(fleet.store, KEY, Version(NEW), now=START))
    assert not start(fleet, Cohort(("node1",))).groups
    assert not plan_widen(fleet.store, KEY, Version(NEW), Cohort(("node2",), 50.0), {}, now=START + 4).groups
    assert not plan_promote(fleet.store, KEY, Version(NEW), now=START).groups


@pytest.mark.parametrize("cohort", [Cohort(("node1", "node2")), Cohort(percent=50)])
def test_to_start_again_for_more_hosts_is_refused(fleet: Fleet, cohort: Cohort) -> None:
    fleet.start("node1")
    assert "under way for 'node1' and 0 percent" in refused(lambda: start(fleet, cohort))


def test_to_start_again_with_other_limits_changes_them(fleet: Fleet) -> None:
    fleet.start("node1", failed_runs=3)
    done(fleet, start(fleet, Cohort(("node1",)), failed_hosts=2))
    assert fleet.rollout.limits == Limits(failed_hosts=2, failed_runs=3)


def test_a_cohort_only_grows(fleet: Fleet) -> None:
    rollout = fleet.start("node1", percent=20.0)
    plan = plan_widen(fleet.store, KEY, None, Cohort(("node2",), 10.0), {"watch_for": 5.0}, now=START + 60)
    done(fleet, plan)
    assert fleet.rollout.cohort.percent == 20.0
    assert {node for node in NODES if rollout.cohort.includes(node, KEY)} | {"node2"} == {
        node for node in NODES if fleet.rollout.cohort.includes(node, KEY)
    }
    assert (fleet.rollout.started, fleet.rollout.widened) == (moment(START), moment(START + 60))
    assert fleet.rollout.limits == Limits(watch_for=5.0)


def test_a_step_that_adds_no_host_is_not_watched_anew(fleet: Fleet) -> None:
    fleet.start(IN_ORDER[0])
    below_second = Cohort(percent=position(IN_ORDER[1], KEY))
    plan = done(fleet, plan_widen(fleet.store, KEY, None, below_second, {}, now=START + 60))
    assert (fleet.rollout.cohort.percent, fleet.rollout.widened) == (below_second.percent, moment(START))
    assert plan.summary == "for 1 of 4 hosts, as before"
    above_second = Cohort(percent=below_second.percent + 1e-9)
    plan = done(fleet, plan_widen(fleet.store, KEY, None, above_second, {}, now=START + 120))
    assert (fleet.rollout.widened, plan.summary.split(" (")[0]) == (moment(START + 120), "for 2 of 4 hosts")


def test_a_step_says_for_which_hosts_it_is(fleet: Fleet) -> None:
    assert start(fleet, None).summary == f"for 1 of 4 hosts ({IN_ORDER[0]})"
    assert start(fleet, Cohort(percent=100)).summary == "for 4 of 4 hosts (node1, node2, node3, ...)"
    fleet.start("node1", "node2")
    assert start(fleet, None).summary == "for 2 of 4 hosts, as before"
    wider = plan_widen(fleet.store, KEY, None, Cohort(("node1", "node3")), {}, now=START)
    assert wider.summary == "for 3 of 4 hosts (node1, node2, node3)"


@pytest.mark.parametrize(
    "step",
    [
        lambda fleet: plan_widen(fleet.store, KEY, None, Cohort(percent=50), {}, now=START),
        lambda fleet: plan_promote(fleet.store, KEY, None, now=START),
        lambda fleet: plan_promote(fleet.store, KEY, Version(NEW), now=START),
    ],
)
def test_without_a_rollout_there_is_nothing_to_steer(fleet: Fleet, step: Callable[[Fleet], object]) -> None:
    assert "no rollout is under way" in refused(lambda: step(fleet))


def test_promoting_schedules_and_keeps_what_was_scheduled(fleet: Fleet) -> None:
    fleet.start("node1")
    plan = plan_promote(fleet.store, KEY, Version(NEW), now=START)
    assert len(plan.groups) == 1
    done(fleet, plan)
    assert (fleet.text(BASE), fleet.text(PREVIOUS), fleet.text(RECORD)) == (NEW.text, OLD.text, None)
    assert (plan.before[BASE], plan.after) == (OLD.text, {BASE: NEW.text})


def test_what_has_failed_since_it_was_watched_is_not_promoted(fleet: Fleet) -> None:
    fleet.start("node1")
    fleet.takes("node1", outcomes={"failed": 1})
    message = refused(lambda: plan_promote(fleet.store, KEY, Version(NEW), now=START))
    assert "hosts where it failed: 1 of 1" in message
    assert message.endswith("; abort the rollout, or widen it with limits that bear this")
    limits = {"failed_hosts": 1, "failed_runs": 1}
    done(fleet, plan_widen(fleet.store, KEY, None, Cohort(), limits, now=START))
    done(fleet, plan_promote(fleet.store, KEY, Version(NEW), now=START))
    assert fleet.text(BASE) == NEW.text


@pytest.mark.parametrize("meanwhile", [OTHER, None])
def test_what_was_scheduled_meanwhile_is_not_overwritten(fleet: Fleet, meanwhile: Any) -> None:
    fleet.start("node1")
    fleet.schedule(meanwhile)
    for step in (
        lambda: start(fleet, None),
        lambda: plan_widen(fleet.store, KEY, None, Cohort(percent=50), {}, now=START),
        lambda: plan_promote(fleet.store, KEY, None, now=START),
    ):
        assert "was changed since the rollout was started" in refused(step)
    assert fleet.rollout.manifest == NEW
    done(fleet, plan_abort(fleet.store, KEY, None))


def test_aborting_removes_the_record_alone(fleet: Fleet) -> None:
    fleet.start("node1")
    done(fleet, plan_abort(fleet.store, KEY, Version(NEW)))
    assert (fleet.text(BASE), fleet.text(PREVIOUS), fleet.text(RECORD)) == (OLD.text, None, None)
    assert not plan_abort(fleet.store, KEY, None).groups


def test_a_record_that_cannot_be_read_can_be_aborted(fleet: Fleet) -> None:
    fleet.store.commit([Change(RECORD, b"{}", ABSENT), Change("hooks-rollout/a/b/c", b"", ABSENT)])
    message = refused(lambda: start(fleet, Cohort(("node1",))), ManifestError)
    assert "abort the rollout, and start it again" in message
    assert "abort the rollout" in refused(lambda: plan_rollback(fleet.store, KEY), ManifestError)
    rollouts, errors = rollouts_under_way(fleet.store)
    assert (rollouts, [*errors]) == ({}, ["hooks-rollout/a/b/c", RECORD])
    done(fleet, plan_abort(fleet.store, KEY, None))
    assert fleet.text(RECORD) is None


def test_to_abort_what_is_not_there_names_what_is(fleet: Fleet) -> None:
    fleet.start("node1")
    (told,) = plan_abort(fleet.store, HookKey.of("before_install", "grete"), None).warnings
    assert told.endswith("; under way are those of before_install/greet")


def test_a_second_rollback_returns(fleet: Fleet) -> None:
    fleet.schedule(NEW)
    for now_, before in ((OLD, NEW), (NEW, OLD), (OLD, NEW)):
        plan = done(fleet, plan_rollback(fleet.store, KEY))
        assert (fleet.text(BASE), fleet.text(PREVIOUS)) == (now_.text, before.text)
        assert (plan.before, plan.after) == ({BASE: before.text}, {BASE: now_.text})


def test_a_rollback_of_one_version_can_be_run_again(fleet: Fleet) -> None:
    fleet.schedule(NEW)
    done(fleet, plan_rollback(fleet.store, KEY, leaving=NEW.sha))
    again = plan_rollback(fleet.store, KEY, leaving=NEW.sha)
    assert (again.groups, again.before, again.after) == ([], {}, {})
    assert (fleet.text(BASE), fleet.text(PREVIOUS)) == (OLD.text, NEW.text)
    assert again.summary == f"manifest {OLD.sha[:12]} is scheduled, not {NEW.sha[:12]}, so there is nothing to do"


def test_a_rollback_of_a_version_that_nothing_knows_is_refused(fleet: Fleet) -> None:
    fleet.schedule(NEW)
    assert plan_rollback(fleet.store, KEY, leaving=OLD.sha).warnings == []
    told = (
        f"{KEY}: manifest {12 * '0'} is neither scheduled nor was it before, manifest {NEW.sha[:12]} is scheduled; give"
    )
    assert refused(lambda: plan_rollback(fleet.store, KEY, leaving=12 * "0")).startswith(told)
    other = HookKey.of("before_install", "other")
    told = f"{other}: manifest {NEW.sha[:12]} is neither scheduled nor was it before, nothing is scheduled; give"
    assert refused(lambda: plan_rollback(fleet.store, other, leaving=NEW.sha)).startswith(told)


def test_to_promote_before_a_wait_would_have_ended_is_told(fleet: Fleet) -> None:
    fleet.start("node1", min_runs=1)
    fleet.takes("node1")
    runs = "this step comes early: still waiting for the newest of its hosts to run it (0 of 1 times, min_runs)"
    assert plan_promote(fleet.store, KEY, None, now=START + 100).warnings == [f"{KEY}: {runs}"]
    fleet.takes("node1", outcomes={"succeeded": 1})
    early = plan_promote(fleet.store, KEY, None, now=START + 10)
    assert early.warnings == [f"{KEY}: this step comes early: still to be watched for 50 s"]
    assert plan_promote(fleet.store, KEY, None, now=START + 100).warnings == []


def test_to_widen_before_a_wait_would_have_ended_is_told(fleet: Fleet) -> None:
    fleet.start("node1", min_runs=1)
    fleet.takes("node1")

    def warnings(now: float, cohort: Cohort = Cohort(("node2",))) -> list[str]:  # noqa: B008 (it is frozen)
        return plan_widen(fleet.store, KEY, None, cohort, {}, now=now).warnings

    runs = "this step comes early: still waiting for the newest of its hosts to run it (0 of 1 times, min_runs)"
    assert warnings(START + 100) == [f"{KEY}: {runs}"]
    assert warnings(START + 100, Cohort(("node1",))) == []
    fleet.takes("node1", outcomes={"succeeded": 1})
    assert warnings(START + 10) == [f"{KEY}: this step comes early: still to be watched for 50 s"]
    assert warnings(START + 100) == []


def test_a_rollout_that_broke_its_limits_is_widened_only_with_limits_that_bear_that(fleet: Fleet) -> None:
    fleet.start("node1")
    fleet.takes("node1", outcomes={"failed": 1})
    node2 = Cohort(("node2",))
    plan = plan_widen(fleet.store, KEY, None, node2, {}, now=START)
    (told,) = plan.warnings
    assert told.endswith("; so no host is added; abort the rollout, or widen it with limits that bear this")
    assert plan.groups == []
    options = {**DEFAULTS, "state": "widened", "nodes": ["node2"], "watch_for": 1}
    steered = steer(fleet.store, KEY, None, options, check=False)
    assert (steered.aborted, fleet.text(RECORD)) == (True, None)


def test_limits_that_bear_what_broke_others_let_it_be_widened(fleet: Fleet) -> None:
    fleet.start("node1")
    fleet.takes("node1", outcomes={"failed": 1})
    limits = {"failed_hosts": 1, "failed_runs": 1}
    done(fleet, plan_widen(fleet.store, KEY, None, Cohort(("node2",)), limits, now=START))
    assert fleet.rollout.cohort.nodes == ("node1", "node2")


def test_whether_a_step_is_early_goes_by_the_limits_before(fleet: Fleet) -> None:
    fleet.start("node1")
    fleet.takes("node1")
    plan = plan_widen(fleet.store, KEY, None, Cohort(("node2",)), {"min_runs": 9, "watch_for": 999.0}, now=START + 100)
    assert plan.warnings == []


def test_a_step_wants_runs_of_the_hosts_that_it_adds(fleet: Fleet) -> None:
    fleet.start("node1")
    for cohort in (Cohort(("node2",)), Cohort(("node1",)), Cohort()):
        apply(fleet.store, plan_widen(fleet.store, KEY, None, cohort, {}, now=START))
        assert fleet.rollout.cohort_before == Cohort(("node1",))


def test_a_rollback_that_was_done_is_done_where_what_was_before_cannot_be_read(fleet: Fleet) -> None:
    fleet.store.commit([Change(PREVIOUS, b"no manifest", ABSENT)])
    assert plan_rollback(fleet.store, KEY, leaving=NEW.sha).summary.endswith("so there is nothing to do")


def test_a_store_that_goes_away_amid_a_wait_leaves_the_rollout_under_way(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wait(*args: object, **options: object) -> None:
        raise StoreUnavailable("the store cannot be reached")

    monkeypatch.setattr("p2hooks.rollout_options.wait", wait)
    steered = steer(fleet.store, KEY, NEW, {**DEFAULTS, "state": "started"}, check=False)
    assert str(steered.error).startswith(f"the store cannot be reached; {KEY}: the rollout is still under way, so ")


def test_a_rollback_says_from_which_version_to_which_it_goes(fleet: Fleet) -> None:
    fleet.schedule(NEW)
    for leaving in (None, NEW.sha, NEW.sha[:12]):
        plan = plan_rollback(fleet.store, KEY, leaving=leaving)
        assert (len(plan.groups), plan.summary) == (1, f"from manifest {NEW.sha[:12]} to manifest {OLD.sha[:12]}")
    fleet.schedule(None)
    assert plan_rollback(fleet.store, KEY).summary == f"from nothing to manifest {NEW.sha[:12]}"
    gone = plan_rollback(fleet.store, KEY, leaving=NEW.sha)
    assert gone.summary == f"nothing is scheduled, not {NEW.sha[:12]}, so there is nothing to do"


@pytest.mark.parametrize("leaving", ["", "abc", NEW.sha[:11], NEW.sha + "0", "x" * 64])
def test_a_rollback_of_what_can_be_no_version_is_refused(fleet: Fleet, leaving: str) -> None:
    fleet.schedule(NEW)
    assert refused(lambda: plan_rollback(fleet.store, KEY, leaving=leaving)) == (
        f"manifest_sha is {leaving!r}; give its 64 hexadecimal digits, or the first 12 or more of them"
    )


def test_a_promoted_version_can_be_rolled_back(fleet: Fleet) -> None:
    fleet.start("node1")
    done(fleet, plan_promote(fleet.store, KEY, None, now=START))
    done(fleet, plan_rollback(fleet.store, KEY))
    assert (fleet.text(BASE), fleet.text(PREVIOUS)) == (OLD.text, NEW.text)


def test_a_removed_hook_comes_back(fleet: Fleet) -> None:
    fleet.schedule(None)
    done(fleet, plan_rollback(fleet.store, KEY))
    assert (fleet.text(BASE), fleet.text(PREVIOUS)) == (OLD.text, None)


def test_without_anything_before_a_rollback_is_refused(fleet: Fleet) -> None:
    assert "nothing was scheduled before" in refused(lambda: plan_rollback(fleet.store, KEY))


def test_amid_a_rollout_a_rollback_is_refused(fleet: Fleet) -> None:
    fleet.schedule(OTHER)
    fleet.start("node1")
    assert "a rollout is under way, started by 'alice'" in refused(lambda: plan_rollback(fleet.store, KEY))


STEPS: dict[str, Callable[[Fleet], RolloutPlan]] = {
    "widen": lambda fleet: plan_widen(fleet.store, KEY, None, Cohort(("node2",)), {}, now=START + 1),
    "widen otherwise": lambda fleet: plan_widen(fleet.store, KEY, None, Cohort(("node3",)), {}, now=START + 2),
    "promote": lambda fleet: plan_promote(fleet.store, KEY, None, now=START),
    "abort": lambda fleet: plan_abort(fleet.store, KEY, None),
}


@pytest.mark.parametrize("second", STEPS)
@pytest.mark.parametrize("first", STEPS)
def test_of_two_who_steer_at_once_one_wins(fleet: Fleet, first: str, second: str) -> None:
    fleet.start("node1")
    plans = STEPS[first](fleet), STEPS[second](fleet)
    apply(fleet.store, plans[0])
    after = fleet.store.read("hooks")
    with pytest.raises(StoreConflict, match=r"somebody else changed .*, so run this again$"):
        apply(fleet.store, plans[1])
    assert fleet.store.read("hooks") == after


def test_of_two_who_start_at_once_one_wins(fleet: Fleet) -> None:
    plans = start(fleet, Cohort(("node1",))), start(fleet, Cohort(("node1",)), Version(OTHER))
    apply(fleet.store, plans[0])
    with pytest.raises(StoreConflict, match=RECORD):
        apply(fleet.store, plans[1])
    assert fleet.rollout.manifest == NEW


@pytest.mark.parametrize("theirs", [NEW, OTHER])
def test_who_loses_against_one_who_wants_the_same_goes_on(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, theirs: PodManifest
) -> None:
    commit = fleet.store.commit

    def overtaken(changes: Sequence[Change]) -> None:
        monkeypatch.setattr(fleet.store, "commit", commit)
        done(fleet, start(fleet, Cohort(("node1",)), Version(theirs)))
        commit(changes)

    monkeypatch.setattr(fleet.store, "commit", overtaken)
    options = {**DEFAULTS, "state": "started", "nodes": ["node1"], "wait": False}
    if theirs == OTHER:
        assert "another manifest is under way" in refused(lambda: steer(fleet.store, KEY, NEW, options, check=False))
        return
    steered = steer(fleet.store, KEY, NEW, options, check=False)
    assert (steered.result(check=False)["changed"], steered.rollout) == (False, fleet.rollout)


def test_an_abort_that_loses_against_a_promotion_says_so(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    fleet.start("node1")
    commit = fleet.store.commit

    def promoted(changes: Sequence[Change]) -> None:
        monkeypatch.setattr(fleet.store, "commit", commit)
        done(fleet, plan_promote(fleet.store, KEY, None, now=START))
        commit(changes)

    monkeypatch.setattr(fleet.store, "commit", promoted)
    with pytest.raises(StoreConflict):
        steer(fleet.store, KEY, None, {**DEFAULTS, "state": "aborted"}, check=False)
    assert fleet.text(BASE) == NEW.text


def test_a_rollout_that_starts_amid_a_rollback_stops_it(fleet: Fleet) -> None:
    fleet.schedule(OTHER)
    plan = plan_rollback(fleet.store, KEY)
    fleet.start("node1")
    with pytest.raises(StoreConflict, match=RECORD):
        apply(fleet.store, plan)
    assert (fleet.text(BASE), fleet.text(PREVIOUS)) == (OTHER.text, OLD.text)
