# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A fleet as it reports itself to a store, for the tests of rollouts."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from p2hooks.hook_key import HookKey
from p2hooks.manifest import PodManifest, from_mapping
from p2hooks.node_status import STATUS_PREFIX
from p2hooks.rollout import Version, plan_start
from p2hooks.rollout_record import Cohort, Rollout, decode
from p2hooks.schedule import apply, plan
from p2hooks.store import ABSENT, Change
from p2hooks.store.directory import DirectoryStore

KEY = HookKey.of("before_install", "greet")
RECORD = "hooks-rollout/before_install/greet"
BASE, PREVIOUS = "hooks/before_install/greet", "hooks-previous/before_install/greet"
NODES = ("node1", "node2", "node3", "node4")
#: When everything begins, in seconds since 1970.
START = 1_000_000.0


def moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def pod(number: int, **changes: Any) -> PodManifest:
    """Return version ``number`` of the hook."""
    launchable = {"launchable_type": "hoist", "location": f"https://example.com/greet_{number}.tar.gz", **changes}
    return from_mapping({"id": "greet", "launchables": {"greet": launchable}}, "greet")


OLD, NEW, OTHER = pod(1), pod(2), pod(3)


class Fleet:
    """A store with reports of hosts."""

    def __init__(self, path: Path, store: DirectoryStore | None = None) -> None:
        self.store = store or DirectoryStore(str(path), create=True)

    def report(
        self, *nodes: str, at: float = START, valid_for: float = 1200, host_error: str | None = None, **hook: Any
    ) -> None:
        """Have ``nodes`` report that the hook is as ``hook`` says, or not there where that says nothing."""
        for node in nodes:
            hooks = {str(KEY): hook} if hook else {}
            self.write(node, self.document(node, hooks, at=at, valid_for=valid_for, error=host_error))

    @staticmethod
    def document(
        node: str, hooks: dict[str, Any], *, at: float, valid_for: float = 1200, error: str | None = None
    ) -> bytes:
        """Return a report."""
        content = {
            "schema": 1,
            "node": node,
            "engine": "0.1.0",
            "reported": moment(at),
            "valid_for": valid_for,
            "error": error,
            "hooks": hooks,
        }
        return json.dumps(content).encode()

    def write(self, node: str, value: bytes) -> None:
        entry = self.store.get(STATUS_PREFIX + node)
        self.store.commit([Change(STATUS_PREFIX + node, value, entry.index if entry else ABSENT)])

    def takes(self, *nodes: str, manifest: PodManifest = NEW, at: float = START, **hook: Any) -> None:
        """Have ``nodes`` report that they installed ``manifest`` at ``at``."""
        installed = {"manifest_sha": manifest.sha, "scheduled_sha": manifest.sha, "origin": "store"}
        self.report(*nodes, at=hook.pop("reported", at), **{**installed, "installed": moment(at), **hook})

    def schedule(self, manifest: PodManifest | None) -> None:
        apply(self.store, plan(self.store, {KEY: manifest}))

    def start(self, *nodes: str, percent: float = 0.0, **limits: Any) -> Rollout:
        start = plan_start(self.store, KEY, Version(NEW), Cohort(nodes, percent), limits, started_by="alice", now=START)
        apply(self.store, start)
        return self.rollout

    def text(self, key: str) -> str | None:
        entry = self.store.get(key)
        return entry.value.decode() if entry else None

    @property
    def rollout(self) -> Rollout:
        entry = self.store.get(RECORD)
        assert entry
        return decode(KEY, entry.value, "there")
