# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a report on a fleet shows, as numbers and short lists, out of its hosts' audits and of what they tell the store.

However many hosts, hooks and runs there are, each list is bounded and says how many it leaves out, so that a page stays
one that people can read, and a browser can show.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from statistics import median
from typing import Any

from .drift import EXTRA, FAILED, MISSING, OUTDATED, OVERRIDDEN, state_of
from .fleet import HookReport, NodeReport
from .host_audit import HOUR, OUTCOMES, UNSUCCESSFUL, HookAudit, HostAudit, Key, hook_name, text
from .node_status import moment
from .run import describe

#: How many of each a page shows.
MAX_BARS = 96
MAX_RANKED = 8
MAX_HOOKS = 40
MAX_VERSIONS = 4
MAX_FAILING_HOOKS = 25
MAX_KINDS_OF_FAILURE = 4
MAX_DIFFERENCES = 40
MAX_HOST_NAMES = 8
MAX_HOSTS = 2000
MAX_TROUBLED_HOSTS = 12

#: The newest part of an output that is shown.
_TAIL_LINES, _TAIL_CHARACTERS = 16, 2000

#: Hours that a bar of the timeline can stand for; days begin at midnight, UTC.
_STEPS = (1, 2, 3, 6, 12, 24, 48, 96, 192)

#: A host is called what is the first of these that applies. On one that is failing, so large a share of runs is not a
#: success.
STATES = ("unread", "failing", "differs", "some", "fine", "idle")
_FAILING_SHARE = 0.1


# --- the whole --------------------------------------------------------------------------------------------------------


def aggregate(
    audits: Iterable[HostAudit], reports: Mapping[str, NodeReport], *, since: datetime, now: datetime
) -> dict[str, Any]:
    """Return what a page shows of a fleet.

    Lists that may be long are bounded, ``{"shown": [...], "more": how many are left out}``.

    Args:
        audits: what ran since ``since``, one for each host.
        reports: what hosts say of themselves, by their own names; empty where they do not.
    """
    audits = sorted(audits, key=lambda audit: _natural(audit.host))
    nodes = {audit.host: _node(audit, reports) for audit in audits}
    differences = list(_differences(reports, now.timestamp()))
    hosts = _hosts(audits, nodes, reports, differences)
    bars = _Bars(since, now)
    hooks = _hooks(audits, bars)
    timeline = bars.timeline(audit.hours for host in audits for audit in host.hooks)
    outcomes = sum((hook["outcomes"] for hook in hooks), Counter[str]())
    failures = _failures(audits, nodes, reports, since)
    failing = sorted((hook for hook in hooks if hook["failures"]), key=lambda hook: (-hook["failures"], hook["name"]))
    slow = sorted(
        (hook for hook in hooks if hook["median"] is not None), key=lambda hook: (-hook["median"], hook["name"])
    )
    return {
        "since": since,
        "now": now,
        "totals": {
            "hosts": len(hosts),
            "asked": len(audits),
            "read": sum(audit.error is None for audit in audits),
            "reports": len(reports),
            "hooks": len(hooks),
            "outcomes": {outcome: outcomes[outcome] for outcome in OUTCOMES if outcomes[outcome]},
            "runs": sum(outcomes.values()),
            "failures": _unsuccessful(outcomes),
            "failing_hooks": len(failing),
            "failing_hosts": sum(host["failures"] > 0 for host in hosts),
            "differing_hosts": len({host for difference in differences for host in difference.hosts}),
            "states": Counter(host["state"] for host in hosts),
        },
        "timeline": timeline,
        "most_failing": _bounded(failing, MAX_RANKED),
        "slowest": _bounded(slow, MAX_RANKED),
        "failures": _bounded(failures, MAX_FAILING_HOOKS),
        "differences": _bounded([_shown_difference(each) for each in differences], MAX_DIFFERENCES),
        "unread": _grouped_by_error(audits),
        "hosts": _bounded(hosts, MAX_HOSTS),
        "troubled_hosts": _bounded(
            sorted((host for host in hosts if host["failures"]), key=lambda host: -host["failures"]), MAX_TROUBLED_HOSTS
        ),
        "hooks": _bounded(sorted(hooks, key=lambda hook: (-hook["failures"], -hook["runs"], hook["name"])), MAX_HOOKS),
        "versions": _bounded(_installed(reports) if reports else _that_ran(audits), MAX_HOOKS),
    }


def _bounded(items: list[Any], limit: int) -> dict[str, Any]:
    return {"shown": items[:limit], "more": max(0, len(items) - limit)}


def _names(hosts: Iterable[str]) -> dict[str, Any]:
    return _bounded(sorted(set(hosts), key=_natural), MAX_HOST_NAMES)


def _natural(name: str) -> list[tuple[int, str]]:
    """Return what sorts node2 before node10."""
    return [(int(part) if part.isdecimal() else -1, part) for part in re.split("([0-9]{1,9})", name)]


def _unsuccessful(outcomes: Mapping[str, int]) -> int:
    return sum(outcomes.get(outcome, 0) for outcome in UNSUCCESSFUL)


def _node(audit: HostAudit, reports: Mapping[str, NodeReport]) -> str:
    """Return the name under which a host reports, which the inventory may not know; else that of the inventory."""
    names = [audit.node or audit.host, audit.host, audit.host.partition(".")[0]]
    return next((name for name in names if name in reports), audit.host)


# --- what ran ---------------------------------------------------------------------------------------------------------


class _Bars:
    """The bars of a chart over time: few enough to be told apart, however long the time."""

    def __init__(self, since: datetime, now: datetime) -> None:
        first, last = int(since.timestamp()) // HOUR, int(now.timestamp()) // HOUR
        self.step = next(
            (step for step in _STEPS if last // step - first // step < MAX_BARS), (last - first) // (MAX_BARS - 1) + 1
        )
        self._first = first // self.step
        self.count = max(0, last // self.step - self._first) + 1

    def position(self, hour: int) -> int:
        """Return the bar of an hour; clocks may differ, so what lies outside goes into the first or the last one."""
        return min(max(hour // self.step - self._first, 0), self.count - 1)

    def timeline(self, audits: Iterable[Mapping[int, Mapping[str, int]]]) -> dict[str, Any]:
        """Return the bars of all that ran."""
        counts: list[Counter[str]] = [Counter() for dummy in range(self.count)]
        for hours in audits:
            for hour, outcomes in hours.items():
                counts[self.position(hour)].update(outcomes)
        bars: list[dict[str, Any]] = [
            {
                "start": datetime.fromtimestamp((self._first + number) * self.step * HOUR, timezone.utc),
                "outcomes": outcomes,
                "runs": sum(outcomes.values()),
                "failures": _unsuccessful(outcomes),
            }
            for number, outcomes in enumerate(counts)
        ]
        return {
            "bars": bars,
            "step": timedelta(hours=self.step),
            "max_runs": max(each["runs"] for each in bars),
            "max_failures": max(each["failures"] for each in bars),
        }


def _hooks(audits: Iterable[HostAudit], bars: _Bars) -> list[dict[str, Any]]:
    found: dict[Key, list[HookAudit]] = defaultdict(list)
    for host in audits:
        for audit in host.hooks:
            found[audit.key].append(audit)
    return [_hook(of_hosts, bars) for of_hosts in found.values()]


def _hook(audits: list[HookAudit], bars: _Bars) -> dict[str, Any]:
    outcomes: Counter[str] = Counter()
    runs, failures = [0] * bars.count, [0] * bars.count
    for audit in audits:
        for hour, counts in audit.hours.items():
            outcomes.update(counts)
            position = bars.position(hour)
            runs[position] += sum(counts.values())
            failures[position] += _unsuccessful(counts)
    medians = [audit.median_duration for audit in audits if audit.median_duration is not None]
    return {
        "name": audits[0].name,
        "hosts": len(audits),
        "outcomes": outcomes,
        "runs": sum(outcomes.values()),
        "failures": _unsuccessful(outcomes),
        "failing_hosts": sum(_unsuccessful(audit.outcomes) > 0 for audit in audits),
        "median": median(medians) if medians else None,
        "max": max((audit.max_duration for audit in audits if audit.max_duration is not None), default=None),
        "spark": {"runs": runs, "failures": failures},
    }


def _grouped_by_error(audits: Iterable[HostAudit]) -> dict[str, Any]:
    hosts: dict[str, list[str]] = defaultdict(list)
    for audit in audits:
        if audit.error is not None:
            hosts[audit.error].append(audit.host)
    groups = [{"error": error, "count": len(names), "hosts": _names(names)} for error, names in hosts.items()]
    return _bounded(sorted(groups, key=lambda group: -group["count"]), MAX_DIFFERENCES)


# --- failures ---------------------------------------------------------------------------------------------------------


def _failures(
    audits: Iterable[HostAudit], nodes: Mapping[str, str], reports: Mapping[str, NodeReport], since: datetime
) -> list[dict[str, Any]]:
    """Return, for each hook that failed, its newest failure on each host; those that say the same are one."""
    newest: dict[Key, list[tuple[str, Mapping[str, Any]]]] = defaultdict(list)
    counts: Counter[Key] = Counter()
    seen: set[tuple[str, Key]] = set()
    for host in audits:
        for audit in host.hooks:
            if audit.last_failure:
                counts[audit.key] += _unsuccessful(audit.outcomes)
                newest[audit.key].append((host.host, audit.last_failure))
                seen.add((nodes[host.host], audit.key))
    # Hosts that could not be asked may have told the store.
    oldest = moment(since.timestamp())
    for node, report in reports.items():
        for name, hook in report.hooks.items():
            failure = hook.last_failure
            if not isinstance(failure, Mapping) or str(failure.get("start")) < oldest:
                continue
            key = (text(failure.get("event")), text(failure.get("hook")), text(name.rpartition("/")[2]))
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
                "hosts": _names(host for host, dummy in of_kind),
            }
        )
    shown.sort(key=lambda kind: kind["newest"], reverse=True)
    shown.sort(key=lambda kind: kind["count"], reverse=True)
    return {
        "name": name,
        "count": count,
        "hosts": len({host for host, dummy in found}),
        "newest": max(kind["newest"] for kind in shown),
        "kinds": _bounded(shown, MAX_KINDS_OF_FAILURE),
    }


def _description(record: Mapping[str, Any]) -> str:
    return text(describe({"outcome": None, "reason": None, "signal": None, "exit_code": None, **record}))


def tail(record: Mapping[str, Any]) -> str:
    """Return the end of the output of a record: its last lines, and not too many characters of them."""
    output = _output(record)
    return "\n".join(output[-_TAIL_CHARACTERS:].split("\n")[-_TAIL_LINES:])


def _output(record: Mapping[str, Any]) -> str:
    return str(record.get("output") or "").rstrip("\n\r\t ")


# --- versions and differences -----------------------------------------------------------------------------------------


_DIFFERENCES = {
    MISSING: "is scheduled, and not installed",
    EXTRA: "is installed, and no longer scheduled",
    OVERRIDDEN: "a local hook stands in front of the scheduled one",
}


@dataclass(frozen=True)
class _Difference:
    #: The hook, None where it is about hosts as a whole.
    hook: str | None
    what: str
    hosts: list[str]


def _differences(reports: Mapping[str, NodeReport], now: float) -> Iterator[_Difference]:
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
        yield _Difference(hook, what, nodes)


def _difference(hook: HookReport) -> str | None:
    state = state_of(hook, hook.scheduled_sha)
    if state == FAILED:
        return text(f"could not be installed: {hook.error}")
    if state == OUTDATED:
        return f"has the manifest {_short(hook.manifest_sha)} in place of {_short(hook.scheduled_sha)}"
    return _DIFFERENCES.get(state) if state else None


def _shown_difference(difference: _Difference) -> dict[str, Any]:
    return {
        "hook": difference.hook,
        "what": difference.what,
        "count": len(difference.hosts),
        "hosts": _names(difference.hosts),
    }


def _short(sha: object) -> str:
    return str(sha)[:10]


def _installed(reports: Mapping[str, NodeReport]) -> list[dict[str, Any]]:
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


def _that_ran(audits: Iterable[HostAudit]) -> list[dict[str, Any]]:
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
                "hosts": _names(hosts),
            }
            for (version, sha), hosts in versions.items()
        ]
        shown.sort(key=lambda version: (-version["count"], version["version"], str(version["manifest"])))
        hooks.append(
            {"name": name, "hosts": sum(map(len, versions.values())), "versions": _bounded(shown, MAX_VERSIONS)}
        )
    return sorted(hooks, key=lambda hook: (-len(found[hook["name"]]), hook["name"]))


# --- hosts ------------------------------------------------------------------------------------------------------------


def _hosts(
    audits: Iterable[HostAudit],
    nodes: Mapping[str, str],
    reports: Mapping[str, NodeReport],
    differences: Iterable[_Difference],
) -> list[dict[str, Any]]:
    """Return every host that was asked or reports, by name."""
    differ: Counter[str] = Counter(node for difference in differences for node in difference.hosts)
    hosts = []
    for audit in audits:
        outcomes = sum((hook.outcomes for hook in audit.hooks), Counter[str]())
        hosts.append(_host(audit, outcomes, differ[nodes[audit.host]]))
    for node in sorted(set(reports) - set(nodes.values()), key=_natural):
        hosts.append(_host(HostAudit(node), Counter(), differ[node]))
    return hosts


def _host(audit: HostAudit, outcomes: Counter[str], differences: int) -> dict[str, Any]:
    runs, failures = sum(outcomes.values()), _unsuccessful(outcomes)
    applies = {
        "unread": audit.error is not None,
        "failing": 0 < runs * _FAILING_SHARE <= failures,
        "differs": differences > 0,
        "some": failures > 0,
        "fine": runs > 0,
        "idle": True,
    }
    return {
        "name": audit.host,
        "state": next(state for state in STATES if applies[state]),
        "runs": runs,
        "failures": failures,
        "differences": differences,
    }
