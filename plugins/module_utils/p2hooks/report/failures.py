# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What failed on a fleet, with the end of what it wrote."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from ..host_audit import HostAudit, Key, hook_name, text, unsuccessful
from ..node_status import moment
from ..run import describe
from .lists import bounded, host_names

#: How many kinds of failure of one hook are shown at most.
MAX_KINDS_OF_FAILURE = 4

#: The newest part of an output that is shown.
_TAIL_LINES, _TAIL_CHARACTERS = 16, 2000


def failures_of(
    audits: Iterable[HostAudit], nodes: Mapping[str, str], fleet: Mapping[str, Any] | None, since: datetime
) -> list[dict[str, Any]]:
    """Return, for each hook that failed, its newest failure on each host; those that say the same are one.

    Args:
        nodes: how each of the hosts reports.
        fleet: what ``p2_hook_info`` returns; None where the store was not asked.
    """
    newest: dict[Key, list[tuple[str, Mapping[str, Any]]]] = defaultdict(list)
    counts: Counter[Key] = Counter()
    seen: set[tuple[str, Key]] = set()
    for host in audits:
        for audit in host.hooks:
            if audit.last_failure:
                counts[audit.key] += unsuccessful(audit.outcomes)
                newest[audit.key].append((host.host, audit.last_failure))
                seen.add((nodes[host.host], audit.key))
    # Hosts that could not be asked may have told the store.
    oldest = moment(since.timestamp())
    for hook in fleet["hooks"] if fleet else ():
        for each in hook["failures"]:
            node, failure = each["node"], each["last_failure"]
            if not failure or str(failure.get("start")) < oldest:
                continue
            key = (text(failure.get("event")), text(failure.get("hook")), text(hook["id"]))
            if (node, key) not in seen:
                counts[key] += 1
                newest[key].append((node, failure))
    failures = [_failures_of_a_hook(hook_name(*key), counts[key], found) for key, found in newest.items()]
    return sorted(failures, key=lambda failure: (-failure["count"], failure["name"]))


def _failures_of_a_hook(name: str, count: int, found: list[tuple[str, Mapping[str, Any]]]) -> dict[str, Any]:
    kinds: dict[tuple[str, str], list[tuple[str, Mapping[str, Any]]]] = defaultdict(list)
    for host, record in found:
        kinds[_description(record), tail(record)].append((host, record))
    shown: list[dict[str, Any]] = []
    for (description, output), of_kind in kinds.items():
        host, record = max(of_kind, key=lambda each: str(each[1].get("start")))
        shown.append(
            {
                "what": description,
                "output": output,
                "is_cut": bool(record.get("output_truncated")) or output != _output(record),
                "newest": text(record.get("start")),
                "newest_host": host,
                "pod": text(record.get("pod_id")),
                "count": len(of_kind),
                "hosts": host_names(host for host, dummy in of_kind),
            }
        )
    shown.sort(key=lambda kind: kind["newest"], reverse=True)
    shown.sort(key=lambda kind: kind["count"], reverse=True)
    return {
        "name": name,
        "count": count,
        "hosts": len({host for host, dummy in found}),
        "newest": max(kind["newest"] for kind in shown),
        "kinds": bounded(shown, MAX_KINDS_OF_FAILURE),
    }


def _description(record: Mapping[str, Any]) -> str:
    return text(describe({"outcome": None, "reason": None, "signal": None, "exit_code": None, **record}))


def tail(record: Mapping[str, Any]) -> str:
    """Return the end of the output of a record: its last lines, and not too many characters of them."""
    output = _output(record)
    return "\n".join(output[-_TAIL_CHARACTERS:].split("\n")[-_TAIL_LINES:])


def _output(record: Mapping[str, Any]) -> str:
    return str(record.get("output") or "").rstrip("\n\r\t ")
