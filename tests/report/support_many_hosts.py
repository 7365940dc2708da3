# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A fleet that never was: records of what ran on its hosts, and what they report. The same size is the same fleet."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

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
    outcome, reason, exit_code, output = chance.choice(FAILURES) if is_failure else ("succeeded", None, 0, "done\n")
    return {
        "run_id": f"{chance.getrandbits(64):016x}",
        "host": host,
        "event": event,
        "hook": f"{name}_{name}_launch",
        "hook_id": name,
        "manifest_sha": sha(name, number),
        "artifact_version": sha(name, number)[::-1],
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


def sha(name: str, number: int) -> str:
    """Return the manifest of a hook; some hosts have not taken the newest version of one yet."""
    is_new = name == "warm_cache" and number % 25 != 7
    return f"{random.Random(name + 'new' * is_new).getrandbits(256):064x}"


def moment(when: datetime) -> str:
    return when.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def reports(hosts: int, now: datetime) -> dict[str, str]:
    """Return what the hosts of such a fleet report, some of them something bad."""
    return {f"node{number + 1}.example.com": json.dumps(report(number, now)) for number in range(hosts)}


def report(number: int, now: datetime) -> dict[str, Any]:
    hooks: dict[str, Any] = {
        f"{event}/{name}": {
            "manifest_sha": sha(name, number),
            "scheduled_sha": sha(name, 0),
            "versions": {name: sha(name, number)[::-1]},
            "origin": "store",
            "installed": moment(now - timedelta(days=5)),
            "error": None,
            "outcomes": {},
        }
        for event, name, *dummy in HOOKS
    }
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


def answer(summary: list[dict[str, Any]]) -> Mapping[str, Any]:
    """Return a summary as p2_hook_audit_info does."""
    return {"changed": False, "records": [], "summary": summary}
