# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A listener in a world whose time stands still until somebody waits, on a store that does what a test says."""

from __future__ import annotations

import heapq
import itertools
import json
import queue
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from p2hooks.errors import StoreConflict
from p2hooks.hook_key import SCHEDULE_PREFIX
from p2hooks.listener import Listener, Settings
from p2hooks.node_status import STATUS_PREFIX
from p2hooks.rollout_record import ROLLOUT_PREFIX, Cohort, Limits, Rollout
from p2hooks.store import ABSENT, Change, Entry, Snapshot, Store
from support_audit import record
from support_host import Host, typed

#: When the world begins, in seconds since 1970.
BEGIN = 1_800_000_000.0


@dataclass(frozen=True)
class Asked:
    """A request that waits for a change."""

    at: float
    index: int
    seconds: float


class Waiting(BaseException):
    """A request waits for a change, until this time."""


class World:
    """Time, what will happen, and what a listener waits for."""

    def __init__(self) -> None:
        self.time = 0.0
        #: Time stops here.
        self.end = 0.0
        #: What the random numbers are.
        self.chance = 1.0
        #: While a request that waited is looked at again: until when it waits.
        self.waits_until: float | None = None
        self._waiting: list[tuple[float, Callable[[], None]]] = []
        self._plans: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._events: list[Any] = []

    def at(self, when: float, change: Callable[[], None]) -> None:
        """Have something happen."""
        heapq.heappush(self._plans, (when, next(self._numbers), change))

    def start(self, work: Callable[[], None], until: float | None = None) -> None:
        """Run what is to run in the background."""
        self.waits_until = until
        try:
            work()
        except Waiting as waiting:
            self._waiting.append((waiting.args[0], work))
        self.waits_until = None

    def put(self, event: Any) -> None:
        self._events.append(event)

    def get(self, timeout: float | None) -> Any:
        give_up = self.end if timeout is None else min(self.end, self.time + timeout)
        while not self._events:
            waits = [until for until, dummy in self._waiting] + [plan[0] for plan in self._plans]
            due = min(waits, default=float("inf"))
            if due > give_up:
                self.time = give_up
                raise queue.Empty
            self.time = max(self.time, due)
            while self._plans and self._plans[0][0] <= self.time:
                heapq.heappop(self._plans)[2]()
            waiting, self._waiting = self._waiting, []
            for until, work in waiting:
                self.start(work, until)
        return self._events.pop(0)


class ScriptedStore(Store):
    """Keys in memory. As in Consul, an index that is too high is waited for in vain."""

    name = "the store"
    lookalike_of_empty = "one that is away"

    def __init__(self, world: World) -> None:
        self._world = world
        self.index = 10
        #: That of each prefix that can be waited for.
        self.indexes = {SCHEDULE_PREFIX: 10, ROLLOUT_PREFIX: 10}
        self.keys: dict[str, Entry] = {}
        #: What to answer to the next requests that may wait, each at once, before answering truly.
        self.script: list[Snapshot | Exception] = []
        #: The same for requests about rollouts.
        self.rollout_script: list[Snapshot | Exception] = []
        #: The same for requests that are to be answered at once anyway.
        self.second_reads: list[Snapshot | Exception] = []
        self.asked: list[Asked] = []
        self.asked_of_rollouts: list[Asked] = []
        self.commits: list[float] = []
        self.commit_errors: list[Exception] = []

    def put(self, key: str, value: bytes | None) -> None:
        self.index += 1
        for prefix in self.indexes:
            if key.startswith(prefix):
                self.indexes[prefix] = self.index
        if value is None:
            del self.keys[key]
        else:
            self.keys[key] = Entry(value, self.index)

    def snapshot(self, prefix: str = SCHEDULE_PREFIX) -> Snapshot:
        return Snapshot(self.read(prefix), self.indexes[prefix])

    def read(self, prefix: str) -> dict[str, Entry]:
        return {key: self.keys[key] for key in sorted(self.keys) if key.startswith(prefix)}

    def wait(self, prefix: str, index: int, seconds: float) -> Snapshot:
        is_hooks = prefix == SCHEDULE_PREFIX
        if seconds == 0:
            return _said(self.second_reads.pop(0)) if is_hooks and self.second_reads else self.snapshot(prefix)
        until = self._world.waits_until
        if until is None:
            asked = self.asked if is_hooks else self.asked_of_rollouts
            asked.append(Asked(self._world.time, index, seconds))
            until = self._world.time + seconds
        script = self.script if is_hooks else self.rollout_script
        if script:
            return _said(script.pop(0))
        if self.indexes[prefix] > index or index == 0 or self._world.time >= until:
            return self.snapshot(prefix)
        raise Waiting(until)

    def get(self, key: str) -> Entry | None:
        return self.keys.get(key)

    def commit(self, changes: Sequence[Change]) -> None:
        self.commits.append(self._world.time)
        if self.commit_errors:
            raise self.commit_errors.pop(0)
        for change in changes:
            entry = self.keys.get(change.key)
            if (entry.index if entry else ABSENT) != change.index:
                raise StoreConflict(change.key)
            self.put(change.key, change.value)


def _said(answer: Snapshot | Exception) -> Snapshot:
    if isinstance(answer, Exception):
        raise answer
    return answer


class Listening:
    """A host, a store, and a listener between them."""

    def __init__(self, path: Path) -> None:
        self.world = World()
        self.host = Host(path)
        self.store = ScriptedStore(self.world)
        self.audit = path / "audit.jsonl"
        self.lines: list[tuple[int, str]] = []
        self.shown = ""
        self.listener = Listener(
            self.settings(),
            log=lambda priority, text: self.lines.append((priority, text)),
            status=self._show,
            clock=lambda: self.world.time,
            now=lambda: BEGIN + self.world.time,
            chance=lambda: self.world.chance,
            start=self.world.start,
            inbox=self.world,  # type: ignore[arg-type]
        )

    def settings(self, store: Store | None = None, **options: Any) -> Settings:
        intervals = {"reconcile_every": 300.0, "report_every": 10.0, **options}
        return Settings(self.host.layout, store or self.store, "node1", str(self.audit), **intervals)

    def schedule(self, pod_id: str, version: str = "1", **options: Any) -> None:
        self.put(pod_id, self.host.pod(pod_id, version, **options).text.encode())

    def put(self, pod_id: str, value: bytes | None) -> None:
        self.store.put(f"hooks/before_install/{pod_id}", value)

    def ran(self, outcome: str = "succeeded", version: str = "1", pod_id: str = "a") -> None:
        """Have a hook run, long after whatever was installed."""
        sha = self.host.pod(pod_id, version).sha
        ran = record(hook_id=pod_id, manifest_sha=sha, outcome=outcome, start="2099-01-01T00:00:00.000Z")
        with open(self.audit, "a") as log:
            log.write(json.dumps(ran, separators=(",", ":")) + "\n")

    def roll_out(self, pod_id: str, version: str, *nodes: str) -> None:
        """Have these hosts take a version of a hook; ``node1`` is the one that listens."""
        key, pod, moment = typed(pod_id), self.host.pod(pod_id, version), "2026-01-31T12:00:00.000Z"
        rollout = Rollout(key, pod, Cohort(nodes), Limits(), None, "alice", moment, moment)
        self.store.put(rollout.store_key, rollout.encode())

    def end_rollout(self, pod_id: str) -> None:
        self.store.put(f"hooks-rollout/before_install/{pod_id}", None)

    def run(self, seconds: float) -> list[str]:
        """Let time pass; return the lines of the journal that this brings."""
        count = len(self.lines)
        self.world.end = self.world.time + seconds
        while self.world.time < self.world.end:
            self.listener.step()
        return [text for dummy, text in self.lines[count:]]

    def later(self, seconds: float, change: Callable[[], object]) -> None:
        """Have something happen after so many seconds."""
        self.world.at(self.world.time + seconds, lambda: (change(), None)[1])

    def close(self) -> None:
        self.listener.close()

    def report(self) -> dict[str, Any]:
        loaded = json.loads(self.store.keys[f"{STATUS_PREFIX}node1"].value)
        assert isinstance(loaded, dict)
        return loaded

    def _show(self, text: str) -> None:
        self.shown = text
