# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The record of a rollout, at ``hooks-rollout/{event}/{id}``: a manifest that only a cohort of the hosts takes.

docs/stores.md describes the document.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from . import manifest
from .errors import ManifestError
from .hook_key import HookKey
from .manifest import PodManifest
from .outcomes import FAILED, INTERRUPTED, KILLED, SKIPPED, TERMINATED, TIMED_OUT

#: The records of all rollouts under way lie under this prefix of the store.
ROLLOUT_PREFIX = "hooks-rollout/"

SCHEMA = 1

#: The outcomes that count against a new version, unless its rollout names others.
FAILURES = (FAILED, TIMED_OUT, TERMINATED, KILLED, SKIPPED, INTERRUPTED)


@dataclass(frozen=True)
class Cohort:
    """The hosts that take the new manifest: those that are named, and a share of all."""

    nodes: tuple[str, ...] = ()
    #: From 0 to 100.
    percent: float = 0.0

    def includes(self, node: str, key: HookKey) -> bool:
        """Tell whether the host ``node`` takes the new manifest of the hook ``key``.

        Each hook has an order of the hosts of its own, so that it is not always the same hosts that go first. A share
        that grows never leaves out a host that was in it.
        """
        return node in self.nodes or position(node, key) < self.percent


@dataclass(frozen=True)
class Limits:
    """What a rollout bears; more than that aborts it."""

    #: On so many hosts it may fail: by not being installed, or by the outcome of a run.
    failed_hosts: int = 0
    #: So many runs may have one of :attr:`outcomes`.
    failed_runs: int = 0
    outcomes: tuple[str, ...] = FAILURES
    #: Seconds for which it is watched once all of its cohort have it.
    watch_for: float = 60.0
    #: So often it has to have run on the hosts that a step added, or nobody knows whether it is good.
    min_runs: int = 0


@dataclass(frozen=True)
class Rollout:
    """One rollout under way."""

    key: HookKey
    manifest: PodManifest
    cohort: Cohort
    limits: Limits
    #: The SHA of the manifest that was scheduled when it was started; None where none was.
    base_sha: str | None
    started_by: str
    #: ISO 8601 in UTC.
    started: str
    #: When hosts last joined the cohort by a step, in the same form.
    widened: str
    #: Who belonged to the cohort before that step.
    cohort_before: Cohort = Cohort()

    @property
    def store_key(self) -> str:
        """The key of the store that holds this record."""
        return ROLLOUT_PREFIX + str(self.key)

    def overtaken_by(self, base_sha: str | None) -> str | None:
        """Return why it cannot be promoted where ``base_sha`` is scheduled, in one line; None where that is no reason.

        Args:
            base_sha: the SHA of the manifest that is scheduled now; None where none is.
        """
        if base_sha == self.base_sha:
            return None
        return (
            f"{self.key}: what is scheduled was changed since the rollout was started; "
            "abort the rollout, and start it again"
        )

    def encode(self) -> bytes:
        """Return the value of the key."""
        content = {
            "schema": SCHEMA,
            "manifest": self.manifest.text,
            "cohort": _encoded(self.cohort),
            "limits": {
                "failed_hosts": self.limits.failed_hosts,
                "failed_runs": self.limits.failed_runs,
                "outcomes": list(self.limits.outcomes),
                "watch_for": self.limits.watch_for,
                "min_runs": self.limits.min_runs,
            },
            "base_sha": self.base_sha,
            "started_by": self.started_by,
            "started": self.started,
            "widened": self.widened,
            "cohort_before": _encoded(self.cohort_before),
        }
        return json.dumps(content, sort_keys=True, separators=(",", ":")).encode()


def decode(key: HookKey, value: bytes, source: str) -> Rollout:
    """Return the rollout of the hook ``key`` from what its key in the store holds.

    Args:
        source: how messages call the place.

    Raises:
        ManifestError: it is no record of a rollout, of a newer schema, or its manifest is not valid.
    """
    try:
        content: Mapping[str, Any] = json.loads(value)
        if content["schema"] != SCHEMA:
            raise ManifestError(
                f"{source}: has the schema {content['schema']!r}, and this engine knows {SCHEMA}; upgrade it here"
            )
        limits = content["limits"]
        pod = manifest.parse(content["manifest"], source)
        rollout = Rollout(
            key=key,
            manifest=pod,
            cohort=_cohort(content["cohort"]),
            limits=Limits(
                int(limits["failed_hosts"]),
                int(limits["failed_runs"]),
                tuple(map(str, limits["outcomes"])),
                float(limits["watch_for"]),
                int(limits.get("min_runs", 0)),
            ),
            base_sha=content["base_sha"],
            started_by=str(content["started_by"]),
            started=str(content["started"]),
            widened=str(content["widened"]),
            cohort_before=_cohort(content.get("cohort_before", _encoded(Cohort()))),
        )
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError):
        raise ManifestError(f"{source}: is no record of a rollout; abort the rollout, and start it again") from None
    if pod.id != key.id:
        raise ManifestError(f"{source}: the manifest's id is {pod.id}; it must be the key's")
    return rollout


def _encoded(cohort: Cohort) -> dict[str, Any]:
    return {"nodes": list(cohort.nodes), "percent": cohort.percent}


def _cohort(content: Mapping[str, Any]) -> Cohort:
    return Cohort(tuple(map(str, content["nodes"])), float(content["percent"]))


def position(node: str, key: HookKey) -> float:
    """Return where ``node`` stands in the order of all hosts for the hook ``key``, from 0 to below 100."""
    digest = hashlib.sha256(f"{key}\0{node}".encode()).digest()
    # 53 bits, so that the float is exact and never rounded up to 100.
    return (int.from_bytes(digest[:8], "big") >> 11) / 2**53 * 100
