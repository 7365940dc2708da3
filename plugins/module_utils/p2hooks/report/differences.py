# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""In what hosts are not as the store wants them, in the words of ``p2-hook info``."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..console import abbreviated
from ..drift import DRIFT, EXTRA, FAILED, MISSING, OUTDATED, OVERRIDDEN, UNKNOWN
from ..hook_info import problems_of
from ..host_audit import text
from .lists import host_names
from .versions import hook_called, versions

_WORDS = {
    MISSING: "it is not there",
    EXTRA: "it came from the store, which no longer schedules it",
    OVERRIDDEN: "a local hook stands in front of it",
}


@dataclass(frozen=True)
class Difference:
    """In what the same hook, or the host itself, is not as it should be on some hosts."""

    #: The hook and its state, one of those in drift.py; None where it is about hosts as a whole.
    hook: str | None
    state: str | None
    what: str
    #: How many hosts, and those of them that are known by name.
    count: int
    hosts: list[str] = field(default_factory=list)


def differences_of(fleet: Mapping[str, Any]) -> list[Difference]:
    """Return in what hosts are not as they should be, the widespread first.

    Args:
        fleet: what ``p2_hook_info`` returns.
    """
    return sorted(_differences(fleet), key=lambda each: (-each.count, str(each.hook), str(each.state), each.what))


def differing_hosts(fleet: Mapping[str, Any]) -> Counter[str]:
    """Return for each host in how many ways it differs; an engine that is older than this one is none of them."""
    found: Counter[str] = Counter()
    for node in fleet["nodes"]:
        count = sum(node["hooks"].get(state, 0) for state in DRIFT)
        found[node["node"]] = count + sum(bool(node[name]) for name in ("stale", "unreadable", "error"))
    return +found


def shown_difference(difference: Difference) -> dict[str, Any]:
    """Return ``difference`` as the page shows it."""
    return {
        "hook": difference.hook,
        "state": difference.state,
        "what": difference.what,
        "count": difference.count,
        "hosts": host_names(difference.hosts),
    }


def _differences(fleet: Mapping[str, Any]) -> Iterator[Difference]:
    found: dict[tuple[str | None, str | None, str], list[str]] = defaultdict(list)
    for hook in fleet["hooks"]:
        name = hook_called(hook)
        if hook["error"]:
            yield Difference(name, UNKNOWN, text(hook["error"]), hook["hosts"].get(UNKNOWN, 0))
        for each in hook["differences"]:
            found[name, each["state"], _what(hook, each)].append(each["node"])
    for node in fleet["nodes"]:
        for problem in problems_of(node):
            found[None, None, text(problem)].append(node["node"])
    for (hook_name, state, what), nodes in found.items():
        yield Difference(hook_name, state, what, len(nodes), nodes)


def _what(hook: Mapping[str, Any], difference: Mapping[str, Any]) -> str:
    if difference["state"] == FAILED:
        return text(difference["error"])
    if difference["state"] == OUTDATED:
        return _outdated(hook, difference)
    return _WORDS.get(difference["state"], "")


def _outdated(hook: Mapping[str, Any], difference: Mapping[str, Any]) -> str:
    wanted_sha, rollout = difference["wanted_sha"], hook["rollout"]
    is_in_rollout = bool(rollout) and rollout["manifest_sha"] == wanted_sha
    wanted = rollout if is_in_rollout else hook["scheduled"]
    has, should = versions(difference["versions"]), versions(wanted["versions"]) if wanted else ""
    where = ", which is in rollout" if is_in_rollout else ""
    if has and should and has != should:
        return f"it has {has} in place of {should}{where}"
    shas = [text(abbreviated(sha)) for sha in (difference["manifest_sha"], wanted_sha)]
    return f"it has the manifest {shas[0]} in place of {shas[1]}{where}"
