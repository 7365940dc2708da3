# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Waiting until a rollout has done well, or has not."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from . import rollout_record
from .errors import HookError, RolloutError, StoreConflict, StoreUnavailable
from .hook_key import HookKey
from .node_status import STATUS_PREFIX
from .rollout_judge import Verdict, judge, named, reports_of_cohort
from .rollout_record import ROLLOUT_PREFIX, Limits, Rollout
from .store import Change, Entry, Store

#: The hosts of a large fleet report all the time, and each answer has all their reports. So at least so many seconds
#: lie between two requests.
_PAUSE = 1.0

#: Look after so many seconds, though no host reported: one may be away by then, or somebody have ended the rollout.
_LOOK_EVERY = 10.0


@dataclass(frozen=True)
class Waited:
    """What waiting came to."""

    verdict: Verdict
    #: Why it did not do well, in one line; None where it did.
    error: str | None = None
    #: Whether it broke its limits and was aborted for that.
    aborted: bool = False


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
        RolloutError: somebody else has ended the rollout.
        StoreError: or one of its kinds: the store could not be read.
    """
    deadline = clock() + timeout
    index, seconds = 0, 0.0
    while True:
        try:
            snapshot = store.wait(STATUS_PREFIX, index, seconds)
            record, current = _current(store, rollout)
        except StoreUnavailable:
            if clock() >= deadline:
                raise
            index = 0
            sleep(min(_PAUSE, deadline - clock()))
            continue
        moment = now()
        verdict = judge(current, reports_of_cohort(current, snapshot.entries), moment)
        tell(verdict)
        if verdict.broken:
            try:
                return _broken(store, rollout.key, record, verdict, abort_when_broken)
            except StoreConflict:  # somebody else steers as well, so look again
                index = 0
                continue
        watch_left = verdict.watch_left(current.limits, moment, allow_away=allow_away)
        if watch_left == 0:
            return Waited(verdict)
        left = deadline - clock()
        if left <= 0:
            return Waited(verdict, _timed_out(current, verdict, timeout, watch_left, allow_away))
        left = min(left, _LOOK_EVERY if watch_left is None else watch_left)
        sleep(min(_PAUSE, left))
        index, seconds = snapshot.index, max(0.0, left - _PAUSE)


def _current(store: Store, rollout: Rollout) -> tuple[Entry, Rollout]:
    record = store.get(rollout.store_key)
    current = rollout_record.decode(rollout.key, record.value, f"key {rollout.store_key}") if record else None
    if record is None or current is None or current.started != rollout.started:
        raise RolloutError(f"{rollout.key}: somebody else has ended the rollout meanwhile; look what is scheduled now")
    return record, current


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
    reasons = []
    if verdict.waiting:
        reasons.append(f"waiting for {len(verdict.waiting)} of its hosts ({named(verdict.waiting)})")
    if verdict.away and not (allow_away and verdict.since is not None):
        reasons.append(f"{len(verdict.away)} of its hosts away ({named(verdict.away)})")
    if verdict.runs < limits.min_runs:
        reasons.append(f"waiting for its hosts to run it ({verdict.runs} of {limits.min_runs} times, min_runs)")
    if watch_left is not None:
        reasons.append(f"to be watched for {watch_left:.0f} s")
    if not reasons:
        reasons.append(f"no host has it ({named(verdict.failed)})")
    return " and ".join(reasons)


def _timed_out(rollout: Rollout, verdict: Verdict, timeout: float, watch_left: float | None, allow_away: bool) -> str:
    what = lacking(rollout.limits, verdict, watch_left, allow_away)
    return (
        f"{rollout.key}: after {timeout:g} s still {what}; the rollout is still under way, "
        "so run this again to go on waiting, or abort it"
    )
