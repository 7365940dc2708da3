# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Steering a rollout: what each step changes in the store, in one transaction; docs/rollout.md explains the steps.

Each function compares and returns a plan, as :func:`.schedule.plan` does; :func:`.schedule.apply` carries it out.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from . import manifest, rollout_record, strict_yaml
from .console import abbreviated, printable
from .errors import ManifestError, RolloutError, shown
from .events import EVENTS
from .fleet import decode_report
from .hook_key import HookKey
from .manifest import PodManifest
from .node_status import STATUS_PREFIX, moment
from .rollout_checks import (
    called,
    check_base,
    check_cohort,
    check_limits,
    check_manifest,
    check_nodes,
    how_to_abort,
    no_hosts,
    no_rollout,
    origin,
)
from .rollout_judge import NAMED, Verdict, judge, reports_of_cohort
from .rollout_record import ROLLOUT_PREFIX, Cohort, Limits, Rollout, position
from .rollout_wait import lacking
from .schedule import SchedulePlan, index_of, kept, missing_in, pod_of, sha_of, with_artifacts_in
from .store import ABSENT, Change, Entry, Store

#: Of a manifest: all digits, or as many as people are shown.
_SHA_OR_START = re.compile("[0-9a-f]{12,64}")

_BEAR = "abort the rollout, or widen it with limits that bear this"


@dataclass
class RolloutPlan(SchedulePlan):
    """What a step changes in the store."""

    #: What is under way afterwards.
    rollout: Rollout | None = None
    #: What is scheduled for all hosts afterwards, as a rollout that they all take part in, whatever runs of it come to;
    #: None where that is not waited for.
    scheduled: Rollout | None = None
    #: What it comes to, in words; empty where that needs none.
    summary: str = ""


@dataclass(frozen=True)
class Version:
    """A new manifest of a hook.

    Args:
        upload_artifacts: move artifacts with a ``file`` location into the store, and have the manifest say so.
        check: see :func:`.schedule.plan`.
    """

    manifest: PodManifest
    upload_artifacts: bool = False
    check: bool = False

    def in_store(self, store: Store, key: HookKey) -> tuple[PodManifest, dict[str, bytes]]:
        """Return the manifest as the store will have it, and the artifacts that this takes, by key.

        Raises:
            ArtifactError: see :func:`.schedule.with_artifacts_in`.
        """
        if not self.upload_artifacts:
            return self.manifest, {}
        return with_artifacts_in(store, self.manifest, key, self.check)


def plan_start(
    store: Store,
    key: HookKey,
    version: Version,
    cohort: Cohort | None,
    limits: Mapping[str, Any],
    *,
    started_by: str,
    now: float,
) -> RolloutPlan:
    """Plan to have a cohort of the hosts take ``version``.

    Where that is under way already, also for more hosts, nothing but the ``limits`` changes, and where it is scheduled
    for all, nothing at all. So who was interrupted may begin anew.

    Args:
        cohort: None for the one host that comes first, see :func:`_first_host`, or for whoever takes it already.
        limits: those of the fields of :class:`Limits` that are given.
        now: seconds since 1970.

    Raises:
        RolloutError: the cohort or a limit is not valid, or another manifest is under way, or was overtaken.
        ArtifactError: see :func:`.schedule.plan`.
        ManifestError: what is scheduled or under way cannot be read.
        StoreError: the store could not be read.
    """
    check_limits(limits)
    hosts = _hosts(store.read(STATUS_PREFIX))
    if cohort:
        check_cohort(cohort, store, key, hosts)
    pod, artifacts = version.in_store(store, key)
    base = store.get(key.store_key)
    record, rollout = _under_way(store, key)
    if record and rollout:
        check_manifest(rollout, pod)
        check_base(rollout, base)
        if cohort and not _is_within(cohort, rollout):
            raise RolloutError(
                f"{key}: the rollout is under way for {called(rollout.cohort)}, {origin(rollout)}; widen it instead"
            )
        changed = dataclasses.replace(rollout, limits=_limits(rollout.limits, limits))
        return _replacement(record, rollout, changed, hosts)
    base_sha = sha_of(base, key)
    if base_sha == pod.sha:
        return RolloutPlan(summary=_scheduled_already(pod))
    limits_at_first = _limits(Limits(), limits)
    started = Rollout(key, pod, cohort or Cohort(), limits_at_first, base_sha, started_by, moment(now), moment(now))
    if not cohort:
        started = dataclasses.replace(started, cohort=_first_host(started, store, now))
    plan = _replacement(None, None, started, hosts)
    plan.uploads.update(missing_in(store, artifacts))
    if key.event is None and base is None:
        named = [HookKey(event, key.id) for event in EVENTS]
        events = ", ".join(str(each.event) for each in named if store.get(each.store_key))
        if events:
            plan.warnings.append(f"{key}: is scheduled on {events} as well; without event it runs on all of them")
    return plan


def plan_widen(
    store: Store, key: HookKey, version: Version | None, cohort: Cohort, limits: Mapping[str, Any], *, now: float
) -> RolloutPlan:
    """Plan to have more hosts take part in the rollout of ``key``. None of those that do is left out.

    Nothing changes where ``version`` is scheduled already, and no rollout is under way. Where hosts are added before a
    wait would have ended there is a warning, and so is where none are added, since the limits are broken.

    Args:
        version: what has to be under way, None for whatever is.
        cohort: who is to take part as well.
        limits: those of the fields of :class:`Limits` that are to change.
        now: seconds since 1970.

    Raises:
        RolloutError: the cohort or a limit is not valid, or no rollout, or that of another manifest, is under way, or
            it was overtaken.
        ManifestError: what is scheduled or under way cannot be read.
        StoreError: the store could not be read.
    """
    check_limits(limits)
    reports = store.read(STATUS_PREFIX)
    hosts = _hosts(reports)
    check_nodes(cohort, hosts)
    base = store.get(key.store_key)
    record, rollout = _under_way(store, key)
    pod = version.in_store(store, key)[0] if version else None
    if record is None or rollout is None:
        if pod and sha_of(base, key) == pod.sha:
            return RolloutPlan(summary=_scheduled_already(pod))
        raise no_rollout(store, key)
    if pod:
        check_manifest(rollout, pod)
    check_base(rollout, base)
    added = {node for node in cohort.nodes if not rollout.cohort.includes(node, key)}
    wider = Cohort(
        (*rollout.cohort.nodes, *sorted(added)),
        max(cohort.percent, rollout.cohort.percent),
    )
    as_it_is = dataclasses.replace(rollout, limits=_limits(rollout.limits, limits))
    changed = dataclasses.replace(as_it_is, cohort=wider)
    if not any(wider.includes(node, key) and not rollout.cohort.includes(node, key) for node in hosts):
        return _replacement(record, rollout, changed, hosts)
    cohort_reports = reports_of_cohort(rollout, reports)
    broken = judge(as_it_is, cohort_reports, now).broken
    if broken:  # whoever waits aborts it
        plan = _replacement(record, rollout, as_it_is, hosts)
        plan.warnings.append(f"{broken}; so no host is added; {_BEAR}")
        return plan
    changed = dataclasses.replace(changed, widened=moment(now), cohort_before=rollout.cohort)
    plan = _replacement(record, rollout, changed, hosts)
    plan.warnings.extend(_early(rollout, judge(rollout, cohort_reports, now), now))
    return plan


def plan_promote(store: Store, key: HookKey, version: Version | None, *, now: float) -> RolloutPlan:
    """Plan to schedule for all hosts what is under way, which ends the rollout. What was scheduled is kept.

    Nothing changes where ``version`` is scheduled already, and no rollout is under way. There is a warning where a wait
    would not have ended yet, though it might do without hosts that are away.

    Args:
        version: what has to be under way, None for whatever is.
        now: seconds since 1970.

    Raises:
        RolloutError: no rollout, or that of another manifest, is under way, or another one was scheduled meanwhile, or
            the limits are broken.
        ManifestError: what is scheduled or under way cannot be read.
        StoreError: the store could not be read.
    """
    pod = version.in_store(store, key)[0] if version else None
    base = store.get(key.store_key)
    record, rollout = _under_way(store, key)
    if record is None or rollout is None:
        if pod and sha_of(base, key) == pod.sha:
            scheduled = _for_all(key, pod, store.get(key.previous_key))
            return RolloutPlan(scheduled=scheduled, summary=_scheduled_already(pod))
        raise no_rollout(store, key)
    if pod:
        check_manifest(rollout, pod)
    check_base(rollout, base)
    verdict = judge(rollout, reports_of_cohort(rollout, store.read(STATUS_PREFIX)), now)
    if verdict.broken:
        raise RolloutError(f"{verdict.broken}; {_BEAR}")
    plan = _base_change(key, base, rollout.manifest, store.get(key.previous_key))
    plan.warnings.extend(_early(rollout, verdict, now))
    plan.groups[0].append(_removal(record, key))
    plan.before[rollout.store_key] = _shown(rollout)
    return plan


def plan_abort(store: Store, key: HookKey, version: Version | None) -> RolloutPlan:
    """Plan to end the rollout of ``key``: its hosts go back to what is scheduled.

    Where none is under way nothing changes, but there is a warning, since an id may be misspelt.

    Args:
        version: what has to be under way, None for whatever is, even if that cannot be read.

    Raises:
        RolloutError: another manifest is under way.
        ManifestError: what is under way cannot be read.
        StoreError: the store could not be read.
    """
    plan = RolloutPlan()
    record = store.get(ROLLOUT_PREFIX + str(key))
    if record is None:
        others = [each[len(ROLLOUT_PREFIX) :] for each in sorted(store.read(ROLLOUT_PREFIX)) if each != ROLLOUT_PREFIX]
        under_way = f"; under way are those of {_first_of(others)}" if others else ""
        plan.warnings.append(f"{key}: no rollout is under way in {store.name}{under_way}")
        return plan
    text = record.value.decode("utf-8", "replace")
    if version:
        rollout = _decoded(record, key)
        check_manifest(rollout, version.in_store(store, key)[0])
        text = _shown(rollout)
    plan.groups.append([_removal(record, key)])
    plan.before[ROLLOUT_PREFIX + str(key)] = text
    return plan


def plan_rollback(store: Store, key: HookKey, *, leaving: str | None = None) -> RolloutPlan:
    """Plan to schedule what was scheduled before, and to keep in its place what is: a second time returns to that.

    Args:
        leaving: the SHA of the manifest that is to go, or how it begins; nothing changes where it went before.

    Raises:
        RolloutError: a rollout is under way, nothing was scheduled before, or ``leaving`` can be no SHA, or is neither
            that of what is scheduled nor of what was before.
        ManifestError: what was scheduled before is no valid manifest.
        StoreError: the store could not be read.
    """
    if leaving is not None and not _SHA_OR_START.fullmatch(leaving):
        raise RolloutError(
            f"manifest_sha is {shown(leaving)}; give its 64 hexadecimal digits, or the first 12 or more of them"
        )
    record, rollout = _under_way(store, key)
    if record and rollout:
        raise RolloutError(f"{key}: a rollout is under way, {origin(rollout)}; abort it first, {how_to_abort(key)}")
    base = store.get(key.store_key)
    previous = store.get(key.previous_key)
    current = pod_of(base, key) if base and leaving is not None else None
    if leaving is not None and not (current and current.sha.startswith(leaving)):
        there = f"manifest {abbreviated(current.sha)}" if current else "nothing"
        was_there = previous and (_sha_if_readable(previous, key) or leaving)
        if not was_there or not was_there.startswith(leaving):
            raise RolloutError(
                f"{key}: manifest {abbreviated(leaving)} is neither scheduled nor was it before, {there} is scheduled; "
                "give the SHA of a manifest, which p2_hook_info and 'p2-hook info --json' tell, not a version"
            )
        return RolloutPlan(
            scheduled=_for_all(key, current, previous) if current else None,
            summary=f"{there} is scheduled, not {abbreviated(leaving)}, so there is nothing to do",
        )
    if previous is None:
        raise RolloutError(f"{key}: nothing was scheduled before in {store.name}, so there is nothing to go back to")
    pod = manifest.parse(previous.value, f"key {key.previous_key}")
    plan = _base_change(key, base, pod, previous)
    if base is None:
        plan.groups[0].append(Change(key.previous_key, None, previous.index, must_exist=True))
    plan.groups[0].append(Change(ROLLOUT_PREFIX + str(key), None, ABSENT))  # still none is under way
    return plan


def _early(rollout: Rollout, verdict: Verdict, now: float) -> list[str]:
    """Return a warning where a wait would not have ended yet, though it might do without hosts that are away."""
    watch_left = verdict.watch_left(rollout.limits, now, allow_away=True)
    if watch_left == 0:
        return []
    return [f"{rollout.key}: this step comes early: still {lacking(rollout.limits, verdict, watch_left, True)}"]


def _scheduled_already(pod: PodManifest) -> str:
    return f"manifest {abbreviated(pod.sha)} is scheduled already"


def _under_way(store: Store, key: HookKey) -> tuple[Entry | None, Rollout | None]:
    record = store.get(ROLLOUT_PREFIX + str(key))
    return record, _decoded(record, key) if record else None


def _decoded(record: Entry, key: HookKey) -> Rollout:
    return rollout_record.decode(key, record.value, f"key {ROLLOUT_PREFIX}{key}")


def _replacement(record: Entry | None, before: Rollout | None, after: Rollout, hosts: Collection[str]) -> RolloutPlan:
    taking = [node for node in hosts if after.cohort.includes(node, after.key)]
    taken = [node for node in hosts if before and before.cohort.includes(node, before.key)]
    who = ", as before" if before and taking == taken else f" ({_first_of(taking)})"
    plan = RolloutPlan(rollout=after, summary=f"for {len(taking)} of {len(hosts)} hosts{who}")
    if before != after:
        plan.groups.append([Change(after.store_key, after.encode(), index_of(record))])
        plan.after[after.store_key] = _shown(after)
        if before:
            plan.before[after.store_key] = _shown(before)
    return plan


def _first_of(hosts: Collection[str]) -> str:
    names = [*sorted(hosts)[:NAMED], *(["..."] if len(hosts) > NAMED else [])]
    return printable(", ".join(names))


def _removal(record: Entry, key: HookKey) -> Change:
    # It must still be there: what somebody else has ended must not be promoted, nor the other way round.
    return Change(ROLLOUT_PREFIX + str(key), None, record.index, must_exist=True)


def _base_change(key: HookKey, base: Entry | None, pod: PodManifest, previous: Entry | None) -> RolloutPlan:
    scheduled = _for_all(key, pod, base)
    replaced = scheduled.base_sha and f"manifest {abbreviated(scheduled.base_sha)}"
    was = replaced or ("what cannot be read" if base else "nothing")
    plan = RolloutPlan(scheduled=scheduled, summary=f"from {was} to manifest {abbreviated(pod.sha)}")
    change = Change(key.store_key, pod.text.encode(), index_of(base))
    plan.groups.append([change, *kept(key.previous_key, base, previous)])
    if base:
        plan.before[key.store_key] = base.value.decode("utf-8", "replace")
    plan.after[key.store_key] = pod.text
    return plan


def _for_all(key: HookKey, pod: PodManifest, replaced: Entry | None) -> Rollout:
    """Return what :attr:`RolloutPlan.scheduled` is where ``pod`` takes the place of ``replaced``."""
    limits = Limits(outcomes=(), watch_for=0.0)
    return Rollout(key, pod, Cohort(percent=100.0), limits, _sha_if_readable(replaced, key), "", "", "")


def _sha_if_readable(entry: Entry | None, key: HookKey) -> str | None:
    """Return the SHA of what is not scheduled any more; None where it cannot be read, so that nobody can go back."""
    try:
        return sha_of(entry, key)
    except ManifestError:
        return None


def _hosts(reports: Iterable[str]) -> list[str]:
    return [store_key[len(STATUS_PREFIX) :] for store_key in reports]


def _first_host(rollout: Rollout, store: Store, now: float) -> Cohort:
    """Return the one host that comes first in the order of this hook: of those that are not away, if there are any."""
    values = {store_key[len(STATUS_PREFIX) :]: entry.value for store_key, entry in store.read(STATUS_PREFIX).items()}
    if not values:
        raise no_hosts(store, rollout.key)
    nodes = sorted(values, key=lambda node: position(node, rollout.key))
    for node in nodes:
        alone = dataclasses.replace(rollout, cohort=Cohort((node,)))
        if not judge(alone, {node: decode_report(node, values[node])}, now).away:
            return alone.cohort
    return Cohort((nodes[0],))


def _limits(limits: Limits, given: Mapping[str, Any]) -> Limits:
    return dataclasses.replace(limits, **given)


def _is_within(cohort: Cohort, rollout: Rollout) -> bool:
    return cohort.percent <= rollout.cohort.percent and all(
        rollout.cohort.includes(node, rollout.key) for node in cohort.nodes
    )


def _shown(rollout: Rollout) -> str:
    """Return what people see of a record: who takes part under which limits, and the manifest as it was written."""
    content = {
        "nodes": list(rollout.cohort.nodes),
        "percent": rollout.cohort.percent,
        **dataclasses.asdict(rollout.limits),
        "outcomes": list(rollout.limits.outcomes),
        "started_by": rollout.started_by,
    }
    return strict_yaml.dump(content) + "---\n" + rollout.manifest.text
