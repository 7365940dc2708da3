# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the options of a rollout, which module and command share, stand for: one step, and waiting for its end."""

from __future__ import annotations

import dataclasses
import getpass
import math
import os
import time
from collections.abc import Callable, Mapping
from typing import Any

from . import rollout, schedule
from .errors import HookError, RolloutError, StoreConflict, StoreUnavailable, shown
from .fleet import read_fleet
from .hook_key import HookKey
from .manifest import PodManifest
from .rollout import RolloutPlan, Version
from .rollout_checks import checked_percent
from .rollout_judge import Verdict, judge
from .rollout_record import Cohort, Rollout
from .rollout_wait import UNDER_WAY, Waited, wait, wait_for_all
from .store import Store

STATES = ("started", "widened", "promoted", "aborted", "rolled_back")

#: The options that are limits; one that is not given stays as it is.
LIMITS = ("failed_hosts", "failed_runs", "outcomes", "watch_for", "min_runs")


@dataclasses.dataclass
class Steered:
    """What came of a step."""

    plan: RolloutPlan
    #: What is under way afterwards.
    rollout: Rollout | None
    #: How it is doing, or what is scheduled for all where that is waited for; None where there is nothing to judge.
    verdict: Verdict | None = None
    aborted: bool = False
    #: Why this failed, though something may have been done; None where it did not.
    error: HookError | None = None
    #: Whether the user ended the wait.
    interrupted: bool = False

    def result(self, *, check: bool) -> dict[str, Any]:
        """Return what both faces answer, without the differences."""
        written = self.plan.before.keys() | self.plan.after.keys() if check else self.plan.written
        return {
            "changed": bool(written) or self.aborted,
            "aborted": self.aborted,
            "rollout": described(self.rollout) if self.rollout else None,
            "summary": self.plan.summary,
            "uploaded": sorted(self.plan.uploads if check else self.plan.uploads.keys() & self.plan.written),
            **(shown_verdict(self.verdict) if self.verdict else {}),
        }


#: What the options are that are not given, and that a step has no use for.
DEFAULTS: dict[str, Any] = {
    "upload_artifacts": False,
    "nodes": None,
    "percent": None,
    **dict.fromkeys(LIMITS),
    "started_by": None,
    "manifest_sha": None,
    "wait": True,
    "wait_timeout": 900.0,
    "allow_away": False,
    "abort_when_broken": True,
}


def steer(
    store: Store,
    key: HookKey,
    pod: PodManifest | None,
    options: Mapping[str, Any],
    *,
    check: bool,
    tell: Callable[[Verdict], None] = lambda verdict: None,
) -> Steered:
    """Take the step that ``state`` names, unless ``check``, and wait for its end where that is wanted.

    Args:
        pod: the manifest that is rolled out; only to start needs it, but other steps refuse another one.
        options: ``state``, and what :data:`DEFAULTS` has.
        tell: called with how the rollout is doing, each time that this is looked at.

    Raises:
        HookError: of some kind: an option is not valid, the step is refused, or nothing was done for another reason.
    """
    if pod is None and options["state"] == "started":
        raise RolloutError(f"{key}: has no manifest; give the one to roll out")
    if pod and options["state"] == "rolled_back":
        raise RolloutError(
            f"{key}: a rollback returns to what was scheduled before; give the id in place of a manifest"
        )
    version = Version(pod, options["upload_artifacts"], check) if pod else None
    _check_options(options)
    plan = _plan(store, key, version, options)
    steered = Steered(plan, plan.rollout)
    timeout = options["wait_timeout"]
    if plan.rollout and options["wait"] and plan.rollout.limits.watch_for >= timeout:
        raise RolloutError(
            f"watch_for is {plan.rollout.limits.watch_for:g}, and wait_timeout {timeout:g}, so waiting could never end "
            "well; raise wait_timeout above it"
        )
    try:
        if not check:
            try:
                schedule.apply(store, plan)
            except StoreConflict:
                again = _plan(store, key, version, options)
                if again.groups or again.warnings:  # a rollout that is gone may have been promoted, not aborted
                    raise
                # Somebody else wanted the same.
                again.written, again.uploads = plan.written, plan.uploads
                plan = steered.plan = again
                steered.rollout = again.rollout
        waited = None
        if options["wait"] and not check:
            try:
                waited = _wait(store, plan, options, tell)
            except StoreUnavailable as error:
                raise StoreUnavailable(f"{error}; {key}: {_going_on(plan, options['state'])}") from None
            except KeyboardInterrupt:
                steered.interrupted = True
                steered.error = RolloutError(f"{key}: interrupted; {_going_on(plan, options['state'])}")
        elif plan.rollout:
            steered.verdict = judge(plan.rollout, read_fleet(store), time.time())
        if waited:
            steered.verdict, steered.aborted = waited.verdict, waited.aborted
            steered.error = RolloutError(waited.error) if waited.error else None
            steered.rollout = None if waited.aborted or waited.promoted else plan.rollout
    except HookError as error:
        if not plan.written:
            raise
        steered.error = error
    return steered


def _wait(
    store: Store, plan: RolloutPlan, options: Mapping[str, Any], tell: Callable[[Verdict], None]
) -> Waited | None:
    waiting = {"timeout": options["wait_timeout"], "allow_away": options["allow_away"], "tell": tell}
    if plan.rollout:
        return wait(store, plan.rollout, abort_when_broken=options["abort_when_broken"], **waiting)
    if plan.scheduled:
        return wait_for_all(store, plan.scheduled, advice=_advice(options["state"], plan.scheduled), **waiting)
    return None


def _going_on(plan: RolloutPlan, state: str) -> str:
    """Return what is so when a wait ends before its time, and what to do."""
    if plan.scheduled:
        return f"it is scheduled; {_advice(state, plan.scheduled)}"
    return UNDER_WAY


def _advice(state: str, scheduled: Rollout) -> str:
    """Return what to do about hosts that do not have in time what a step has scheduled."""
    if state == "rolled_back" and scheduled.base_sha is None:  # there is nothing to go back to a second time
        return "look at these hosts; 'p2-hook info' tells when they have it"
    # A rollback that is run again without it would return to the version that is to go.
    again = "" if state == "promoted" else f" with manifest_sha {scheduled.base_sha}"
    back = "; rolled_back returns to the version before" if state == "promoted" else ""
    without = "with allow_away to do without those that are away"
    return f"look at these hosts, and run this again{again} to go on waiting, {without}{back}"


def described(rollout: Rollout) -> dict[str, Any]:
    """Return what a rollout is, as both faces answer it."""
    return {
        "event": rollout.key.event,
        "id": rollout.key.id,
        "manifest_sha": rollout.manifest.sha,
        "base_sha": rollout.base_sha,
        "nodes": list(rollout.cohort.nodes),
        "percent": rollout.cohort.percent,
        **dataclasses.asdict(rollout.limits),
        "outcomes": list(rollout.limits.outcomes),
        "started_by": rollout.started_by,
        "started": rollout.started,
        "widened": rollout.widened,
    }


def shown_verdict(verdict: Verdict) -> dict[str, Any]:
    """Return how a rollout is doing, as both faces answer it."""
    return {
        "converged": list(verdict.converged),
        "waiting": dict(verdict.waiting),
        "away": dict(verdict.away),
        "failed_nodes": dict(verdict.failed),
        "outcomes": dict(verdict.outcomes),
        "broken_by": [dict(breach) for breach in verdict.broken_by],
    }


def percent_of(option: object) -> float:
    """Return the share that an option says: a number, or a text such as ``5`` or ``5%``.

    Raises:
        RolloutError: it is none, or not from 0 to 100.
    """
    text = str(option).strip()
    try:
        if isinstance(option, bool):
            raise ValueError
        return checked_percent(float(text.removesuffix("%")))
    except ValueError:
        raise RolloutError(f"percent is {shown(text)}; give a number from 0 to 100") from None


def _check_options(options: Mapping[str, Any]) -> None:
    if not 0 <= options["wait_timeout"] < math.inf:
        raise RolloutError(f"wait_timeout is {options['wait_timeout']}; give seconds, not below 0")
    if options["state"] not in ("started", "widened"):
        given = [name for name in ("nodes", "percent", *LIMITS) if options[name] not in (None, [])]
        if given:
            raise RolloutError(
                f"{given[0]} is given, but only a rollout that is started or widened takes it; remove it"
            )
    if options["manifest_sha"] is not None and options["state"] != "rolled_back":
        raise RolloutError("manifest_sha is given, but only a rollback takes it; give a manifest, or an id alone")


def _plan(store: Store, key: HookKey, version: Version | None, options: Mapping[str, Any]) -> RolloutPlan:
    state = options["state"]
    nodes, percent = options["nodes"], options["percent"]
    cohort = Cohort(tuple(sorted(set(nodes or ()))), 0.0 if percent is None else percent_of(percent))
    limits = {name: options[name] for name in LIMITS if options[name] is not None}
    if "outcomes" in limits:
        limits["outcomes"] = tuple(limits["outcomes"])
    if state == "started" and version:
        started_by = options["started_by"] or _user()
        chosen = None if nodes is None and percent is None else cohort
        return rollout.plan_start(store, key, version, chosen, limits, started_by=started_by, now=time.time())
    if state == "widened":
        return rollout.plan_widen(store, key, version, cohort, limits, now=time.time())
    if state == "promoted":
        return rollout.plan_promote(store, key, version, now=time.time())
    if state == "aborted":
        return rollout.plan_abort(store, key, version)
    return rollout.plan_rollback(store, key, leaving=options["manifest_sha"])


def _user() -> str:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # containers run as users that no file knows
        user = str(os.geteuid())
    return f"{user}@{os.uname().nodename}"
