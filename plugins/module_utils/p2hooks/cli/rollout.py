# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``p2-hook rollout``: a new version for a few hosts first, and how it does there."""

from __future__ import annotations

import argparse
import dataclasses
import time
from typing import Any

from ..console import ERROR, INTERRUPTED, Answer, abbreviated, printable, tell
from ..fleet import read_fleet
from ..hook_key import HookKey
from ..hook_options import hook_named
from ..rollout_judge import Verdict, judge
from ..rollout_options import DEFAULTS, Steered, described, shown_verdict, steer
from ..rollout_record import Rollout
from ..rollout_wait import lacking
from ..store.options import open_store
from ..wanted import rollouts_under_way, scheduled_hooks
from . import output

#: The state that each step leads to, and what it is called while it is only to be shown.
_STATES = {"start": "started", "widen": "widened", "promote": "promoted", "abort": "aborted", "rollback": "rolled_back"}
_WOULD = {"start": "start", "widen": "widen", "promote": "promote", "abort": "abort", "rollback": "roll back"}


def answer(options: argparse.Namespace) -> Answer:
    """Take the step that ``options`` name, or show what is under way.

    Raises:
        HookError: of some kind: an option is not valid, or the step is refused.
    """
    if options.step == "show":
        return _show(options)
    key, pod = hook_named(options.event, options.hook, is_manifest=options.step == "start")
    request = {**DEFAULTS, **vars(options), "state": _STATES[options.step]}
    told = (lambda verdict: None) if options.json else _Progress(key)
    steered = steer(open_store(request), key, pod, request, check=options.check, tell=told)
    answer = _answer(options, key, steered)
    answer.warnings = steered.plan.warnings
    if steered.error:
        answer.code, answer.errors = INTERRUPTED if steered.interrupted else ERROR, [str(steered.error)]
    return answer


class _Progress:
    """Tells how a rollout is doing whenever that changes."""

    def __init__(self, key: HookKey) -> None:
        self._key = key
        self._told = ""

    def __call__(self, verdict: Verdict) -> None:
        text = f"{self._key}: {_counts(verdict)}"
        if text != self._told:
            self._told = text
            tell(text)


def _answer(options: argparse.Namespace, key: HookKey, steered: Steered) -> Answer:
    data = steered.result(check=options.check)
    done = f"would {_WOULD[options.step]}" if options.check else _STATES[options.step].replace("_", " ")
    lines = [f"{done} {key}"] if steered.plan.groups else []
    lines += [f"aborted {key}"] if steered.aborted else []
    lines = lines or ["nothing to change"]
    lines += [steered.plan.summary] if steered.plan.summary else []
    lines += _lines(steered.verdict) if steered.verdict else []
    before, after = steered.plan.before, steered.plan.after
    differences = [
        output.Difference(name, before.get(name, ""), after.get(name, "")) for name in sorted({*before, *after})
    ]
    return output.with_differences(options, data, lines, differences)


def _show(options: argparse.Namespace) -> Answer:
    store = open_store(vars(options))
    scheduled = scheduled_hooks(store)[0]  # before the rollouts, since to promote changes both at once
    rollouts, errors = rollouts_under_way(store)
    fleet, now = read_fleet(store), time.time()
    data: list[dict[str, Any]] = []
    lines = []
    for rollout in rollouts.values():
        verdict = judge(rollout, fleet, now)
        watch_left = verdict.watch_left(rollout.limits, now, allow_away=False)
        versions = {each.id: each.version or "" for each in rollout.manifest.launchables}
        pod = scheduled.get(rollout.key)
        overtaken = rollout.overtaken_by(pod.sha if pod else None)
        facts = {"versions": versions, "watch_left": watch_left, "overtaken": overtaken}
        data.append({**described(rollout), **shown_verdict(verdict), **facts})
        lines.append(printable(f"{rollout.key}: started by {rollout.started_by} at {rollout.started}"))
        what = [
            *_facts(rollout, verdict, len({*fleet, *rollout.cohort.nodes}), output.versions(versions)),
            *_lines(verdict),
            _watched(rollout, verdict, watch_left),
        ]
        what += [f"it cannot be promoted: {overtaken}"] if overtaken else []
        lines += [printable(f"  {line}") for line in what]
    return Answer(
        {"rollouts": data}, lines or [f"no rollout is under way in {store.name}"], warnings=[*map(str, errors.values())]
    )


def _facts(rollout: Rollout, verdict: Verdict, hosts: int, versions: str) -> list[str]:
    """Return which version it is, for whom, and under which limits."""
    cohort, taking = rollout.cohort, len({*verdict.converged, *verdict.waiting, *verdict.away, *verdict.failed})
    who = [*([", ".join(cohort.nodes)] if cohort.nodes else []), *([f"{cohort.percent:g}%"] if cohort.percent else [])]
    limits = {**dataclasses.asdict(rollout.limits), "outcomes": ",".join(rollout.limits.outcomes)}
    return [
        f"version {versions or 'unknown'}, manifest {abbreviated(rollout.manifest.sha)}",
        f"for {' and '.join(who) or 'nobody'}: {taking} of {hosts} hosts",
        "limits: " + ", ".join(f"{name} {value}" for name, value in limits.items()),
    ]


def _watched(rollout: Rollout, verdict: Verdict, watch_left: float | None) -> str:
    if verdict.broken:
        return f"its limits are broken: {verdict.broken}"
    if watch_left is None:
        return f"still {lacking(rollout.limits, verdict, None, allow_away=False)}"
    return f"to be watched for {watch_left:.0f} s more" if watch_left else "was watched long enough"


def _lines(verdict: Verdict) -> list[str]:
    """Return how a rollout is doing: one line about all, and one for each host where something is the matter."""
    runs = ", ".join(f"{count} {outcome}" for outcome, count in sorted(verdict.outcomes.items()))
    lines = [_counts(verdict), f"runs: {runs or 'none yet'}"]
    for kind, hosts in (("waiting", verdict.waiting), ("away", verdict.away), ("failed", verdict.failed)):
        lines += [f"{kind}: {node}: {why}" for node, why in hosts.items()]
    return [printable(line) for line in lines]


def _counts(verdict: Verdict) -> str:
    kinds = {
        "converged": verdict.converged,
        "waiting": verdict.waiting,
        "away": verdict.away,
        "failed": verdict.failed,
    }
    return ", ".join(f"{len(hosts)} {kind}" for kind, hosts in kinds.items())
