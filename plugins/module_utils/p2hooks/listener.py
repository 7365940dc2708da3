# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keeping a host's hooks as the store schedules them, for as long as this runs; docs/listener.md explains it.

Two threads wait for the store (:mod:`.store.watch`), one for what is scheduled and one for rollouts; another one, that
of :meth:`Listener.run`, does all the rest. It may be ended at any moment: installing is safe against that.
"""

from __future__ import annotations

import queue
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from . import disk, install, install_plan
from .audit.counting import OutcomeCounter
from .errors import HookError, StoreDenied, StoreError
from .hook_key import SCHEDULE_PREFIX, HookKey
from .install_plan import InstallPlan
from .layout import Layout
from .node_status import NodeStatus
from .pod_home import PodHome
from .rollout_record import ROLLOUT_PREFIX
from .sd_notify import ERROR, INFO, NOTICE, WARNING
from .store.base import Snapshot, Store
from .store.watch import Backoff, Watch

#: The first bound of the pause before another try to install what could not be installed, in seconds.
_RETRY_FIRST = 5.0

#: A report is valid for so many times the seconds between two reconciliations.
_REPORT_VALID_FOR = 4

#: So often it is looked whether a hook in rollout has failed, in seconds.
_LOOK_EVERY = 1.0

#: How long to wait at most for something to happen, in seconds: to wait on and on is a sign of life, too.
_LONGEST_WAIT = 60.0

_NEVER = float("inf")


@dataclass(frozen=True)
class Settings:
    """What a listener works on."""

    layout: Layout
    store: Store
    #: The name of this host.
    node: str
    #: The log of what ran.
    audit_log: str
    #: Seconds after which everything is compared, though nothing changed.
    reconcile_every: float
    #: Seconds between two reports at least, unless something was installed, or a hook in rollout has failed.
    report_every: float
    #: No artifact may unpack to more.
    max_unpacked_bytes: int = install.DEFAULT_MAX_UNPACKED_BYTES


class Listener:
    """Installs what is scheduled, and reports it.

    Args:
        log: gets a priority of :mod:`.sd_notify` and one line for each change.
        status: gets what this is doing, each time that changes.
        clock: returns seconds that only grow.
        now: returns the seconds since 1970.
        chance: returns a number from 0 to 1.
        start: runs its argument in the background.
        inbox: what the thread of :meth:`run` waits for.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        log: Callable[[int, str], None],
        status: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
        chance: Callable[[], float] = random.random,
        start: Callable[[Callable[[], None]], None] | None = None,
        inbox: queue.Queue[Any] | None = None,
    ) -> None:
        self._log = log
        self._show = status
        self._clock = clock
        self._now = now
        self._chance = chance
        self._start = start or _in_thread
        self._inbox: queue.Queue[Any] = inbox or queue.Queue()
        self._stepped_at = clock()
        self._outcomes = OutcomeCounter(settings.audit_log)
        #: Since when there is trouble that the journal has been told of, by what it is about.
        self._since: dict[str, float] = {}
        self._adopt(settings)

    def run(self) -> None:
        """Work until the process ends."""
        while True:
            self.step()

    def reload(self, settings: Settings) -> None:
        """Work with ``settings`` from now on, and compare everything; to be called from another thread."""
        self._inbox.put(settings)

    def close(self) -> None:
        """Let go of open files, after the last :meth:`step`."""
        self._outcomes.close()

    def idle_seconds(self) -> float:
        """Return for how long there was no sign of life from :meth:`run`."""
        return self._clock() - self._stepped_at

    def step(self) -> None:
        """Do what is due, then wait for the next thing that happens, and deal with it."""
        self._stepped_at = self._clock()
        # At first each has to answer once.
        watches = [each for each in (self._hooks, self._rollouts) if each.entries is None or self._is_ready()]
        for watch in watches:
            watch.ask(max(1.0, self._reconcile_at - self._clock()))
        if self._clock() >= self._retry_at:
            self._reconcile()
        if self._clock() >= self._look_at:
            self._look_for_failures()
        if self._clock() >= self._report_at:
            self._report()
        self._tell()
        watched = (watch.due_at() for watch in watches)
        due_at = min(self._retry_at, self._look_at, self._report_at, self._clock() + _LONGEST_WAIT, *watched)
        try:
            event = self._inbox.get(timeout=max(0.0, due_at - self._clock()))
        except queue.Empty:
            return
        if isinstance(event, Settings):
            self._adopt(event)
        else:
            self._take(*event)

    def _adopt(self, settings: Settings) -> None:
        self._settings = settings
        self._hooks, self._rollouts = (
            Watch(
                settings.store,
                prefix,
                deliver=lambda watch, outcome: self._inbox.put((watch, outcome)),
                start=self._start,
                clock=self._clock,
                random=self._chance,
            )
            for prefix in (SCHEDULE_PREFIX, ROLLOUT_PREFIX)
        )
        #: A rollout has ended, and :attr:`_hooks` may not have heard yet of what has taken its place.
        self._has_ended_rollout = False
        self._outcomes.close()
        self._outcomes = OutcomeCounter(settings.audit_log)
        self._node_status = NodeStatus(
            settings.layout,
            settings.store,
            settings.node,
            self._outcomes,
            valid_for=settings.reconcile_every * _REPORT_VALID_FOR,
            random=self._chance,
        )
        self._retries = Backoff(_RETRY_FIRST, settings.reconcile_every, self._chance)
        self._report_retries = Backoff(settings.report_every, settings.reconcile_every, self._chance)
        self._reconcile_at = self._clock()
        self._retry_at = self._look_at = self._report_at = _NEVER
        #: What came of the last comparison: why hooks could not be installed, why none could, and why none will run.
        self._errors: dict[str, HookError] = {}
        self._error: str | None = None
        self._unsafe_root: str | None = None
        self._scheduled: dict[HookKey, str] = {}
        self._in_rollout: list[HookKey] = []
        self._has_to_report = True
        self._installed = 0
        self._last_change = ""
        #: What the journal has been told already, by what it is about; after a reload it is told again.
        self._said: dict[str, set[str]] = {}

    def _take(self, watch: Watch, outcome: Snapshot | Exception) -> None:
        """Deal with the end of a request."""
        if watch not in (self._hooks, self._rollouts):  # from before a reload
            return
        before = watch.entries or {}
        is_changed = watch.take(outcome)
        if watch is self._hooks:
            self._has_ended_rollout = self._has_ended_rollout and watch.error is not None
        elif before.keys() - (watch.entries or {}):
            self._has_ended_rollout = True
        failing = self._failing()
        if failing:
            self._say("store", WARNING, f"{failing.error}; nothing changes until it answers")
        elif self._is_ready() and (seconds := self._end("store")) is not None:
            self._log(NOTICE, f"{self._settings.store.name} answers again, after {seconds:.0f} s")
        if self._are_rollouts_denied():
            self._say("rollouts", WARNING, f"{self._rollouts.error}; no rollout comes to this host until that works")
        else:
            self._end("rollouts")
        if watch is not failing and self._is_ready() and (is_changed or self._clock() >= self._reconcile_at):
            self._reconcile()

    def _are_rollouts_denied(self) -> bool:
        return isinstance(self._rollouts.error, StoreDenied)

    def _failing(self) -> Watch | None:
        """Return the watch without which nothing can change, if one does not work."""
        if self._hooks.error:
            return self._hooks
        return self._rollouts if self._rollouts.error and not self._are_rollouts_denied() else None

    def _is_ready(self) -> bool:
        """Tell whether it is known what this host should have: without the rollouts it would be put back meanwhile."""
        return self._hooks.entries is not None and (self._rollouts.entries is not None or self._are_rollouts_denied())

    def _reconcile(self) -> None:
        """Make the host have what was scheduled when the store last answered."""
        every = self._settings.reconcile_every
        self._reconcile_at = self._clock() + every * (1 - self._chance() / 4)  # not all hosts at once
        self._retry_at = _NEVER
        problems = self._problems()
        try:
            done = self._install()
        except HookError as error:
            self._error = str(error)
            done = []
        if self._error:
            self._say("host", ERROR, self._error)
        elif self._end("host") is not None and not done:  # else the journal has lines that show it
            self._log(NOTICE, "nothing keeps hooks from being installed or removed any more")
        if self._unsafe_root:
            self._say("root", ERROR, self._unsafe_root)
        elif not self._error and self._end("root") is not None:  # or it may not have been looked at
            self._log(NOTICE, "nothing keeps hooks from running any more")
        if self._problems() != problems:
            self._retries.reset()
        if any(self._problems()):
            self._retry_at = self._clock() + self._retries.next()
        self._has_to_report = True
        if done or self._problems() != problems or self._report_at == _NEVER:
            self._report_at = self._clock()

    def _problems(self) -> tuple[dict[str, str], str | None]:
        return {name: str(error) for name, error in self._errors.items()}, self._trouble()

    def _trouble(self) -> str | None:
        """Return what is wrong with this host as a whole."""
        return "; ".join(filter(None, (self._error, self._unsafe_root))) or None

    def _install(self) -> list[install_plan.Action]:
        """Plan and apply; return what was done, having told the journal.

        Raises:
            HookError: nothing could be done.
        """
        layout, store = self._settings.layout, self._settings.store
        with disk.errors_as_layout_errors("looking at what is installed"), install.lock(layout):
            entries = self._hooks.entries
            if self._has_ended_rollout:  # one write may have promoted it as well
                entries = store.wait(SCHEDULE_PREFIX, 0, 0).entries
            rollouts = self._rollouts.entries or {}
            try:
                plan = install_plan.plan_scheduled(
                    layout, store, node=self._settings.node, entries=entries, rollouts=rollouts
                )
            except StoreError:  # it was emptied, and whoever fills it again does not do so all at once
                self._hooks.distrust()
                raise
            self._error, self._unsafe_root = self._drop_doubtful_removals(plan), plan.unsafe_root
            if plan.actions:
                self._show(f"installing from {store.name}: {', '.join(str(action.key) for action in plan.actions)}")
            returns = {action.key for action in plan.actions if self._is_return(action, plan)}
            done, errors = install.apply(layout, plan, store, max_unpacked_bytes=self._settings.max_unpacked_bytes)
            self._installed = len(install_plan.installed_hooks(layout))
        for action in done:
            versions = [each.version or "" for each in action.manifest.launchables] if action.manifest else []
            is_return = action.key in returns
            words = ["returned", str(action.key), "to"] if is_return else [action.done, str(action.key)]
            self._last_change = " ".join([*words, *versions])
            self._log(INFO, self._last_change)
        before = {name: str(error) for name, error in self._errors.items()}
        for name, error in errors.items():
            if str(error) != before.get(name):
                self._log(ERROR, str(error) if name in str(error) else f"{name}: {error}")
        if not plan.warnings:
            self._end("warnings")
        for warning in plan.warnings:
            self._say("warnings", WARNING, warning)
        self._errors, self._scheduled, self._in_rollout = errors, plan.scheduled, plan.in_rollout
        self._look_at = min(self._look_at, self._clock() + _LOOK_EVERY) if plan.in_rollout else _NEVER
        return done

    def _is_return(self, action: install_plan.Action, plan: InstallPlan) -> bool:
        """Tell whether what is called an upgrade puts back the version before: a rollout, or a rollback, did that."""
        is_upgrade = action.kind == install_plan.UPGRADE and action.key not in plan.in_rollout
        home = PodHome(self._settings.layout, action.key)
        return is_upgrade and action.manifest is not None and home.is_return(action.manifest)

    def _drop_doubtful_removals(self, plan: InstallPlan) -> str | None:
        """Take removals out of ``plan`` unless it is certain that they are wanted; return why it is not."""
        reasons = []
        for watch, prefix, is_meant in (
            (self._hooks, SCHEDULE_PREFIX, lambda action: True),
            (self._rollouts, ROLLOUT_PREFIX, lambda action: action.only_in_rollout),
        ):
            removals = [action for action in plan.actions if action.kind == install_plan.REMOVE and is_meant(action)]
            doubt = watch.doubt([f"{prefix}{action.key}" for action in removals]) if removals else None
            if doubt:
                plan.actions = [action for action in plan.actions if action not in removals]
                reasons.append(f"{', '.join(str(action.key) for action in removals)} not removed: {doubt}")
        return "; ".join(reasons) or None

    def _look_for_failures(self) -> None:
        """Have it reported at once that a hook in rollout has failed: whoever rolls it out waits to hear of that.

        That is one more report in the time between two at most.
        """
        try:
            has_failed = self._node_status.has_new_failure(self._in_rollout)
        except HookError:  # the next report says so
            has_failed = False
        self._look_at = self._clock() + (self._settings.report_every if has_failed else _LOOK_EVERY)
        if has_failed:
            self._report_at = self._clock()

    def _report(self) -> None:
        """Report to the store, if there is anything new."""
        every = self._settings.report_every
        self._report_at = self._clock() + every
        try:
            now = self._now()
            if self._has_to_report or self._node_status.is_due(now):
                self._node_status.write(now, scheduled=self._scheduled, errors=self._errors, error=self._trouble())
            self._has_to_report = False
        except HookError as error:
            self._report_at += self._report_retries.next()
            self._say("report", WARNING, f"{error}; this host's report is outdated until that works")
            return
        self._report_retries.reset()
        if self._node_status.is_shared:
            self._say(
                "node",
                WARNING,
                f"{self._settings.store.name}: another listener reports as {self._settings.node} as well, and each "
                "overwrites what the other has said; give each host a name of its own (node)",
            )
        if self._end("report") is not None:
            self._log(NOTICE, "this host's report is up to date again")

    def _say(self, about: str, priority: int, text: str) -> None:
        """Tell the journal, but what it knows already only once until it is over."""
        self._since.setdefault(about, self._clock())
        said = self._said.setdefault(about, set())
        if text not in said:
            said.add(text)
            self._log(priority, text)

    def _end(self, about: str) -> float | None:
        """Note that this is over; return how long it was so, in seconds, None if the journal was told nothing of it."""
        self._said.pop(about, None)
        since = self._since.pop(about, None)
        return None if since is None else self._clock() - since

    def _tell(self) -> None:
        """Show what this is doing."""
        failing = self._failing()
        if failing:
            seconds = self._clock() - failing.failing_since
            self._show(f"no hooks from the store for {seconds:.0f} s: {failing.error}")
            return
        if not self._is_ready():
            self._show(f"asking {self._settings.store.name}")
            return
        parts = [f"watching {self._settings.store.name}", f"{self._installed} hooks installed"]
        parts += [f"{len(self._errors)} could not be installed"] if self._errors else []
        parts += filter(None, [self._trouble()])
        parts += [f"last change: {self._last_change}"] if self._last_change else []
        self._show(", ".join(parts))


def _in_thread(work: Callable[[], None]) -> None:
    threading.Thread(target=work, daemon=True).start()
