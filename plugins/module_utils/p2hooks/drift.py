# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How hosts differ from what the store wants them to have, hook by hook; docs/fleet.md says what to do about it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from . import exec_links, install_plan, install_record
from .errors import ArtifactError
from .fleet import HookReport, NodeReport
from .hook_key import SCHEDULE_PREFIX, HookKey
from .install_record import ORIGIN_LOCAL, ORIGIN_STORE
from .layout import Layout
from .manifest import PodManifest
from .node_status import moment
from .pod_home import PodHome
from .rollout_record import FAILURES, ROLLOUT_PREFIX, Rollout
from .store.base import Entry, Store
from .wanted import rollouts_under_way, scheduled_hooks

#: As it should be.
INSTALLED = "installed"
#: A local hook that the store does not schedule.
LOCAL = "local"
#: What the host should have cannot be told: its report, or what is in the store, cannot be read.
UNKNOWN = "unknown"
#: What should be there could not be installed; the host says why.
FAILED = "failed"
#: It is not there.
MISSING = "missing"
#: Another manifest is installed than this host should have.
OUTDATED = "outdated"
#: The right manifest is installed, but files or links are not what it asks for. Only the host itself can see that.
CHANGED = "changed"
#: It came from the store, and the store no longer wants it there.
EXTRA = "extra"
#: A local hook stands in front of the one that the store wants.
OVERRIDDEN = "overridden"

#: The states that differ from what is wanted, the most urgent ones first.
DRIFT = (FAILED, MISSING, OUTDATED, CHANGED, EXTRA, OVERRIDDEN)

#: Stands for the SHA of a manifest where it cannot be told which one is wanted.
_UNTOLD = ""

_NOTHING = HookReport()

_FAILURES = frozenset(FAILURES)


class Difference(NamedTuple):
    """One hook on one host."""

    name: str
    #: One of the states above.
    state: str
    #: What the host has.
    found: HookReport
    #: The SHA of the manifest that it should have, None where it should have none or that cannot be told.
    wanted_sha: str | None


class FleetWanted:
    """What the store wants hosts to have: what is scheduled, and, on the cohort of a rollout, what that brings."""

    def __init__(
        self, scheduled: Mapping[HookKey, PodManifest], rollouts: Mapping[HookKey, Rollout], errors: Mapping[str, str]
    ) -> None:
        self.scheduled = scheduled
        self.rollouts = rollouts
        #: Why a record of the store cannot be used, by the name of the hook.
        self.errors = errors
        self._shas: dict[str, str] = {str(key): pod.sha for key, pod in scheduled.items()}
        self._shas.update(dict.fromkeys(errors, _UNTOLD))
        self._rollouts = [(str(key), key, rollout) for key, rollout in rollouts.items()]

    def manifest_for(self, node: str, key: HookKey) -> PodManifest | None:
        """Return the manifest of the hook ``key`` that the host ``node`` should have; None where none."""
        rollout = self.rollouts.get(key)
        return rollout.manifest if rollout and rollout.cohort.includes(node, key) else self.scheduled.get(key)

    def has_only_rollout(self, key: HookKey) -> bool:
        """Tell whether the hook ``key`` is in rollout, but not scheduled."""
        return key in self.rollouts and key not in self.scheduled and str(key) not in self.errors

    def compare(self, report: NodeReport) -> Iterator[Difference]:
        """Yield what has to be said of each hook that the host has, or should have; nothing if it is unreadable."""
        if report.unreadable is not None:
            return
        shas = self._shas_for(report.node)
        for name in {**shas, **report.hooks}:
            found, sha = report.hooks.get(name, _NOTHING), shas.get(name)
            state = state_of(found, sha)
            if state is not None:
                yield Difference(name, state, found, sha or None)

    def _shas_for(self, node: str) -> dict[str, str]:
        if not self._rollouts:
            return self._shas
        taken = {
            name: rollout.manifest.sha for name, key, rollout in self._rollouts if rollout.cohort.includes(node, key)
        }
        return {**self._shas, **taken}


def read_wanted(store: Store, is_meant: Callable[[str], bool] = lambda name: True) -> FleetWanted:
    """Return what ``store`` wants hosts to have, in one read of each of the two prefixes.

    Args:
        is_meant: tells of the name of a hook whether it is looked at.

    Raises:
        StoreError: the store could not be read.
    """
    # In this order: the end of a rollout changes both at once, and a manifest that has gone from one to the other in
    # between must not be missed.
    records = _meant(store.read(ROLLOUT_PREFIX), ROLLOUT_PREFIX, is_meant)
    entries = _meant(store.read(SCHEDULE_PREFIX), SCHEDULE_PREFIX, is_meant)
    scheduled, unscheduled = scheduled_hooks(store, entries)
    rollouts, unusable = rollouts_under_way(store, records)
    errors = {store_key.partition("/")[2]: str(error) for store_key, error in {**unscheduled, **unusable}.items()}
    return FleetWanted(scheduled, rollouts, errors)


def compare_host(layout: Layout, wanted: FleetWanted, report: NodeReport) -> Iterator[Difference]:
    """Yield what :meth:`FleetWanted.compare` does for this host, having looked at the files and links of each hook.

    Args:
        report: what :func:`read_host` returned.
    """
    links: dict[str | None, Mapping[str, Mapping[str, str]]] = {}
    for difference in wanted.compare(report):
        if difference.state != INSTALLED:
            yield difference
            continue
        key = HookKey.from_store_key(difference.name, "")
        if key.event not in links:
            links[key.event] = exec_links.links_by_home(layout, key.event)
        home = PodHome(layout, key)
        try:
            is_unchanged = _is_unchanged(layout, home, wanted, report.node, links[key.event])
            yield difference if is_unchanged else difference._replace(state=CHANGED)
        except ArtifactError as error:
            yield difference._replace(state=FAILED, found=difference.found._replace(error=str(error)))


def read_host(layout: Layout, node: str, engine: str | None, now: float) -> NodeReport:
    """Return what this host, called ``node``, would report of what is installed, read from the disk at ``now``.

    Raises:
        OSError: what is installed cannot be read.
    """
    hooks = {}
    for key, home in install_plan.installed_hooks(layout).items():
        record = home.record()
        if record is not None:  # else it was removed since
            hooks[str(key)] = HookReport(
                manifest_sha=record.manifest_sha,
                versions=record.versions,
                origin=record.origin,
                installed=moment(os.stat(os.path.join(home.path, install_record.FILE_NAME)).st_mtime),
            )
    return NodeReport(node, engine=engine, reported=now, valid_for=float("inf"), hooks=hooks)


def failed_runs(found: HookReport) -> dict[str, int]:
    """Return how many runs of a hook had which of the outcomes that count as failures, since it was installed."""
    outcomes = found.outcomes
    return {outcome: outcomes[outcome] for outcome in _FAILURES.intersection(outcomes) if outcomes[outcome]}


def state_of(found: HookReport, wanted_sha: str | None) -> str | None:
    """Return the state of a hook; None where there is none, and none should be.

    Args:
        wanted_sha: the SHA of the manifest that the host should have, None where it should have none.
    """
    if found.error is not None:
        return FAILED
    if found.origin == ORIGIN_LOCAL:
        return LOCAL if wanted_sha is None else OVERRIDDEN
    if wanted_sha == found.manifest_sha:
        return None if wanted_sha is None else INSTALLED
    if wanted_sha == _UNTOLD:
        return UNKNOWN
    if wanted_sha is None:
        return EXTRA
    return MISSING if found.manifest_sha is None else OUTDATED


def _is_unchanged(
    layout: Layout, home: PodHome, wanted: FleetWanted, node: str, links: Mapping[str, Mapping[str, str]]
) -> bool:
    """Tell whether files and links are what is wanted, as an installation does to find what it has to repair."""
    pod = wanted.manifest_for(node, home.key)
    return (
        pod is not None
        and home.difference(pod, ORIGIN_STORE, only_in_rollout=wanted.has_only_rollout(home.key)) is None
        and exec_links.wanted_links(layout, home, pod) == links.get(home.path, {})
    )


def _meant(entries: Mapping[str, Entry], prefix: str, is_meant: Callable[[str], bool]) -> dict[str, Entry]:
    return {store_key: entry for store_key, entry in entries.items() if is_meant(store_key[len(prefix) :])}
