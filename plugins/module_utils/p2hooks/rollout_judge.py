# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a rollout is doing, from what the hosts of its cohort report; docs/rollout.md explains the rules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from .console import printable
from .errors import shown
from .fleet import HookReport, NodeReport, decode_report
from .node_status import STATUS_PREFIX
from .outcomes import KILLED, SKIPPED, STARTED, TERMINATED, TIMED_OUT
from .rollout_record import Limits, Rollout
from .run import describe
from .store.base import Entry

#: So many hosts a message names, and so many characters of what a hook wrote it shows.
NAMED = 3
_TAIL = 200

#: What was not executed, or is on record twice, or has not ended yet.
_NO_RUNS = (STARTED, SKIPPED, TERMINATED, KILLED)

_CONVERGED, _WAITING, _AWAY, _FAILED = "converged", "waiting", "away", "failed"


@dataclass(frozen=True)
class Verdict:
    """How a rollout is doing. Each host of the cohort is in exactly one of the first four."""

    #: The hosts that have the new manifest, and where nothing speaks against it.
    converged: tuple[str, ...]
    #: Host to why it does not have it yet.
    waiting: Mapping[str, str]
    #: Host to why it cannot be counted on: nobody looks after it, say.
    away: Mapping[str, str]
    #: Host to why it failed.
    failed: Mapping[str, str]
    #: Outcome to number of runs of the new manifest.
    outcomes: Mapping[str, int]
    #: The failed hosts, where they are more, or had more such runs, than the limits allow: ``node``; ``error``, why it
    #: could not be installed; ``outcomes``, those that count; and ``last_failure``, the newest such run.
    broken_by: tuple[Mapping[str, Any], ...] = ()
    #: Why the limits are broken, in one line; None where they are not.
    broken: str | None = None
    #: Since when all those that have it do, in seconds since 1970, but for those away; None where nobody has it.
    since: float | None = None
    #: How often the hosts that the newest step added executed it; what was ended after it timed out counts once, and
    #: what has not ended not yet. Where none of them has it, or can be counted on, how often all did.
    runs: int = 0

    def watch_left(self, limits: Limits, now: float, *, allow_away: bool) -> float | None:
        """Return how many seconds it has still to be watched; None where hosts or runs are missing, or limits broken.

        Args:
            allow_away: go on without the hosts that are away.
        """
        if self.broken or self.waiting or self.since is None or (self.away and not allow_away):
            return None
        if self.runs < limits.min_runs:
            return None
        return max(0.0, self.since + limits.watch_for - now)


class _Standing(NamedTuple):
    kind: str
    why: str = ""
    has_it: bool = False
    error: str | None = None
    #: The outcomes that count against it.
    counted: Mapping[str, int] = {}


@dataclass
class _Tally:
    standings: dict[str, _Standing] = field(default_factory=dict)
    outcomes: dict[str, int] = field(default_factory=dict)
    since: float | None = None
    #: Host to how often it executed the new manifest.
    runs: dict[str, int] = field(default_factory=dict)

    def of(self, kind: str) -> dict[str, str]:
        return {node: printable(standing.why) for node, standing in self.standings.items() if standing.kind == kind}


def reports_of_cohort(rollout: Rollout, entries: Mapping[str, Entry]) -> dict[str, NodeReport]:
    """Return the reports of the cohort alone, since a large fleet's take long to decode.

    Args:
        entries: what is under ``hooks-status/``.
    """
    names = {key[len(STATUS_PREFIX) :]: entry.value for key, entry in entries.items()}
    return {
        name: decode_report(name, value) for name, value in names.items() if rollout.cohort.includes(name, rollout.key)
    }


def judge(rollout: Rollout, fleet: Mapping[str, NodeReport], now: float) -> Verdict:
    """Return how ``rollout`` is doing.

    Args:
        fleet: the report of each host, by its name; see :func:`.fleet.read_fleet`.
        now: seconds since 1970.
    """
    tally = _Tally()
    newest = []
    for node in sorted({*fleet, *rollout.cohort.nodes}):
        if not rollout.cohort.includes(node, rollout.key):
            continue
        report = fleet.get(node)
        hook = report.hooks.get(str(rollout.key), HookReport()) if report else HookReport()
        standing = _standing(rollout, report, hook, now)
        tally.standings[node] = standing
        if not standing.has_it or not report:
            continue
        for outcome, count in hook.outcomes.items():
            tally.outcomes[outcome] = tally.outcomes.get(outcome, 0) + count
        tally.runs[node] = sum(count for outcome, count in hook.outcomes.items() if outcome not in _NO_RUNS)
        if standing.kind == _AWAY:
            continue
        has_had_it_since = max(_seconds(hook.installed, report.reported), _seconds(rollout.widened, 0.0))
        tally.since = max(has_had_it_since, tally.since or 0.0)
        if not rollout.cohort_before.includes(node, rollout.key):
            newest.append(node)
    broken = _broken(rollout, tally)
    failed = tally.of(_FAILED)
    return Verdict(
        converged=tuple(tally.of(_CONVERGED)),
        waiting=tally.of(_WAITING),
        away=tally.of(_AWAY),
        failed=failed,
        outcomes=tally.outcomes,
        broken_by=tuple(_breach(rollout, fleet[node], tally.standings[node]) for node in failed) if broken else (),
        broken=broken,
        since=tally.since,
        runs=sum(tally.runs[node] for node in newest or tally.runs),
    )


def _standing(rollout: Rollout, report: NodeReport | None, hook: HookReport, now: float) -> _Standing:
    if report is None:
        return _Standing(_AWAY, "it has no report in the store")
    if report.unreadable:
        return _Standing(_AWAY, report.unreadable)
    has_it = hook.manifest_sha == rollout.manifest.sha
    counted = _counted(hook.outcomes, rollout.limits) if has_it else {}
    # What is wrong with the manifest that was there before says nothing about this one.
    error = hook.error if hook.scheduled_sha is None or hook.scheduled_sha != rollout.base_sha else None
    if error or counted:  # also where nobody looks after the host any more: it has happened
        return _Standing(_FAILED, _why_failed(rollout, hook, error, counted), has_it, error, counted)
    if report.is_stale(now):
        return _Standing(_AWAY, f"its last report was due {now - report.reported - report.valid_for:.0f} s ago", has_it)
    if has_it:
        return _Standing(_CONVERGED, has_it=True)
    if hook.origin == "local":
        return _Standing(_AWAY, "a local hook stands in front of the scheduled one")
    # A listener that has died is waited for until its report is outdated, so people should see how old that is.
    age = max(0.0, now - report.reported)
    why = hook.error or report.error or "it does not have it yet"
    return _Standing(_WAITING, f"{why}, by its report of {age:.0f} s ago")


def _counted(outcomes: Mapping[str, int], limits: Limits) -> dict[str, int]:
    # A run that timed out is on record twice: when it did, and when it had come to its end.
    twice = (TERMINATED, KILLED) if TIMED_OUT in limits.outcomes else ()
    return {
        outcome: count
        for outcome, count in sorted(outcomes.items())
        if count > 0 and outcome in limits.outcomes and outcome not in twice
    }


def _why_failed(rollout: Rollout, hook: HookReport, error: str | None, counted: Mapping[str, int]) -> str:
    reasons = [f"could not be installed: {error}"] if error else []
    if counted:
        runs = ", ".join(f"{outcome} {count}" for outcome, count in counted.items())
        last = _last_failure(rollout, hook)
        reasons.append(f"runs: {runs}{'; the last one: ' + _described(last) if last else ''}")
    return "; ".join(reasons)


def _last_failure(rollout: Rollout, hook: HookReport) -> Mapping[str, Any] | None:
    """Return the newest run that counts, what could disturb a terminal escaped; None where the host names none."""
    record = hook.last_failure
    if record is None or record.get("outcome") not in rollout.limits.outcomes:
        return None
    return {str(name): printable(value) if isinstance(value, str) else value for name, value in record.items()}


def _described(record: Mapping[str, Any]) -> str:
    what = describe({"exit_code": None, "signal": None, "reason": None, **record})
    where = f"{record.get('hook')} for {record.get('pod_id')} at {record.get('start')}"
    output = str(record.get("output") or "")[-_TAIL:]
    return f"{where} {what}" + (f', having written "{output}"' if output else "")


def _breach(rollout: Rollout, report: NodeReport, standing: _Standing) -> dict[str, Any]:
    hook = report.hooks[str(rollout.key)]
    return {
        "node": report.node,
        "error": standing.error and printable(standing.error),
        "outcomes": dict(standing.counted),
        "last_failure": _last_failure(rollout, hook) if standing.counted else None,
    }


def _broken(rollout: Rollout, tally: _Tally) -> str | None:
    limits, failed = rollout.limits, tally.of(_FAILED)
    runs = sum(sum(standing.counted.values()) for standing in tally.standings.values())
    if len(failed) <= limits.failed_hosts and runs <= limits.failed_runs:
        return None
    hosts = f"hosts where it failed: {len(failed)} of {len(tally.standings)}, at most {limits.failed_hosts} may be"
    of_runs = f"; runs that failed: {runs}, at most {limits.failed_runs} (failed_runs)" if runs else ""
    return f"{rollout.key}: {hosts} (failed_hosts){of_runs}: {named(failed)}"


def named(hosts: Mapping[str, str]) -> str:
    """Return the first few of ``hosts`` with why they are named, and how many more there are."""
    shown_hosts = [f"{shown(node).strip(chr(39))}: {why}" for node, why in list(hosts.items())[:NAMED]]
    more = [f"and {len(hosts) - NAMED} more"] if len(hosts) > NAMED else []
    return "; ".join(shown_hosts + more)


def _seconds(moment: str | None, otherwise: float) -> float:
    """Return the seconds since 1970 of a moment in ISO 8601; of what is none, ``otherwise``."""
    try:
        return datetime.fromisoformat((moment or "").replace("Z", "+00:00")).timestamp()
    except (ValueError, OverflowError):
        return otherwise
