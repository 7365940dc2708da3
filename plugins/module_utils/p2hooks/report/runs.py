# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ran on a fleet: over time, and of each hook."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta, timezone
from statistics import median
from typing import Any

from ..host_audit import HOUR, HookAudit, HostAudit, Key, unsuccessful
from .versions import InUse

#: How many bars a chart has at most.
MAX_BARS = 96

#: Hours that a bar of the timeline can stand for; days begin at midnight, UTC.
_STEPS = (1, 2, 3, 6, 12, 24, 48, 96, 192)


class Bars:
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
                "failures": unsuccessful(outcomes),
            }
            for number, outcomes in enumerate(counts)
        ]
        return {
            "bars": bars,
            "step": timedelta(hours=self.step),
            "max_runs": max(each["runs"] for each in bars),
            "max_failures": max(each["failures"] for each in bars),
        }


def hooks_of(audits: Iterable[HostAudit], bars: Bars, in_use: InUse) -> list[dict[str, Any]]:
    """Return for each hook what became of it on all hosts together."""
    found: dict[Key, list[HookAudit]] = defaultdict(list)
    for host in audits:
        for audit in host.hooks:
            found[audit.key].append(audit)
    return [_hook(of_hosts, bars, in_use) for of_hosts in found.values()]


def _hook(audits: list[HookAudit], bars: Bars, in_use: InUse) -> dict[str, Any]:
    outcomes: Counter[str] = Counter()
    runs, failures = [0] * bars.count, [0] * bars.count
    for audit in audits:
        for hour, counts in audit.hours.items():
            outcomes.update(counts)
            position = bars.position(hour)
            runs[position] += sum(counts.values())
            failures[position] += unsuccessful(counts)
    medians = [audit.median_duration for audit in audits if audit.median_duration is not None]
    return {
        "name": audits[0].name,
        "hosts": len(audits),
        "outcomes": outcomes,
        "runs": sum(outcomes.values()),
        "failures": unsuccessful(outcomes),
        "past_failures": sum(
            each.count for audit in audits for each in audit.failures if in_use.is_past(audit.key, each.manifest_sha)
        ),
        "failing_hosts": sum(unsuccessful(audit.outcomes) > 0 for audit in audits),
        "median": median(medians) if medians else None,
        "max": max((audit.max_duration for audit in audits if audit.max_duration is not None), default=None),
        "spark": {"runs": runs, "failures": failures},
    }
