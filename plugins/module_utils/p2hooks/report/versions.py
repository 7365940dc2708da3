# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which versions of hooks hosts have, and in what hosts are not as they should be."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..drift import EXTRA, FAILED, MISSING, OUTDATED, OVERRIDDEN, state_of
from ..fleet import HookReport, NodeReport
from ..host_audit import HostAudit, text
from .lists import bounded, host_names

#: How many versions of a hook are named at most.
MAX_VERSIONS = 4

_DIFFERENCES = {
    MISSING: "is scheduled, and not installed",
    EXTRA: "is installed, and no longer scheduled",
    OVERRIDDEN: "a local hook stands in front of the scheduled one",
}


@dataclass(frozen=True)
class Difference:
    """In what the same hook, or the host itself, is not as it should be on some hosts."""

    #: The hook, None where it is about hosts as a whole.
    hook: str | None
    what: str
    hosts: list[str]


def differences_of(reports: Mapping[str, NodeReport], now: float) -> Iterator[Difference]:
    """Return in what hosts are not as they should be, the widespread first."""
    found: dict[tuple[str | None, str], list[str]] = defaultdict(list)
    for node, report in reports.items():
        if report.unreadable:
            found[None, text(report.unreadable)].append(node)
        elif report.is_stale(now):
            found[None, "has not reported for longer than it promised: nobody looks after it"].append(node)
        if report.error:
            found[None, text(report.error)].append(node)
        for name, found_hook in report.hooks.items():
            what = _difference(found_hook)
            if what:
                found[text(name), what].append(node)
    for (hook, what), nodes in sorted(found.items(), key=lambda item: (-len(item[1]), str(item[0]))):
        yield Difference(hook, what, nodes)


def _difference(hook: HookReport) -> str | None:
    state = state_of(hook, hook.scheduled_sha)
    if state == FAILED:
        return text(f"could not be installed: {hook.error}")
    if state == OUTDATED:
        return f"has the manifest {_short(hook.manifest_sha)} in place of {_short(hook.scheduled_sha)}"
    return _DIFFERENCES.get(state) if state else None


def shown_difference(difference: Difference) -> dict[str, Any]:
    """Return ``difference`` as the page shows it."""
    return {
        "hook": difference.hook,
        "what": difference.what,
        "count": len(difference.hosts),
        "hosts": host_names(difference.hosts),
    }


def _short(sha: object) -> str:
    return str(sha)[:10]


def installed_versions(reports: Mapping[str, NodeReport]) -> list[dict[str, Any]]:
    """Return the versions of each hook that hosts report."""
    found: dict[str, dict[Any, list[str]]] = defaultdict(lambda: defaultdict(list))
    scheduled: dict[str, set[str]] = defaultdict(set)
    for node, report in reports.items():
        for name, hook in report.hooks.items():
            if hook.scheduled_sha:
                scheduled[text(name)].add(str(hook.scheduled_sha))
            versions = ", ".join(_short(version) for dummy, version in sorted(hook.versions.items()))
            sha = str(hook.manifest_sha) if hook.manifest_sha else None
            found[text(name)][text(versions), sha].append(node)
    return _versions(found, scheduled)


def versions_that_ran(audits: Iterable[HostAudit]) -> list[dict[str, Any]]:
    """Return the versions of each hook that ran last, for fleets whose hosts do not report."""
    found: dict[str, dict[Any, list[str]]] = defaultdict(lambda: defaultdict(list))
    for host in audits:
        for audit in host.hooks:
            found[audit.name][_short(audit.version or ""), audit.manifest_sha].append(host.host)
    return _versions(found, {})


def _versions(
    found: Mapping[str, Mapping[tuple[str, str | None], list[str]]], scheduled: Mapping[str, Collection[str]]
) -> list[dict[str, Any]]:
    hooks = []
    for name, versions in found.items():
        shown: list[dict[str, Any]] = [
            {
                "version": version,
                "manifest": sha and _short(sha),
                "is_scheduled": sha in scheduled.get(name, ()),
                "count": len(hosts),
                "hosts": host_names(hosts),
            }
            for (version, sha), hosts in versions.items()
        ]
        shown.sort(key=lambda version: (-version["count"], version["version"], str(version["manifest"])))
        hooks.append(
            {"name": name, "hosts": sum(map(len, versions.values())), "versions": bounded(shown, MAX_VERSIONS)}
        )
    return sorted(hooks, key=lambda hook: (-len(found[hook["name"]]), hook["name"]))
