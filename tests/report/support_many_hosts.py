# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A fleet that never was: records of what ran on its hosts, and what they report. The same size is the same fleet."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from p2hooks.hook_info import Question, of_fleet
from p2hooks.hook_key import HookKey
from p2hooks.manifest import PodManifest, from_mapping
from p2hooks.rollout_record import Cohort, Limits, Rollout
from p2hooks.store.directory import DirectoryStore

#: Event, id, seconds that it takes, and how many of a thousand of its runs fail.
HOOKS = (
    ("before_install", "ensure_user", 0.05, 1),
    ("before_install", "check_disk", 0.4, 12),
    ("after_install", "warm_cache", 8.0, 5),
    ("after_install", "audit_files", 2.5, 0),
    ("before_launch", "drain", 3.0, 2),
    ("after_launch", "register_dns", 0.9, 25),
    ("after_launch", "announce", 0.2, 0),
    ("after_launch", "smoke_test", 14.0, 4),
    ("before_uninstall", "backup", 31.0, 8),
    ("after_auth_fail", "page_somebody", 0.3, 40),
)
FAILURES = (
    ("failed", None, 1, "checking /data\n\x1b[31mERROR\x1b[0m only 412 MiB are free, and 1024 MiB are needed\n"),
    ("failed", None, 7, "resolving ns1.example.com ... done\nupdate: REFUSED\n"),
    (
        "failed",
        None,
        2,
        "Traceback (most recent call last):\n  File \"hook\", line 12, in <module>\nKeyError: 'zone'\n",
    ),
    ("timed_out", "it was told to end after 30 s", None, "waiting for the lock\n" * 40),
    ("interrupted", "the run died while this hook was running", None, ""),
    ("skipped", "it is not executable", None, ""),
)
#: The rollouts under way, with their cohorts and limits.
ROLLOUTS = {
    HookKey.of("before_launch", "drain"): (
        Cohort(("node1.example.com", "node2.example.com"), 10.0),
        Limits(failed_hosts=9, failed_runs=99),
    ),
    HookKey.of("after_launch", "smoke_test"): (Cohort((), 3.0), Limits()),
}
PODS = ("web", "api", "worker", "billing", "search")


def records(hosts: int, runs: int, now: datetime, days: float = 3) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Yield each host's name and records, ``runs`` in all, spread over the last ``days`` as deploys are over a day."""
    chance = random.Random(hosts)
    for number in range(hosts):
        host = f"node{number + 1}.example.com"
        yield host, [_record(chance, host, number, now, days) for dummy in range(runs // hosts)]


def _record(chance: random.Random, host: str, number: int, now: datetime, days: float) -> dict[str, Any]:
    while True:
        start = now - timedelta(days=days * chance.random())
        if chance.random() < (1.0 if 8 <= start.hour < 18 else 0.25):
            break
    event, name, seconds, permille = chance.choice(HOOKS)
    # one host in forty has something of its own
    is_failure = chance.random() * 1000 < permille * (8 if number % 40 == 3 else 1)
    version = installed(name, number)
    # a rollout on one host in fifty was aborted two days ago
    if name == "register_dns" and number % 50 == 1 and start < now - timedelta(days=2):
        is_failure, version = True, pod(name, 3)
    outcome, reason, exit_code, output = chance.choice(FAILURES) if is_failure else ("succeeded", None, 0, "done\n")
    return {
        "run_id": f"{chance.getrandbits(64):016x}",
        "host": host,
        "event": event,
        "hook": f"{name}_{name}_launch",
        "hook_id": name,
        "manifest_sha": version.sha,
        "artifact_version": version.launchables[0].version,
        "pod_id": chance.choice(PODS),
        "pod_unique_key": "",
        "outcome": outcome,
        "reason": reason,
        "exit_code": exit_code,
        "signal": None,
        "start": moment(start),
        "duration": round(seconds * (0.6 + chance.expovariate(2)), 4),
        "output": output,
        "output_truncated": False,
        "output_held_open": False,
    }


@cache
def pod(name: str, version: int) -> PodManifest:
    """Return a version of a hook."""
    artifact = f"{name}_{random.Random(f'{name}{version}').getrandbits(256):064x}.tar.gz"
    launchable = {"launchable_type": "hoist", "location": f"https://artifacts.example.com/{artifact}"}
    return from_mapping({"id": name, "launchables": {name: launchable}}, name)


def installed(name: str, number: int) -> PodManifest:
    """Return what a host has of a hook; some have not taken the newest version of one yet."""
    return pod(name, 1 if name == "warm_cache" and number % 25 == 7 else 2)


def moment(when: datetime) -> str:
    return when.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def fleet(path: Path, hosts: int, now: datetime) -> dict[str, Any]:
    """Return what p2_hook_info says of such a fleet, whose store is put into the directory ``path``."""
    fill(path, hosts, now)
    return of_fleet(DirectoryStore(str(path)), Question(limit=None), now=now.timestamp()).data


def fill(path: Path, hosts: int, now: datetime) -> None:
    """Put into the directory ``path`` what is scheduled, two rollouts, and what hosts report, some of it bad."""
    for event, name, *dummy in HOOKS:
        put(path, f"hooks/{event}/{name}", pod(name, 2).text)
    for key, (cohort, limits) in ROLLOUTS.items():
        base = pod(key.id, 2).sha
        started, widened = moment(now - timedelta(hours=5)), moment(now - timedelta(minutes=40))
        rollout = Rollout(key, pod(key.id, 3), cohort, limits, base, "alice@admin.example.com", started, widened)
        put(path, rollout.store_key, rollout.encode().decode())
    for number in range(hosts):
        put(path, f"hooks-status/node{number + 1}.example.com", json.dumps(report(number, now)))


def put(path: Path, key: str, value: str) -> None:
    """Put a value into a store as a person would do who knows its files."""
    (path / key).parent.mkdir(parents=True, exist_ok=True)
    (path / key).write_text(value)


def report(number: int, now: datetime) -> dict[str, Any]:
    hooks = {f"{event}/{name}": hook(installed(name, number), now) for event, name, *dummy in HOOKS}
    for key, (cohort, dummy) in ROLLOUTS.items():
        if cohort.includes(f"node{number + 1}.example.com", key) and number % 7 != 1:  # such do not have it yet
            hooks[str(key)] = {**hook(pod(key.id, 3), now), "outcomes": {"succeeded": 5, "failed": number % 8 // 7}}
    if number % 100 == 61:
        hooks["after_launch/announce"].update(
            manifest_sha=None, versions={}, error="https://artifacts.example.com/announce.tar.gz: 404 Not Found"
        )
    return {
        "schema": 1,
        "node": f"node{number + 1}.example.com",
        "engine": "0.1.0",
        "reported": moment(now - timedelta(minutes=90 if number % 200 == 150 else 3)),
        "valid_for": 1200,
        "error": None,
        "hooks": hooks,
    }


def hook(pod: PodManifest, now: datetime) -> dict[str, Any]:
    """Return what a host reports of a hook that it has."""
    return {
        "manifest_sha": pod.sha,
        "scheduled_sha": pod.sha,
        "versions": {each.id: each.version for each in pod.launchables},
        "origin": "store",
        "installed": moment(now - timedelta(days=5)),
        "error": None,
        "outcomes": {"succeeded": 12},
    }


def answer(summary: list[dict[str, Any]]) -> Mapping[str, Any]:
    """Return a summary as p2_hook_audit_info does."""
    return {"changed": False, "records": [], "summary": summary}
