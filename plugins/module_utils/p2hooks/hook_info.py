# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is scheduled, what is rolled out, and where hosts differ from it, as one document of bounded size.

It has a summary of each hook, and details only of what differs. ``RETURN`` of the module ``p2_hook_info`` describes it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from . import disk
from .drift import DRIFT, Difference, FleetWanted, compare_host, failed_runs, read_host, read_wanted
from .engine_home import EngineHome, is_older
from .event_hooks import missing_root
from .fleet import NodeReport, reports
from .hook_key import HookKey
from .layout import Layout
from .manifest import PodManifest
from .node_status import STATUS_PREFIX, moment, own_node
from .rollout_judge import judge
from .rollout_record import Rollout
from .store.base import Store

#: How many hosts are named for each hook at most, unless the caller says otherwise.
DEFAULT_LIMIT = 20


@dataclass(frozen=True)
class Question:
    """What is asked for; None is no restriction."""

    event: str | None = None
    id: str | None = None
    #: At most so many hosts are named for each hook.
    limit: int | None = DEFAULT_LIMIT

    def is_meant(self, name: str) -> bool:
        """Tell whether the hook ``name`` is asked for."""
        event, dummy, hook_id = name.rpartition("/")
        return self.event in (None, event) and self.id in (None, hook_id)


@dataclass(frozen=True)
class Info:
    """The answer."""

    data: dict[str, Any]
    #: One sentence each.
    warnings: list[str]


def of_fleet(store: Store, question: Question, *, nodes: Sequence[str] = (), now: float) -> Info:
    """Return what the hosts report.

    Args:
        nodes: look at these hosts only.
        now: seconds since 1970.

    Raises:
        ManifestError: one of ``nodes`` cannot be a host's name.
        StoreError: the store could not be read.
    """
    wanted = read_wanted(store, question.is_meant)
    collector = _Collector(wanted, question, now, sees_all=not nodes)
    seen = set()
    for report in reports(store, nodes):
        seen.add(report.node)
        collector.add(report, wanted.compare(report))
    warnings = [f"{node} has never reported; is its listener running?" for node in nodes if node not in seen]
    if not seen and not nodes:
        lookalike = store.lookalike_of_empty.format(STATUS_PREFIX)
        warnings = [f"{store.name}: no host has reported; {lookalike} looks the same"]
    return Info(collector.document("fleet"), warnings)


def of_host(store: Store, layout: Layout, question: Question, *, node: str | None, now: float) -> Info:
    """Return what is installed on this host, found by looking at its disk.

    Args:
        node: the name of this host, its host name where it is None; cohorts of rollouts depend on it.
        now: seconds since 1970.

    Raises:
        ManifestError: ``node`` cannot be a host's name.
        StoreError: the store could not be read.
        LayoutError: what is installed cannot be read.
    """
    node = own_node(node)
    wanted = read_wanted(store, question.is_meant)
    collector = _Collector(wanted, question, now)
    with disk.errors_as_layout_errors("looking at what is installed"):
        report = read_host(layout, node, EngineHome().version(), now)
        collector.add(report, compare_host(layout, wanted, report))
    missing = missing_root(layout)
    return Info(collector.document("host"), [missing] if missing else [])


def problems_of(node: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with a host as a whole, one of ``nodes`` of the document, in words."""
    problems = ["its listener no longer reports"] if node["stale"] else []
    problems += ["its engine is older than this one"] if node["outdated"] else []
    return problems + [node[name] for name in ("unreadable", "error") if node[name]]


class _HookSummary:
    """What the hosts have of one hook."""

    def __init__(self) -> None:
        self.hosts: Counter[str] = Counter()
        self.outcomes: Counter[str] = Counter()
        self.differences: list[dict[str, Any]] = []
        self.failures: list[dict[str, Any]] = []
        self.failing_hosts = 0
        self.last_failure: dict[str, Any] | None = None


class _Collector:
    """Takes the hosts one by one, and keeps of each what belongs in the document.

    Args:
        sees_all: whether all hosts are taken in, without which it cannot be told how a rollout is doing.
    """

    def __init__(self, wanted: FleetWanted, question: Question, now: float, *, sees_all: bool = False) -> None:
        self._wanted = wanted
        self._question = question
        self._now = now
        self._limit = float("inf") if question.limit is None else question.limit
        #: What the hosts in the cohort of each rollout report of its hook alone, which is little of a report.
        self._cohorts: dict[HookKey, dict[str, NodeReport]] = {key: {} for key in wanted.rollouts} if sees_all else {}
        names = {*map(str, wanted.scheduled), *map(str, wanted.rollouts), *wanted.errors}
        #: By name; None for a hook that is not asked for.
        self._hooks: dict[str, _HookSummary | None] = {name: _HookSummary() for name in names}
        self._nodes: list[dict[str, Any]] = []
        self._totals: Counter[str] = Counter()

    def add(self, report: NodeReport, differences: Iterable[Difference]) -> None:
        """Take in a host, and what was found of each of its hooks."""
        states: Counter[str] = Counter()
        for difference in differences:
            hook = self._summary(difference.name)
            if hook is not None:
                states[difference.state] += 1
                self._add_to(hook, report.node, difference)
        for key, cohort in self._cohorts.items():
            if self._wanted.rollouts[key].cohort.includes(report.node, key):
                name = str(key)
                hooks = {name: report.hooks[name]} if name in report.hooks else {}
                cohort[report.node] = replace(report, hooks=hooks)
        node = {
            "node": report.node,
            "engine": report.engine,
            "reported": None if report.unreadable else moment(report.reported),
            "stale": report.is_stale(self._now),
            "outdated": report.engine is not None and is_older(report.engine),
            "unreadable": report.unreadable,
            "error": report.error,
            "hooks": dict(states),
        }
        problems = [name for name in ("stale", "outdated", "unreadable", "error") if node[name]]
        self._totals.update(nodes=1, differences=sum(states[state] for state in DRIFT))
        self._totals.update(problems)
        if problems or any(states[state] for state in DRIFT):
            self._nodes.append(node)

    def document(self, scope: str) -> dict[str, Any]:
        """Return the document."""
        hooks = [self._hook(name, hook) for name, hook in sorted(self._hooks.items()) if hook is not None]
        names = ("nodes", "stale", "outdated", "unreadable", "error", "differences")
        totals = {"hooks": len(hooks), **{name: self._totals[name] for name in names}}
        return {"scope": scope, "summary": totals, "hooks": hooks, "nodes": self._nodes}

    def _summary(self, name: str) -> _HookSummary | None:
        try:
            return self._hooks[name]
        except KeyError:
            self._hooks[name] = _HookSummary() if self._question.is_meant(name) else None
            return self._hooks[name]

    def _add_to(self, hook: _HookSummary, node: str, difference: Difference) -> None:
        found = difference.found
        state = difference.state
        hook.hosts[state] += 1
        if found.outcomes:
            for outcome, count in found.outcomes.items():
                hook.outcomes[outcome] += count
            failures = failed_runs(found)
            if failures:
                self._add_failure(hook, node, failures, difference)
        if state in DRIFT and len(hook.differences) < self._limit:
            hook.differences.append(
                {
                    "node": node,
                    "state": state,
                    "manifest_sha": found.manifest_sha,
                    "wanted_sha": difference.wanted_sha,
                    "versions": dict(found.versions),
                    "origin": found.origin,
                    "installed": found.installed,
                    "error": found.error,
                }
            )

    def _add_failure(self, hook: _HookSummary, node: str, failures: dict[str, int], difference: Difference) -> None:
        found = difference.found
        hook.failing_hosts += 1
        if len(hook.failures) < self._limit:
            hook.failures.append(
                {
                    "node": node,
                    "manifest_sha": found.manifest_sha,
                    "versions": dict(found.versions),
                    "outcomes": failures,
                    "last_failure": found.last_failure,
                }
            )
        last = found.last_failure
        if last and str(last.get("start")) > str((hook.last_failure or {}).get("start", "")):
            hook.last_failure = {**last, "node": node}

    def _hook(self, name: str, hook: _HookSummary) -> dict[str, Any]:
        event, dummy, hook_id = name.rpartition("/")
        # Not HookKey.of: what lies in the store, or in a report, need not have a valid name.
        key = HookKey(event or None, hook_id)
        pod, rollout = self._wanted.scheduled.get(key), self._wanted.rollouts.get(key)
        differing = sum(hook.hosts[state] for state in DRIFT)
        return {
            "event": event or None,
            "id": hook_id,
            "scheduled": _manifest(pod) if pod else None,
            "rollout": {**_rollout(rollout, pod), "progress": self._progress(rollout)} if rollout else None,
            "error": self._wanted.errors.get(name),
            "hosts": dict(hook.hosts),
            "differences": hook.differences,
            "differences_left_off": differing - len(hook.differences),
            "outcomes": dict(hook.outcomes),
            "failing_hosts": hook.failing_hosts,
            "failures": hook.failures,
            "last_failure": hook.last_failure,
        }

    def _progress(self, rollout: Rollout) -> dict[str, Any] | None:
        if rollout.key not in self._cohorts:
            return None
        verdict = judge(rollout, self._cohorts[rollout.key], self._now)
        limit = self._question.limit
        return {
            "hosts": {
                "converged": len(verdict.converged),
                "waiting": len(verdict.waiting),
                "away": len(verdict.away),
                "failed": len(verdict.failed),
            },
            "waiting": dict(islice(verdict.waiting.items(), limit)),
            "away": dict(islice(verdict.away.items(), limit)),
            "failed_nodes": dict(islice(verdict.failed.items(), limit)),
            "outcomes": dict(verdict.outcomes),
            "broken": verdict.broken,
        }


def _manifest(pod: PodManifest) -> dict[str, Any]:
    return {"manifest_sha": pod.sha, "versions": {each.id: each.version or "" for each in pod.launchables}}


def _rollout(rollout: Rollout, scheduled: PodManifest | None) -> dict[str, Any]:
    sha = scheduled.sha if scheduled else None
    return {
        **_manifest(rollout.manifest),
        "nodes": list(rollout.cohort.nodes),
        "percent": rollout.cohort.percent,
        "base_sha": rollout.base_sha,
        # Where its own manifest is scheduled, it was promoted after it had been read.
        "overtaken": None if sha == rollout.manifest.sha else rollout.overtaken_by(sha),
        "started_by": rollout.started_by,
        "started": rollout.started,
        "widened": rollout.widened,
    }
