# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a store wants a host to have: what is scheduled, and what rollouts put in its place on some of the hosts."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from . import manifest, rollout_record
from .errors import HookError, ManifestError, StoreDenied
from .hook_key import SCHEDULE_PREFIX, HookKey
from .manifest import PodManifest
from .rollout_record import ROLLOUT_PREFIX, Rollout
from .store.base import Entry, Store


@dataclass
class Wanted:
    """The hooks that one host should have."""

    hooks: dict[HookKey, PodManifest]
    #: What is wrong with what cannot be used, by its key in the store.
    errors: dict[str, HookError]
    #: Whether there is no valid manifest at all among what is scheduled on every host.
    schedules_nothing: bool
    #: Those of :attr:`hooks` that are in rollout: this host takes the manifest of one in place of what is scheduled.
    in_rollout: Collection[HookKey]
    #: Those of them that take the place of nothing.
    only_in_rollout: Collection[HookKey]
    warnings: list[str]

    def obstacle(self, key: HookKey) -> HookError | None:
        """Return what is wrong with what the store has of the hook ``key``, if nothing of it can be used."""
        store_keys = () if key in self.hooks else (key.store_key, ROLLOUT_PREFIX + str(key))
        return next((self.errors[store_key] for store_key in store_keys if store_key in self.errors), None)


def scheduled_hooks(
    store: Store, entries: Mapping[str, Entry] | None = None
) -> tuple[dict[HookKey, PodManifest], dict[str, HookError]]:
    """Return what ``store`` schedules: the manifests, and, by key, what is wrong with those that cannot be used.

    Args:
        entries: what is under ``hooks/`` there; it is read where this is None.

    Raises:
        StoreError: the store could not be read.
    """
    hooks: dict[HookKey, PodManifest] = {}
    errors: dict[str, HookError] = {}
    for store_key, entry in (store.read(SCHEDULE_PREFIX) if entries is None else entries).items():
        try:
            key = HookKey.from_store_key(store_key)
            pod = manifest.parse(entry.value, f"{store.name}: {store_key}")
            if pod.id != key.id:
                raise ManifestError(f"{store.name}: {store_key}: the manifest's id is {pod.id}; it must be the key's")
            hooks[key] = pod
        except ManifestError as error:
            errors[store_key] = error
    return hooks, errors


def rollouts_under_way(
    store: Store, entries: Mapping[str, Entry] | None = None
) -> tuple[dict[HookKey, Rollout], dict[str, HookError]]:
    """Return the rollouts of ``store``, and, by key, what is wrong with the records that cannot be used.

    Args:
        entries: what is under ``hooks-rollout/`` there; it is read where this is None.

    Raises:
        StoreError: the store could not be read.
    """
    rollouts: dict[HookKey, Rollout] = {}
    errors: dict[str, HookError] = {}
    for store_key, entry in (store.read(ROLLOUT_PREFIX) if entries is None else entries).items():
        try:
            key = HookKey.from_store_key(store_key, ROLLOUT_PREFIX)
            rollouts[key] = rollout_record.decode(key, entry.value, f"{store.name}: {store_key}")
        except ManifestError as error:
            errors[store_key] = error
    return rollouts, errors


def wanted_hooks(
    store: Store,
    node: str,
    *,
    entries: Mapping[str, Entry] | None = None,
    rollouts: Mapping[str, Entry] | None = None,
) -> Wanted:
    """Return what ``store`` wants the host ``node`` to have.

    Args:
        entries: what is under ``hooks/`` there; it is read where this is None.
        rollouts: what is under ``hooks-rollout/``; it is read where this is None.

    Raises:
        StoreError: the store could not be read.
    """
    warnings = []
    if rollouts is None:
        # Before what is scheduled: the end of a rollout changes both at once, and a manifest that has gone from here
        # to there in between must not be missed.
        try:
            rollouts = store.read(ROLLOUT_PREFIX)
        except StoreDenied as error:
            warnings.append(f"{error}; rollouts were left out of account")
            rollouts = {}
    entries = store.read(SCHEDULE_PREFIX) if entries is None else entries
    hooks, errors = scheduled_hooks(store, entries)
    schedules_nothing = not hooks
    under_way, unusable = rollouts_under_way(store, rollouts)
    errors.update(unusable)
    in_rollout = {key for key, rollout in under_way.items() if rollout.cohort.includes(node, key)}
    for key in in_rollout:
        hooks[key] = under_way[key].manifest
        errors.pop(key.store_key, None)
    only_in_rollout = {key for key in in_rollout if key.store_key not in entries}
    return Wanted(hooks, errors, schedules_nothing, in_rollout, only_in_rollout, warnings)
