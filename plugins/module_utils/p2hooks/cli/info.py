# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``p2-hook info``: what is scheduled and in rollout, and where hosts differ from it."""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from typing import Any

from .. import hook_info
from ..console import Answer, UsageError, printable
from ..layout import Layout
from ..store.options import open_store
from . import output


def answer(options: argparse.Namespace) -> Answer:
    """Return what :mod:`..hook_info` finds out.

    Raises:
        UsageError: ``--here`` and ``--nodes`` contradict each other.
        HookError: the store or the disk cannot be read.
    """
    question = hook_info.Question(options.event, options.id, options.limit or None)
    store, now = open_store(vars(options)), time.time()
    if options.here:
        if options.nodes:
            raise UsageError("--here looks at this host, and --nodes at others; give one of them")
        found = hook_info.of_host(store, Layout(options.root), question, node=options.node, now=now)
    else:
        found = hook_info.of_fleet(store, question, nodes=options.nodes, now=now)
    return Answer(found.data, _lines(found.data), warnings=found.warnings)


def _lines(data: Mapping[str, Any]) -> list[str]:
    hooks, nodes = data["hooks"], data["nodes"]
    if not hooks:
        lines = ["there is no such hook, neither in the store nor on a host"]
    else:
        columns = ("event", "id", "version", "rollout", "hosts", "failing")
        lines = output.table(columns, [_hook_row(hook) for hook in hooks])
    lines += [printable(f"{_name(hook)}: {hook['error']}") for hook in hooks if hook["error"]]
    rollouts = [hook["rollout"] for hook in hooks if hook["rollout"]]
    lines += [printable(rollout["overtaken"]) for rollout in rollouts if rollout["overtaken"]]
    differences = [_difference_row(hook, each) for hook in hooks for each in hook["differences"]]
    if differences:
        lines += ["", *output.table(("hook", "host", "state", "why"), differences)]
    left_off = sum(hook["differences_left_off"] for hook in hooks)
    if left_off:
        lines.append(f"{left_off} more; --limit 0 shows all")
    problems = [_node_row(node) for node in nodes if hook_info.problems_of(node)]
    if problems:
        lines += ["", *output.table(("host", "engine", "reported", "problem"), problems)]
    return lines


def _hook_row(hook: Mapping[str, Any]) -> list[str]:
    scheduled, rollout = hook["scheduled"], hook["rollout"]
    return [
        hook["event"] or "(global)",
        hook["id"],
        output.versions(scheduled["versions"]) if scheduled else "",
        f"{output.versions(rollout['versions'])} {_cohort(rollout)}" if rollout else "",
        _counts(hook["hosts"]),
        str(hook["failing_hosts"] or ""),
    ]


def _cohort(rollout: Mapping[str, Any]) -> str:
    parts = [f"{rollout['percent']:g}%"] if rollout["percent"] else []
    parts += [f"{len(rollout['nodes'])} named"] if rollout["nodes"] else []
    return f"({', '.join(parts) or 'nobody'}, since {rollout['started']} by {rollout['started_by']})"


def _difference_row(hook: Mapping[str, Any], difference: Mapping[str, Any]) -> list[str]:
    state = difference["state"]
    versions = output.versions(difference["versions"])
    why = difference["error"] or (f"has {versions}" if versions and state != "changed" else "")
    return [_name(hook), difference["node"], state, why]


def _node_row(node: Mapping[str, Any]) -> list[str]:
    return [node["node"], node["engine"] or "", node["reported"] or "", "; ".join(hook_info.problems_of(node))]


def _counts(numbers: Mapping[str, int]) -> str:
    return ", ".join(f"{numbers[state]} {state}" for state in sorted(numbers))


def _name(hook: Mapping[str, Any]) -> str:
    return f"{hook['event']}/{hook['id']}" if hook["event"] else hook["id"]
