# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What keeps a step of a rollout from being taken, each in an error that says what is wrong, and what to do."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any

from .errors import RolloutError, shown
from .hook_key import HookKey
from .manifest import PodManifest
from .outcomes import OUTCOMES, STARTED, SUCCEEDED
from .rollout_record import Cohort, Rollout
from .schedule import sha_of
from .store import Entry, Store

#: The outcomes that can count against a new version.
COUNTABLE = tuple(outcome for outcome in OUTCOMES if outcome not in (STARTED, SUCCEEDED))


def no_hosts(store: Store, key: HookKey) -> RolloutError:
    """Return the error that nobody could take part."""
    return RolloutError(f"{key}: no host has reported to {store.name} yet; have them run the listener first")


def no_rollout(store: Store, key: HookKey) -> RolloutError:
    """Return the error that there is nothing to steer."""
    return RolloutError(
        f"{key}: no rollout is under way in {store.name}; start one, or, if there was one, look what is scheduled now"
    )


def check_cohort(cohort: Cohort, store: Store, key: HookKey, hosts: Collection[str]) -> None:
    """Make sure that some of ``hosts``, those that report, would take part.

    Raises:
        RolloutError: none would, or the cohort is not valid.
    """
    check_nodes(cohort, hosts)
    if not hosts:
        raise no_hosts(store, key)
    if not any(cohort.includes(node, key) for node in hosts):
        raise RolloutError(
            f"{key}: {called(cohort)} is none of the {len(hosts)} hosts that report; name nodes, or raise percent"
        )


def check_nodes(cohort: Cohort, hosts: Collection[str]) -> None:
    """Make sure that all nodes that ``cohort`` names are among ``hosts``, those that report.

    Raises:
        RolloutError: one is not, or the share is none.
    """
    checked_percent(cohort.percent)
    for node in cohort.nodes:
        if node not in hosts:
            raise RolloutError(
                f"nodes: {shown(node)} is none of the {len(hosts)} hosts that report to the store; "
                "give the names under hooks-status/"
            )


def checked_percent(percent: float) -> float:
    """Return ``percent`` if it can be a share of the hosts.

    Raises:
        RolloutError: it is not from 0 to 100.
    """
    if not 0 <= percent <= 100:
        raise RolloutError(f"percent is {percent:g}; give a number from 0 to 100")
    return percent


def check_limits(limits: Mapping[str, Any]) -> None:
    """Check those of the fields of :class:`.rollout_record.Limits` that are given.

    Raises:
        RolloutError: one of them makes no sense.
    """
    for name in ("failed_hosts", "failed_runs", "watch_for", "min_runs"):
        if not 0 <= limits.get(name, 0) < math.inf:
            raise RolloutError(f"{name} is {limits[name]}; give a number that is not below 0")
    for outcome in limits.get("outcomes", ()):
        if outcome not in COUNTABLE:
            raise RolloutError(f"outcomes: {shown(outcome)} cannot be counted; give some of {', '.join(COUNTABLE)}")


def check_manifest(rollout: Rollout, pod: PodManifest) -> None:
    """Make sure that ``pod`` is what is under way.

    Raises:
        RolloutError: another manifest is.
    """
    if rollout.manifest.sha != pod.sha:
        raise RolloutError(
            f"{rollout.key}: the rollout of another manifest is under way, {origin(rollout)}; "
            f"promote or abort that one first, {how_to_abort(rollout.key)}"
        )


def how_to_abort(key: HookKey) -> str:
    """Return what ends the rollout of ``key``, in words, for people at the command and for those with Ansible alone."""
    command = f"p2-hook rollout abort {key.id} {f'--event {key.event}' if key.event else '--global'}"
    return f"as with '{command}', or with state=aborted of p2_hook_rollout"


def check_base(rollout: Rollout, base: Entry | None) -> None:
    """Make sure that ``base``, what is scheduled, is what was when the rollout began.

    Raises:
        RolloutError: it is not.
        ManifestError: it cannot be read.
    """
    overtaken = rollout.overtaken_by(sha_of(base, rollout.key))
    if overtaken:
        raise RolloutError(overtaken)


def called(cohort: Cohort) -> str:
    """Return who takes part, in words."""
    nodes = [shown(", ".join(cohort.nodes))] if cohort.nodes else []
    return " and ".join([*nodes, f"{cohort.percent:g} percent"])


def origin(rollout: Rollout) -> str:
    """Return who started it and when, in words."""
    return f"started by {shown(rollout.started_by)} at {shown(rollout.started)}"
