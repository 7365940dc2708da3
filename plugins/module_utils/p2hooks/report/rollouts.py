# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rollouts that are under way, and how they are doing."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from ..console import abbreviated
from ..host_audit import text
from ..outcomes import OUTCOMES
from ..rollout_judge import named
from .lists import bounded, host_names
from .versions import hook_called, versions

#: How many reasons are shown of each rollout at most.
MAX_REASONS = 8

#: How hosts of a cohort stand, the worst first, and what has the reasons for that.
_STANDINGS = {"failed": "failed_nodes", "away": "away", "waiting": "waiting"}

#: How old a report is, in the words of rollout_judge.py.
_AGE = re.compile(r"([0-9]+) s ago")


def rollouts_of(fleet: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return each rollout that is under way, those first that go wrong.

    Args:
        fleet: what ``p2_hook_info`` returns.
    """
    found = [_rollout(hook, hook["rollout"]) for hook in fleet["hooks"] if hook["rollout"]]
    return sorted(found, key=lambda each: (each["broken"] is None, -each["hosts"].get("failed", 0), each["name"]))


def _rollout(hook: Mapping[str, Any], rollout: Mapping[str, Any]) -> dict[str, Any]:
    progress = rollout["progress"] or {"hosts": {}, "outcomes": {}, "broken": None}
    outcomes = progress["outcomes"]
    return {
        "name": hook_called(hook),
        "version": versions(rollout["versions"]),
        "manifest": abbreviated(rollout["manifest_sha"]),
        "base": rollout["base_sha"] and text(abbreviated(str(rollout["base_sha"]))),
        "percent": rollout["percent"],
        "nodes": host_names(rollout["nodes"]),
        "started_by": text(rollout["started_by"]),
        "started": text(rollout["started"]),
        "widened": text(rollout["widened"]) if rollout["widened"] != rollout["started"] else None,
        "hosts": progress["hosts"],
        "total": sum(progress["hosts"].values()),
        "broken": progress["broken"] and _broken(hook, progress),
        "overtaken": rollout["overtaken"] and text(rollout["overtaken"]),
        "outcomes": {outcome: outcomes[outcome] for outcome in OUTCOMES if outcomes.get(outcome)},
        "reasons": bounded(list(_reasons(progress)), MAX_REASONS),
    }


def _broken(hook: Mapping[str, Any], progress: Mapping[str, Any]) -> str:
    """Return why the limits are broken, without the hook and the hosts, which the page names beside it."""
    hosts = named(progress["failed_nodes"])
    return text(str(progress["broken"]).removeprefix(f"{hook_called(hook)}: ").removesuffix(f": {hosts}"))


def _reasons(progress: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield why hosts do not have it, or failed; hosts of which the same is said, but for an age, are one."""
    for standing, name in _STANDINGS.items():
        hosts: dict[str, dict[str, str]] = defaultdict(dict)
        for node, why in progress.get(name, {}).items():
            hosts[_AGE.sub("s ago", why)][node] = why
        for found in sorted(hosts.values(), key=len, reverse=True):
            yield {
                "standing": standing,
                "why": text(_said_of_all(list(found.values()))),
                "count": len(found),
                "hosts": host_names(found),
            }


def _said_of_all(reasons: list[str]) -> str:
    """Return what reasons say that differ in ages alone: the greatest ones."""
    if len(set(reasons)) == 1:
        return reasons[0]
    greatest = iter([max(ages, key=lambda age: (len(age), age)) for ages in zip(*map(_AGE.findall, reasons))])
    return _AGE.sub(lambda dummy: f"up to {next(greatest)} s ago", reasons[0])
