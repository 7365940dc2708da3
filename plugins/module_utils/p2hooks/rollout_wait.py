# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Waiting until a rollout has done well, or has not, and until all hosts have what is scheduled."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from . import rollout_record
from .errors import HookError, RolloutError, StoreConflict, StoreUnavailable
from .hook_key import HookKey
from .node_status import STATUS_PREFIX
from .rollout_checks import check_base
from .rollout_judge import Verdict, judge, named, reports_of_cohort
from .rollout_record import ROLLOUT_PREFIX, Limits, Rollout
from .schedule import sha_of
from .store import Change, Entry, Store

#: The hosts of a large fleet report all the time, and each answer has all their reports. So at least so many seconds
#: lie between two requests.
_PAUSE = 1.0

#: Look after so many seconds, though no host reported: one may be away by then, or somebody have ended the rollout.
_LOOK_EVERY = 10.0


#: What is so when a wait for a rollout ends before its time, and what to do.
UNDER_WAY = "the rollout is still under way, so run this again to go on waiting, or abort it"


@dataclass(frozen=True)
class Waited:
    """What waiting came to."""

    verdict: Verdict
    #: Why it did not do well, in one line; None where it did.
    error: str | None = None
    #: Whether it broke its limits and was aborted for that.
    aborted: bool = False
    #: Whether somebody else promoted it meanwhile.
    promoted: bool = False


def wait(
    store: Store,
    rollout: Rollout,
    *,
    timeout: float,
    allow_away: bool = False,
    abort_when_broken: bool = True,
    tell: Callable[[Verdict], None] = lambda verdict: None,
    now: Callable[[], float] = time.time,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Waited:
    """Wait until the cohort has the manifest of ``rollout`` and was watched long enough, or the limits are broken.

    A store that cannot be reached for a while does not end it.

    Args:
        rollout: what was started; who widens it meanwhile is heeded.
        timeout: seconds.
        allow_away: go on without hosts that are away.
        abort_when_broken: abort the rollout when its limits are broken.
        tell: called with each verdict.
        now: returns the seconds since 1970.
        clock: returns seconds that only grow.

    Raises:
        RolloutError: somebody else has aborted the rollout, or scheduled something else.
        StoreError: or one of its kinds: the store could not be read.
    """

    def look(entries: Mapping[str, Entry], is_over: bool) -> Waited | float:
        moment = now()
        found = _current(store, rollout)
        if found is None:
            return Waited(judge(rollout, reports_of_cohort(rollout, entries), moment), promoted=True)
        base, record, current = found
        verdict = judge(current, reports_of_cohort(current, entries), moment)
        tell(verdict)
        if verdict.broken:
            return _broken(store, rollout.key, record, verdict, abort_when_broken)
        check_base(current, base)
        watch_left = verdict.watch_left(current.limits, moment, allow_away=allow_away)
        if watch_left == 0:
            return Waited(verdict)
        if is_over:
            return Waited(verdict, _timed_out(current, verdict, timeout, watch_left, allow_away))
        return _LOOK_EVERY if watch_left is None else watch_left

    return _until(look, store, timeout, clock, sleep)


def wait_for_all(
    store: Store,
    scheduled: Rollout,
    *,
    timeout: float,
    allow_away: bool = False,
    advice: str = "",
    tell: Callable[[Verdict], None] = lambda verdict: None,
    now: Callable[[], float] = time.time,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Waited:
    """Wait until all hosts that report have what is scheduled, however long ago that was.

    A host where it cannot be installed is waited for as well, since its listener tries again.

    Args:
        scheduled: see :attr:`.rollout.RolloutPlan.scheduled`.
        advice: what to do about hosts that do not have it.

    The other arguments are those of :func:`wait`.

    Raises:
        RolloutError: somebody else has scheduled something else, or started a rollout.
        StoreError: or one of its kinds: the store could not be read.
    """

    def look(entries: Mapping[str, Entry], is_over: bool) -> Waited | float:
        _check_still_scheduled(store, scheduled)
        verdict = judge(scheduled, reports_of_cohort(scheduled, entries), now())
        tell(verdict)
        reasons = _hosts_lacking(verdict, allow_away)
        if verdict.failed:
            reasons.append(f"{len(verdict.failed)} of its hosts failing ({named(verdict.failed)})")
        if not reasons:
            return Waited(verdict)
        if is_over:
            lacks = " and ".join(reasons)
            return Waited(verdict, f"{scheduled.key}: is scheduled, but after {timeout:g} s still {lacks}; {advice}")
        return _LOOK_EVERY

    return _until(look, store, timeout, clock, sleep)


def _until(
    look: Callable[[Mapping[str, Entry], bool], Waited | float],
    store: Store,
    timeout: float,
    clock: Callable[[], float],
    sleep: Callable[[float], None],
) -> Waited:
    """Call ``look`` each time that hosts report, until it tells what waiting came to.

    Args:
        look: is given the reports, and whether time is over. Where that is not the end, it returns after how many
            seconds to look again in any case.
    """
    deadline = clock() + timeout
    index, seconds = 0, 0.0
    while True:
        try:
            snapshot = store.wait(STATUS_PREFIX, index, seconds)
            left = deadline - clock()
            found = look(snapshot.entries, left <= 0)
        except StoreUnavailable:
            if clock() >= deadline:
                raise
            index = 0
            sleep(min(_PAUSE, deadline - clock()))
            continue
        except StoreConflict:  # somebody else steers as well, so look again
            index = 0
            continue
        if isinstance(found, Waited):
            return found
        left = min(left, found)
        sleep(min(_PAUSE, left))
        index, seconds = snapshot.index, max(0.0, left - _PAUSE)


def _current(store: Store, rollout: Rollout) -> tuple[Entry | None, Entry, Rollout] | None:
    """Return what is scheduled, the record, and the rollout in it; None where the rollout was promoted."""
    # Before the record, since to promote changes both at once.
    base = store.get(rollout.key.store_key)
    record = store.get(rollout.store_key)
    current = rollout_record.decode(rollout.key, record.value, f"key {rollout.store_key}") if record else None
    if record is None and sha_of(base, rollout.key) == rollout.manifest.sha:
        return None
    if record is None or current is None or current.started != rollout.started:
        raise RolloutError(f"{rollout.key}: somebody else has ended the rollout meanwhile; look what is scheduled now")
    return base, record, current


def _check_still_scheduled(store: Store, scheduled: Rollout) -> None:
    sha = sha_of(store.get(scheduled.key.store_key), scheduled.key)
    if sha != scheduled.manifest.sha or store.get(scheduled.store_key):
        raise RolloutError(
            f"{scheduled.key}: somebody else has scheduled something else meanwhile, or started a rollout; "
            "look what is scheduled now"
        )


def _broken(store: Store, key: HookKey, record: Entry, verdict: Verdict, abort: bool) -> Waited:
    if not abort:
        return Waited(verdict, f"{verdict.broken}; the rollout is still under way")
    try:
        store.commit([Change(ROLLOUT_PREFIX + str(key), None, record.index, must_exist=True)])
    except StoreConflict:
        raise
    except HookError as error:
        return Waited(verdict, f"{verdict.broken}; aborting the rollout failed: {error}")
    return Waited(verdict, f"{verdict.broken}; the rollout is aborted", aborted=True)


def lacking(limits: Limits, verdict: Verdict, watch_left: float | None, allow_away: bool) -> str:
    """Return in words what a rollout that has not broken its limits is waited for.

    Args:
        watch_left: see :meth:`Verdict.watch_left`.
    """
    reasons = _hosts_lacking(verdict, allow_away)
    if verdict.runs < limits.min_runs:
        runs = f"{verdict.runs} of {limits.min_runs} times, min_runs"
        reasons.append(f"waiting for the newest of its hosts to run it ({runs})")
    if watch_left is not None:
        reasons.append(f"to be watched for {watch_left:.0f} s")
    if not reasons:
        reasons.append(f"no host has it ({named(verdict.failed)})")
    return " and ".join(reasons)


def _hosts_lacking(verdict: Verdict, allow_away: bool) -> list[str]:
    reasons = []
    if verdict.waiting:
        reasons.append(f"waiting for {len(verdict.waiting)} of its hosts ({named(verdict.waiting)})")
    if verdict.away and not (allow_away and verdict.since is not None):
        reasons.append(f"{len(verdict.away)} of its hosts away ({named(verdict.away)})")
    return reasons


def _timed_out(rollout: Rollout, verdict: Verdict, timeout: float, watch_left: float | None, allow_away: bool) -> str:
    what = lacking(rollout.limits, verdict, watch_left, allow_away)
    others = verdict.waiting or verdict.since is not None
    without = ", or run it with allow_away to do without those that are away"
    advice = without if verdict.away and others and not allow_away else ""
    return f"{rollout.key}: after {timeout:g} s still {what}; {UNDER_WAY}{advice}"
