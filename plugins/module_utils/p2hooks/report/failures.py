# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What failed on a fleet, with the end of what it wrote."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from ..console import abbreviated
from ..host_audit import HostAudit, Key, hook_name, text, unsuccessful
from ..node_status import moment
from ..run import describe
from .lists import bounded, host_names
from .versions import InUse, versions

#: How many versions of a hook that failed, and how many kinds of failure of one of them, are shown at most.
MAX_FAILED_VERSIONS = 4
MAX_KINDS_OF_FAILURE = 4

#: The newest part of an output that is shown.
_TAIL_LINES, _TAIL_CHARACTERS = 16, 2000


def failures_of(
    audits: Iterable[HostAudit],
    nodes: Mapping[str, str],
    fleet: Mapping[str, Any] | None,
    since: datetime,
    in_use: InUse,
) -> list[dict[str, Any]]:
    """Return for each hook the versions that failed, with each host's newest failure; those that say the same are one.

    Hooks of which only versions failed that are nowhere any more come last.

    Args:
        nodes: how each of the hosts reports.
        fleet: what ``p2_hook_info`` returns; None where the store was not asked.
    """
    found: dict[Key, _Failures] = defaultdict(_Failures)
    seen: set[tuple[str, Key]] = set()
    for host in audits:
        for audit in host.hooks:
            if not audit.failures:
                continue
            found[audit.key].count += unsuccessful(audit.outcomes)
            seen.add((nodes[host.host], audit.key))
            for each in audit.failures:
                version = found[audit.key].versions[each.manifest_sha]
                version.version = abbreviated(each.version or "")
                version.count += each.count
                version.newest.append((host.host, each.last))
    # Hosts that could not be asked may have told the store.
    oldest = moment(since.timestamp())
    for hook in fleet["hooks"] if fleet else ():
        for each in hook["failures"]:
            node, failure = each["node"], each["last_failure"]
            if not failure or str(failure.get("start")) < oldest:
                continue
            key = (text(failure.get("event")), text(failure.get("hook")), text(hook["id"]))
            if (node, key) not in seen:
                found[key].count += 1
                version = found[key].versions[text(each["manifest_sha"])]
                version.version = version.version or versions(each["versions"])
                version.count += 1
                version.newest.append((node, failure))
    failures = [_failures_of_a_hook(key, failed, in_use) for key, failed in found.items()]
    return sorted(failures, key=lambda failure: (failure["is_past"], -failure["count"], failure["name"]))


@dataclass
class _Version:
    """The runs of one version of a hook that did not succeed; of each host the newest one."""

    version: str = ""
    count: int = 0
    newest: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list)


@dataclass
class _Failures:
    count: int = 0
    #: By manifest.
    versions: dict[str | None, _Version] = field(default_factory=lambda: defaultdict(_Version))


def _failures_of_a_hook(key: Key, failures: _Failures, in_use: InUse) -> dict[str, Any]:
    found = [
        _failures_of_a_version(sha, version, is_past=in_use.is_past(key, sha))
        for sha, version in failures.versions.items()
    ]
    found.sort(key=lambda version: version["newest"], reverse=True)
    # not by count: a rollout that stops itself leaves one failure, and is what people look for
    found.sort(key=lambda version: version["is_past"])
    shown = found[:MAX_FAILED_VERSIONS]
    return {
        "name": hook_name(*key),
        "count": failures.count,
        "hosts": len({host for version in failures.versions.values() for host, dummy in version.newest}),
        "newest": max(version["newest"] for version in found),
        "is_past": all(version["is_past"] for version in found),
        "versions": {"shown": shown, "more": max(0, failures.count - sum(version["count"] for version in shown))},
    }


def _failures_of_a_version(sha: str | None, failures: _Version, *, is_past: bool) -> dict[str, Any]:
    kinds: dict[tuple[str, str], list[tuple[str, Mapping[str, Any]]]] = defaultdict(list)
    for host, record in failures.newest:
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
        "version": failures.version,
        "manifest": sha and abbreviated(sha),
        "is_past": is_past,
        "count": failures.count,
        "hosts": len({host for host, dummy in failures.newest}),
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
