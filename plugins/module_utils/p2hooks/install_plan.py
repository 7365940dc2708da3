# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What has to be done for a host to have the hooks that it should have: comparing what should be with what is.

Check mode and diffs print a plan; :mod:`.install` carries it out. Each hook stands for itself: what is wrong with one
is reported, and does not keep the others from being installed.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

from . import disk, exec_links, vetting
from .errors import ArtifactError, HookError, LayoutError, ManifestError, StoreError
from .events import EVENTS
from .hook_key import SCHEDULE_PREFIX, HookKey
from .install_record import ORIGIN_LOCAL, ORIGIN_STORE, InstallRecord
from .layout import Layout
from .manifest import PodManifest
from .pod_home import PodHome
from .store.base import Entry, Store
from .wanted import Wanted, wanted_hooks

INSTALL, UPGRADE, REPAIR, HAND_BACK, REMOVE = "install", "upgrade", "repair", "hand_back", "remove"

_DONE = {INSTALL: "installed", UPGRADE: "upgraded", REPAIR: "repaired", HAND_BACK: "handed back", REMOVE: "removed"}

#: The reason of an upgrade to another version; any other upgrade changes the manifest alone, or where the hook is from.
_OTHER_VERSION = "another version is installed"


@dataclass(frozen=True)
class Action:
    """One thing to do to one hook."""

    #: ``install``, ``upgrade``, ``repair``, ``hand_back`` or ``remove``.
    kind: str
    key: HookKey
    #: The manifest that is installed, as text; empty where there is none.
    before: str
    #: The manifest to install; None to remove the hook.
    manifest: PodManifest | None = None
    #: Where the hook comes from afterwards: ``store`` or ``local``.
    origin: str = ORIGIN_STORE
    #: Whether it is a rollout alone that brings the hook here, or had brought it, since it is not scheduled.
    only_in_rollout: bool = False
    #: How what is here differs from that, in a few words.
    reason: str = ""

    @property
    def keeps_version(self) -> bool:
        """Whether it is an upgrade in name alone."""
        return self.kind == UPGRADE and self.reason != _OTHER_VERSION

    @property
    def done(self) -> str:
        """What was done, in words."""
        return "changed" if self.keeps_version else _DONE[self.kind]


@dataclass
class InstallPlan:
    """What has to be done, and what could not even be planned."""

    actions: list[Action] = field(default_factory=list)
    errors: dict[str, HookError] = field(default_factory=dict)
    #: The SHA of the manifest that the store wants this host to have, by hook.
    scheduled: dict[HookKey, str] = field(default_factory=dict)
    #: The hooks whose manifest for this host is that of a rollout.
    in_rollout: list[HookKey] = field(default_factory=list)
    #: Scheduled hooks that a local one stands in front of.
    overridden: list[HookKey] = field(default_factory=list)
    #: One sentence each about what the store says.
    warnings: list[str] = field(default_factory=list)
    #: One sentence that says why runs will skip whatever is installed below this root; None where they will not.
    unsafe_root: str | None = None

    @property
    def all_warnings(self) -> list[str]:
        """What whoever asked for the installation should know."""
        return [*self.warnings, *([self.unsafe_root] if self.unsafe_root else [])]

    @property
    def needs_store(self) -> bool:
        """Whether an artifact may have to be read from the store."""
        pods = [action.manifest for action in self.actions if action.manifest]
        return any(launchable.location.startswith("store:") for pod in pods for launchable in pod.launchables)


def installed_hooks(layout: Layout) -> dict[HookKey, PodHome]:
    """Return the pod homes below ``pods/`` in which this engine installed a hook."""
    homes = (PodHome(layout, key) for key in _keys_on_disk(layout))
    return {home.key: home for home in homes if home.record()}


def plan_scheduled(
    layout: Layout,
    store: Store,
    *,
    node: str,
    entries: Mapping[str, Entry] | None = None,
    rollouts: Mapping[str, Entry] | None = None,
    events: Collection[str | None] | None = None,
    allow_empty: bool = False,
) -> InstallPlan:
    """Plan what makes this host have what ``store`` schedules. Only hooks that came from the store are touched.

    Where a rollout includes this host, its manifest takes the place of the one that is scheduled.

    Args:
        node: the name of this host.
        entries: what is under ``hooks/`` in the store; it is read where this is None.
        rollouts: what is under ``hooks-rollout/``; it is read where this is None.
        events: look at the hooks of these events only (None in it stands for global hooks); all, where it is None.
        allow_empty: believe a store in which nothing at all is scheduled, though hooks from it are installed here.

    Raises:
        StoreError: the store could not be read, or it is empty and ``allow_empty`` is not set.
    """
    wanted = wanted_hooks(store, node, entries=entries, rollouts=rollouts)
    homes = installed_hooks(layout).items()
    installed = {key: record for key, home in homes if (record := home.record()) and record.origin == ORIGIN_STORE}
    gone = [key for key in installed if key not in wanted.hooks and not wanted.obstacle(key)]
    # What was never scheduled is no sign of lost data: its rollout was aborted.
    lost = [key for key in gone if not installed[key].only_in_rollout]
    if lost and wanted.schedules_nothing and not allow_empty:
        raise StoreError(
            f"{store.name}: nothing is scheduled, but hooks from there are installed on this host ({len(lost)}). "
            f"Nothing was removed, since lost data, or {_lookalike(store)}, looks the same; "
            "check that, and set allow_empty if no hook is to remain"
        )
    result = _plan_of(layout, wanted)
    if not wanted.hooks and not wanted.errors and not allow_empty:
        result.warnings.append(f"{store.name}: nothing is scheduled; {_lookalike(store)} looks the same")
    links = _LinksOnDisk(layout)
    for key, pod in wanted.hooks.items():
        if events is not None and key.event not in events:
            continue
        home = PodHome(layout, key)
        if _origin(home) == ORIGIN_LOCAL:
            result.overridden.append(key)
        else:
            _plan_present(result, layout, links, home, pod, ORIGIN_STORE, key in wanted.only_in_rollout)
    for key in gone:
        if events is None or key.event in events:
            before, only_in_rollout = PodHome(layout, key).manifest_text(), installed[key].only_in_rollout
            reason = "installed, but no longer scheduled"
            result.actions.append(Action(REMOVE, key, before, only_in_rollout=only_in_rollout, reason=reason))
    return result


def plan_present(layout: Layout, key: HookKey, pod: PodManifest) -> InstallPlan:
    """Plan what makes this host have the hook ``key`` as ``pod`` says, whatever the store schedules.

    Raises:
        ManifestError: the manifest's id is not the hook's.
    """
    if pod.id != key.id:
        raise ManifestError(f"{key}: the manifest has the id {pod.id}; it must be the hook's")
    result = InstallPlan(unsafe_root=_unsafe_root(layout))
    _plan_present(result, layout, _LinksOnDisk(layout), PodHome(layout, key), pod, ORIGIN_LOCAL)
    return result


def plan_absent(layout: Layout, key: HookKey) -> InstallPlan:
    """Plan what makes this host not have the local hook ``key``.

    Raises:
        LayoutError: the hook came from the store, which would bring it back.
    """
    home = PodHome(layout, key)
    if _origin(home) == ORIGIN_STORE:
        raise LayoutError(f"{key}: came from the store, which would bring it back; take it out of the schedule there")
    result = InstallPlan()
    if home.record():
        result.actions.append(Action(REMOVE, key, home.manifest_text()))
    return result


def plan_hand_back(layout: Layout, store: Store, key: HookKey, *, node: str, allow_empty: bool = False) -> InstallPlan:
    """Plan what puts the scheduled hook in the place of the local ``key``, or removes it where none is scheduled.

    Where a rollout includes this host, its manifest takes the place of the one that is scheduled.

    Args:
        node: the name of this host.
        allow_empty: believe a store in which nothing at all is scheduled.

    Raises:
        StoreError: the store could not be read, or it is empty and ``allow_empty`` is not set.
        ManifestError: what the store schedules in its place is no valid manifest.
    """
    wanted = wanted_hooks(store, node)
    obstacle = wanted.obstacle(key)
    if obstacle:
        raise obstacle
    pod = wanted.hooks.get(key)
    home = PodHome(layout, key)
    result = _plan_of(layout, wanted)
    result.errors = {}  # of other hooks
    if _origin(home) == ORIGIN_LOCAL:
        if not wanted.hooks and not allow_empty:
            raise StoreError(
                f"{store.name}: nothing is scheduled, so {key} would be removed. It was not, since lost data, "
                f"or {_lookalike(store)}, looks the same; check that, or set allow_empty"
            )
        kind, only_in_rollout = HAND_BACK if pod else REMOVE, key in wanted.only_in_rollout
        result.actions.append(Action(kind, key, home.manifest_text(), pod, only_in_rollout=only_in_rollout))
    return result


def _unsafe_root(layout: Layout) -> str | None:
    obstacle = vetting.obstacle_of_root(layout)
    return obstacle and f"hooks below {layout.root} will not run as long as this is so: {obstacle}"


def _lookalike(store: Store) -> str:
    return store.lookalike_of_empty.format(SCHEDULE_PREFIX)


def _plan_of(layout: Layout, wanted: Wanted) -> InstallPlan:
    return InstallPlan(
        errors=wanted.errors,
        scheduled={key: pod.sha for key, pod in wanted.hooks.items()},
        in_rollout=sorted(wanted.in_rollout, key=str),
        warnings=list(wanted.warnings),
        unsafe_root=_unsafe_root(layout),
    )


def _plan_present(
    result: InstallPlan,
    layout: Layout,
    links: _LinksOnDisk,
    home: PodHome,
    pod: PodManifest,
    origin: str,
    only_in_rollout: bool = False,
) -> None:
    try:
        with disk.errors_as_layout_errors(f"looking at what is installed of {home.key}"):
            record = home.record()
            if record is None:
                kind, reason = INSTALL, "not installed"
            elif record.manifest_sha != pod.sha or record.origin != origin:
                kind, reason = UPGRADE, _why_upgrade(record, pod, origin)
            else:
                difference = home.difference(pod, origin, only_in_rollout=only_in_rollout)
                if difference is None and links.of(home) != exec_links.wanted_links(layout, home, pod):
                    difference = "its links in exec/ are missing, or were changed"
                if difference is None:
                    return
                kind, reason = REPAIR, f"damaged: {difference}"
            result.actions.append(Action(kind, home.key, home.manifest_text(), pod, origin, only_in_rollout, reason))
    except (ArtifactError, LayoutError) as error:
        result.errors[str(home.key)] = error


def _why_upgrade(record: InstallRecord, pod: PodManifest, origin: str) -> str:
    if record.versions != {launchable.id: launchable.version or "" for launchable in pod.launchables}:
        return _OTHER_VERSION
    if record.manifest_sha != pod.sha:
        return "the same version is installed, by another manifest"
    return f"it is installed as {record.origin}, not as {origin}"


def _origin(home: PodHome) -> str | None:
    record = home.record()
    return record.origin if record else None


def _keys_on_disk(layout: Layout) -> Iterator[HookKey]:
    for name in disk.listdir(layout.pods):
        events_and_ids = [(name, pod_id) for pod_id in disk.listdir(os.path.join(layout.pods, name))]
        for event, pod_id in events_and_ids if name in EVENTS else [(None, name)]:
            try:
                yield HookKey.of(event, pod_id)
            except ManifestError:  # no hook of ours has such a name
                continue


class _LinksOnDisk:
    """The links of every pod home, each directory of ``exec/`` read once and only when it is asked for."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._by_event: dict[str | None, Mapping[str, dict[str, str]]] = {}

    def of(self, home: PodHome) -> dict[str, str]:
        event = home.key.event
        if event not in self._by_event:
            self._by_event[event] = exec_links.links_by_home(self._layout, event)
        return self._by_event[event].get(home.path, {})
