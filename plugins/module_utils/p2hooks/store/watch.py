# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Watching what is under a prefix of a store, whatever becomes of the store meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Collection

from ..errors import HookError, StoreError
from .base import Entry, Snapshot, Store

#: Bounds of the pause after a failure, in seconds. A Consul without a leader holds requests back for 7 s itself, so
#: 10,000 hosts at the second bound ask fewer than 1,000 times a second.
RETRY_FIRST, RETRY_MOST = 1.0, 10.0

#: A store that was emptied, or whose index went back, may have lost data. For so many seconds it is not believed that
#: what is missing is gone.
DOUBT_FOR = 600.0

#: An answer that comes sooner than this, in seconds, without anything new: the store does not wait as it should. Consul
#: does not as long as there is no key under the prefix at all; then it answers to every change anywhere.
_TOO_SOON = 1.0
_SPURIOUS_FIRST = 0.05


class Backoff:
    """Pauses that grow: each is a random part of a bound that doubles, so that many hosts spread out ("full jitter").

    Args:
        first: the first bound, in seconds.
        most: the last one.
        random: returns a number from 0 to 1.
    """

    def __init__(self, first: float, most: float, random: Callable[[], float]) -> None:
        self._first, self._most, self._random = min(first, most), most, random
        self._bound = self._first

    def next(self) -> float:
        """Return the pause after one more failure, in seconds."""
        bound = self._bound
        self._bound = min(self._most, bound * 2)
        return self._random() * bound

    def reset(self) -> None:
        """Begin anew, since it worked."""
        self._bound = self._first


class Watch:
    """What is under ``prefix``, asked for with one request at a time.

    Args:
        deliver: called, in whatever ``start`` runs its argument in, with this watch and what :meth:`take` takes.
        start: runs its argument in the background.
        clock: returns seconds that only grow.
        random: returns a number from 0 to 1.
    """

    def __init__(
        self,
        store: Store,
        prefix: str,
        *,
        deliver: Callable[[Watch, Snapshot | Exception], None],
        start: Callable[[Callable[[], None]], None],
        clock: Callable[[], float],
        random: Callable[[], float],
    ) -> None:
        self._store = store
        self._prefix = prefix
        self._deliver = deliver
        self._start = start
        self._clock = clock
        self._after_failures = Backoff(RETRY_FIRST, RETRY_MOST, random)
        self._after_nothing = Backoff(_SPURIOUS_FIRST, RETRY_MOST, random)
        #: What was there when the store last answered; None before that.
        self.entries: dict[str, Entry] | None = None
        #: Why the last request failed; None where it did not.
        self.error: HookError | None = None
        #: When that began, by the clock.
        self.failing_since = 0.0
        self._index = 0
        self._ask_from = 0
        self._asked_at: float | None = None
        self._ask_at = clock()
        self._doubt_until = 0.0

    def due_at(self) -> float:
        """Return when to call :meth:`ask`, by the clock."""
        return self._ask_at if self._asked_at is None else float("inf")

    def ask(self, seconds: float) -> None:
        """Begin to wait up to ``seconds`` for a change, unless that has begun already or it is too early."""
        if self._clock() < self.due_at():
            return
        self._asked_at = self._clock()
        index = self._ask_from

        def wait() -> None:
            try:
                outcome: Snapshot | Exception = self._store.wait(self._prefix, index, seconds)
            except Exception as error:  # noqa: BLE001 (what is no HookError is raised by take)
                outcome = error
            self._deliver(self, outcome)

        self._start(wait)

    def take(self, outcome: Snapshot | Exception) -> bool:
        """Take in what a request ended with; tell whether something is there that was not, or the other way round."""
        now = self._clock()
        asked_at, self._asked_at = self._asked_at, None
        if isinstance(outcome, Exception):
            if not isinstance(outcome, HookError):
                raise outcome
            self.failing_since = self.failing_since if self.error else now
            self.error = outcome
            self._ask_from = 0  # whatever happened meanwhile, the next answer comes at once
            self._ask_at = now + self._after_failures.next()
            return False
        is_changed = outcome.entries != self.entries
        self._look_for_loss(outcome)
        self._after_failures.reset()
        is_soon = asked_at is not None and now - asked_at < _TOO_SOON
        if is_changed or self.error or not is_soon:
            self._after_nothing.reset()
            self._ask_at = now
        else:
            self._ask_at = now + self._after_nothing.next()
        self.error = None
        self.entries = outcome.entries
        self._ask_from = outcome.index
        return is_changed

    def doubt(self, missing: Collection[str]) -> str | None:
        """Return why one should not believe yet that the keys ``missing`` are gone, None if that is certain.

        It is, when the store says so twice, and has not lost anything as far as can be told. That a hook is removed a
        little late does no harm, that all hosts lose their hooks does.
        """
        try:
            again = self._store.wait(self._prefix, 0, 0)
        except StoreError as error:
            return str(error)
        self._look_for_loss(again)
        if self._clock() < self._doubt_until:
            return (
                f"{self._store.name}: it was emptied, or its index went back, as when data is lost; "
                f"that is believed {DOUBT_FOR / 60:g} minutes later"
            )
        if any(key in again.entries for key in missing):
            return f"{self._store.name}: what was missing a moment ago is there again"
        return None

    def distrust(self) -> None:
        """Do not believe for a while that what is missing is gone."""
        self._doubt_until = self._clock() + DOUBT_FOR

    def _look_for_loss(self, seen: Snapshot) -> None:
        # Consul's index also goes back when it forgets a deletion, a while later. Nothing is missing then.
        if seen.index < self._index and seen.entries != self.entries:
            self.distrust()
        self._index = seen.index
