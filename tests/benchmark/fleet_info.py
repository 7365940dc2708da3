# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure how long it takes to tell where a fleet differs, beside decoding the same reports with json.loads alone."""

from __future__ import annotations

import json
import resource
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Optional

from p2hooks import VERSION, hook_info, schedule
from p2hooks.hook_key import HookKey
from p2hooks.manifest import PodManifest
from p2hooks.node_status import moment
from p2hooks.store import ABSENT, Change, Store
from p2hooks.store.consul import ConsulConnection, ConsulStore
from p2hooks.store.directory import DirectoryStore

HOSTS = 1000
ROUNDS = 3

Row = Callable[[str, "float | str", "float | str", str], None]
Timed = Callable[[Callable[[], object], int], float]
Pods = Mapping[HookKey, Optional[PodManifest]]


def measure(work: Path, url: str, pods: Callable[[int], Pods], timed: Timed, row: Row) -> None:
    """Print a row for 100 hooks in Consul, and for 1,000 in a directory, each on as many hosts."""
    consul = ConsulStore(ConsulConnection(url=url))
    report = fill(consul, pods(100))
    for number in range(HOSTS):
        consul.commit([Change(f"hooks-status/node{number:04}", report, ABSENT)])
    show("100 hooks on 1,000 hosts, Consul", consul, report, timed, row)

    directory = DirectoryStore(str(work / "fleet"), create=True)
    report = fill(directory, pods(1000))
    (work / "fleet/hooks-status").mkdir()
    for number in range(HOSTS):  # not through the store, which would have the disk confirm each
        (work / f"fleet/hooks-status/node{number:04}").write_bytes(report)
    show("1,000 hooks on 1,000 hosts, directory", directory, report, timed, row)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    reports = len(report) * HOSTS / 1024**2
    print(f"{'most memory until now':<36} {memory:>6.0f} MiB {memory / reports:>8.1f}  the reports, {reports:.0f} MiB")


def fill(store: Store, pods: Pods) -> bytes:
    """Schedule ``pods``; return the report of a host that has them all."""
    schedule.apply(store, schedule.plan(store, pods, exclusive=True))
    now = moment(time.time())
    hooks = {
        str(key): {
            "manifest_sha": pod.sha,
            "scheduled_sha": pod.sha,
            "versions": {each.id: each.version for each in pod.launchables},
            "origin": "store",
            "installed": now,
            "error": None,
            "outcomes": {"succeeded": 12, "failed": 1},
        }
        for key, pod in pods.items()
        if pod
    }
    content = {"schema": 1, "engine": VERSION, "reported": now, "valid_for": 1200, "error": None, "hooks": hooks}
    return json.dumps(content, separators=(",", ":")).encode()


def show(name: str, store: Store, report: bytes, timed: Timed, row: Row) -> None:
    """Print a row for telling where the fleet in ``store`` differs."""
    found = hook_info.of_fleet(store, hook_info.Question(), now=time.time()).data["summary"]
    if found["differences"] or found["unreadable"] or found["nodes"] != HOSTS:
        raise RuntimeError(f"the fleet is not as it was made: {found}")
    alone = timed(lambda: decode(report), ROUNDS)
    whole = timed(lambda: hook_info.of_fleet(store, hook_info.Question(), now=time.time()), ROUNDS)
    row(name, whole, whole / alone, "json.loads of the same reports")
    read = timed(lambda: store.read("hooks-status/"), ROUNDS)
    row("  of that, reading them from the store", read, read / alone, "json.loads of the same reports")


def decode(report: bytes) -> None:
    """Decode the reports, without keeping them."""
    for dummy in range(HOSTS):
        json.loads(report)
