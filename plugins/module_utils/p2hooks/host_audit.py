# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ran on one host, as its summary of its audit says, which a report on a fleet does not take on trust."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import cached_property, lru_cache
from itertools import islice
from typing import Any

from .outcomes import FAILED, INTERRUPTED, SKIPPED, STARTED, SUCCEEDED, TIMED_OUT

#: What can have become of a run that is over without success, the most frequent kind first.
UNSUCCESSFUL = (FAILED, TIMED_OUT, INTERRUPTED, SKIPPED)
#: What can have become of a run at all, in the order in which charts show it.
OUTCOMES = (SUCCEEDED, STARTED, *UNSUCCESSFUL)

#: Why there is nothing to show of a host.
UNREACHABLE, UNREAD, NO_AUDIT = "unreachable", "unread", "no_audit"

#: Names and messages come from hosts, too, and are cut after so many characters.
_MAX_TEXT = 300
#: What a host says beyond that, of runs or seconds, is nonsense; charts must be able to show it all the same.
_MAX_COUNT = 10**9

#: Of so many versions of a hook that failed a host can tell.
_MAX_FAILED_VERSIONS = 8

#: Seconds.
HOUR = 3600

#: Event, name of the link, and id; None for a script that people put there.
Key = tuple[str, str, "str | None"]


@dataclass(frozen=True)
class VersionFailures:
    """The runs of one version of a hook that did not succeed."""

    #: None for a script that people put there.
    version: str | None
    manifest_sha: str | None
    count: int
    #: The record of the newest of them.
    last: Mapping[str, Any]


@dataclass(frozen=True)
class HookAudit:
    """What ran of one hook on one event on one host."""

    event: str
    hook: str
    hook_id: str | None
    #: Outcome to number of runs, by the hour since 1970.
    hours: Mapping[int, Mapping[str, int]]
    #: The version and the manifest that ran last; None for a script that people put there.
    version: str | None
    manifest_sha: str | None
    #: Seconds.
    median_duration: float | None
    max_duration: float | None
    failures: Collection[VersionFailures]

    @property
    def key(self) -> Key:
        """What the same hook has in common on all hosts."""
        return self.event, self.hook, self.hook_id

    @property
    def name(self) -> str:
        """The hook, as the page calls it."""
        return hook_name(*self.key)

    @cached_property
    def outcomes(self) -> Counter[str]:
        """Outcome to number of runs."""
        total: Counter[str] = Counter()
        for outcomes in self.hours.values():
            total.update(outcomes)
        return total


@dataclass(frozen=True)
class HostAudit:
    """What ran on one host."""

    host: str
    #: What the host is called in its records; None where there are none.
    node: str | None = None
    hooks: Collection[HookAudit] = field(default_factory=list)
    #: Why there is nothing here, and which kind of reason that is: one of those above.
    error: str | None = None
    kind: str | None = None


def decode_audit(host: str, result: Mapping[str, Any]) -> HostAudit:
    """Return what the ``result`` of p2_hook_audit_info with a summary says; one that cannot be read says why."""
    if not isinstance(result.get("summary"), (list, tuple)):
        kind = UNREACHABLE if result.get("unreachable") else UNREAD
        return HostAudit(host, error=text(result.get("msg")) or "it was not asked for its audit", kind=kind)
    if result.get("missing"):
        return HostAudit(host, error=text(result["missing"]), kind=NO_AUDIT)
    try:
        hooks = [_hook_audit(each) for each in result["summary"]]
        nodes = [text(each["host"]) for each in result["summary"] if each["host"]]
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError):
        return HostAudit(host, error="its answer is no summary of an audit; look at what runs there", kind=UNREAD)
    return HostAudit(host, node=nodes[0] if nodes else None, hooks=hooks)


def _hook_audit(summary: Mapping[str, Any]) -> HookAudit:
    return HookAudit(
        event=text(summary["event"]),
        hook=text(summary["hook"]),
        hook_id=text(summary["hook_id"]) or None,
        hours={
            _hour(hour): {outcome: _count(count) for outcome, count in outcomes.items() if outcome in OUTCOMES}
            for hour, outcomes in summary["hours"].items()
        },
        version=text(summary["artifact_version"]) or None,
        manifest_sha=text(summary["manifest_sha"]) or None,
        median_duration=_seconds(summary["median_duration"]),
        max_duration=_seconds(summary["max_duration"]),
        failures=[_version_failures(each) for each in islice(summary["failures"], _MAX_FAILED_VERSIONS)],
    )


def _version_failures(failures: Mapping[str, Any]) -> VersionFailures:
    return VersionFailures(
        version=text(failures["artifact_version"]) or None,
        manifest_sha=text(failures["manifest_sha"]) or None,
        count=_count(failures["count"]),
        last=dict(failures["last_failure"]),
    )


def hook_name(event: str, hook: str, hook_id: str | None) -> str:
    """Return the id in place of the name of the link where that says the same three times, as most do."""
    return f"{event}/{hook_id if hook == f'{hook_id}_{hook_id}_launch' else hook}"


def unsuccessful(outcomes: Mapping[str, int]) -> int:
    """Return the number of runs that were no success, of outcome to number of runs."""
    return sum(outcomes.get(outcome, 0) for outcome in UNSUCCESSFUL)


@lru_cache(maxsize=1 << 14)
def _hour(text: str) -> int:
    moment = datetime.strptime(text, "%Y-%m-%dT%H").replace(tzinfo=timezone.utc)
    return int(moment.timestamp()) // HOUR


def _count(value: object) -> int:
    return min(max(int(str(value)), 0), _MAX_COUNT)


def _seconds(value: object) -> float | None:
    return None if value is None else min(max(0.0, float(str(value))), float(_MAX_COUNT))


def text(value: object) -> str:
    """Return ``value`` as a text that is not too long to be shown."""
    whole = "" if value is None else str(value)
    return whole if len(whole) <= _MAX_TEXT else whole[: _MAX_TEXT - 1] + "…"
