# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A rollout without a store in between: hosts are made to have a new version one cohort after the other, and are asked.

The rules are those of a rollout that listeners follow; what hosts answer takes the place of their reports.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from .errors import RolloutError, shown
from .fleet import HookReport, NodeReport
from .hook_key import HookKey
from .manifest import PodManifest
from .rollout_checks import COUNTABLE, check_limits
from .rollout_judge import Verdict, judge
from .rollout_record import Cohort, Limits, Rollout, position
from .rollout_wait import lacking


def cohorts(
    key: HookKey, hosts: Sequence[str], nodes: Collection[str] | None, percents: Sequence[float]
) -> list[list[str]]:
    """Return who has the new version after each step: the first hosts, more and more, all; steps for nobody left out.

    Args:
        hosts: all of them.
        nodes: the first ones, None for the one host that comes first in the order of this hook.
        percents: the shares of all hosts that have it then, from 0 to 100, growing.

    Raises:
        RolloutError: one of ``nodes`` is none of ``hosts``, or there is nobody to begin with.
    """
    unknown = sorted(set(nodes or ()).difference(hosts))
    if unknown:
        raise RolloutError(f"nodes: {shown(unknown[0])} is none of the {len(hosts)} hosts; give names of the inventory")
    first = sorted(hosts, key=lambda host: position(host, key))[:1] if nodes is None else nodes
    if not first:
        raise RolloutError(f"{key}: there is no host to begin with; name nodes, or leave that to the rollout")
    steps: list[list[str]] = []
    for percent in (0.0, *percents, 100.0):
        cohort = Cohort(tuple(first), percent)
        step = [host for host in hosts if cohort.includes(host, key)]
        if [step] != steps[-1:]:
            steps.append(step)
    return steps


def limits_of(options: Mapping[str, Any]) -> Limits:
    """Return the limits that ``options``, as people write them, stand for; what is None is as at first.

    Raises:
        RolloutError: one of them makes no sense, or is none.
    """
    kinds: dict[str, Callable[[Any], Any]] = {
        "failed_hosts": int,
        "failed_runs": int,
        "min_runs": int,
        "watch_for": float,
        "outcomes": _names,
    }
    limits: dict[str, Any] = {}
    for name, value in options.items():
        if name not in kinds:
            raise RolloutError(f"limits: {shown(str(name))} is none; give some of {', '.join(kinds)}")
        try:
            if value is not None:
                limits[name] = kinds[name](value)
        except (TypeError, ValueError, OverflowError):
            wanted = f"some of {', '.join(COUNTABLE)}" if name == "outcomes" else "a number that is not below 0"
            raise RolloutError(f"{name} is {shown(str(value))}; give {wanted}") from None
    check_limits(limits)
    return Limits(**limits)


def assess(
    key: HookKey,
    pod: PodManifest,
    installs: Mapping[str, Mapping[str, Any]],
    audits: Mapping[str, Mapping[str, Any]],
    limits: Limits,
    *,
    had_it: Collection[str],
    allow_away: bool,
    now: float,
) -> dict[str, Any]:
    """Return how the hosts that have ``pod``, or should, are doing with it.

    Args:
        installs: by the name of the host, what p2_hook_install said of the version.
        audits: by the name of the host, what p2_hook_audit_info said, with a summary, of its runs since then.
        had_it: the hosts that had it before this step, whose runs are not the wanted ones any more.
        allow_away: go on without hosts that are away.
        now: seconds since 1970.

    Returns:
        ``verdict``; ``watch_left``, for how many seconds it has still to be watched, None where something is lacking;
        and ``lacking``, what it is waited for, in words.
    """
    rollout = Rollout(key, pod, Cohort(tuple(installs)), limits, None, "", "", "", Cohort(tuple(had_it)))
    fleet = {host: _report(host, install, audits.get(host, {}), key, pod, now) for host, install in installs.items()}
    verdict: Verdict = judge(rollout, fleet, now)
    watch_left = verdict.watch_left(limits, now, allow_away=allow_away)
    return {
        "verdict": verdict,
        "watch_left": watch_left,
        "lacking": lacking(limits, verdict, watch_left, allow_away) if watch_left != 0 else "",
    }


def _report(
    host: str, install: Mapping[str, Any], audit: Mapping[str, Any], key: HookKey, pod: PodManifest, now: float
) -> NodeReport:
    """Return what ``host`` would report."""
    for result in (install, audit):
        if result.get("unreachable"):
            return NodeReport(host, unreadable=f"it cannot be reached: {result.get('msg')}")
    found = install.get("hook") or {}
    error = str(install.get("msg")) if install.get("failed") else None
    if audit.get("failed") and not error:
        return NodeReport(host, unreadable=f"its audit cannot be read: {audit.get('msg')}")
    outcomes: dict[str, int] = {}
    last: Mapping[str, Any] | None = None
    for summary in audit.get("summary") or ():
        if summary["manifest_sha"] != pod.sha:  # another hook of the same id
            continue
        for outcome, count in summary["outcomes"].items():
            outcomes[outcome] = outcomes.get(outcome, 0) + count
        failure = summary["last_failure"]
        if failure and str(failure["start"]) >= str((last or {}).get("start", "")):
            last = failure
    hook = HookReport(
        manifest_sha=found.get("manifest_sha"),
        scheduled_sha=pod.sha,
        origin=found.get("origin"),
        installed=found.get("installed"),
        error=error,
        outcomes=outcomes,
        last_failure=last,
    )
    return NodeReport(host, reported=now, valid_for=float("inf"), hooks={str(key): hook})


def _names(option: object) -> tuple[str, ...]:
    if isinstance(option, str):
        return tuple(name.strip() for name in option.split(","))
    if isinstance(option, (list, tuple)):
        return tuple(map(str, option))
    raise TypeError
