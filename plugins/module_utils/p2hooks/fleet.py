# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The fleet as its hosts report it, under ``hooks-status/`` in the store; docs/stores.md describes a report."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from .node_status import SCHEMA, STATUS_PREFIX
from .store.base import Store


@dataclass(frozen=True)
class HookReport:
    """What a host says of one hook. Anything that an older engine did not report is as if there were nothing."""

    #: The SHA of the manifest that is installed, and of the one that this host should have; None where there is none.
    manifest_sha: str | None = None
    scheduled_sha: str | None = None
    #: Launchable id to version.
    versions: Mapping[str, str] = field(default_factory=dict)
    #: ``store`` or ``local``.
    origin: str | None = None
    #: Since when it is installed, ISO 8601 in UTC.
    installed: str | None = None
    #: Why what should be there could not be installed.
    error: str | None = None
    #: Outcome to number of runs, since it is installed.
    outcomes: Mapping[str, int] = field(default_factory=dict)
    #: The newest run that did not succeed since then; the keys of an audit record, the output cut to its tail.
    last_failure: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class NodeReport:
    """What a host says of itself."""

    node: str
    #: The version of the engine that wrote it.
    engine: str | None = None
    #: Seconds since 1970.
    reported: float = 0.0
    #: Seconds after which a report that was not renewed says that nobody looks after the host any more.
    valid_for: float = 0.0
    #: What is wrong with the host as a whole.
    error: str | None = None
    #: As hooks are called: ``{event}/{id}``, or ``{id}`` for a global one.
    hooks: Mapping[str, HookReport] = field(default_factory=dict)
    #: Why the report cannot be read; None where it can.
    unreadable: str | None = None

    def is_stale(self, now: float) -> bool:
        """Tell whether nobody has looked after the host any more at ``now``, in seconds since 1970."""
        return self.unreadable is None and now > self.reported + self.valid_for


def read_fleet(store: Store) -> dict[str, NodeReport]:
    """Return the report of every host that ever reported, by the host's name, in one read of ``store``.

    Raises:
        StoreError: the store could not be read.
    """
    return {
        key[len(STATUS_PREFIX) :]: decode_report(key[len(STATUS_PREFIX) :], entry.value)
        for key, entry in store.read(STATUS_PREFIX).items()
    }


def decode_report(node: str, value: bytes) -> NodeReport:
    """Return what ``value``, the report of the host ``node``, says; one that cannot be read says why."""
    try:
        content = json.loads(value)
        if content["schema"] > SCHEMA:
            return NodeReport(
                node,
                engine=str(content.get("engine")),
                unreadable=f"its report has the schema {content['schema']}, and this engine knows {SCHEMA}; "
                "upgrade p2fleet.hooks here",
            )
        return NodeReport(
            node,
            engine=str(content["engine"]),
            reported=datetime.fromisoformat(content["reported"].replace("Z", "+00:00")).timestamp(),
            valid_for=float(content["valid_for"]),
            error=content["error"],
            hooks={name: _hook(each) for name, each in content["hooks"].items()},
        )
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError):
        return NodeReport(node, unreadable="its report is no JSON document of a listener; look at what writes it")


def _hook(content: Mapping[str, Any]) -> HookReport:
    return HookReport(
        manifest_sha=content.get("manifest_sha"),
        scheduled_sha=content.get("scheduled_sha"),
        versions=dict(content.get("versions") or {}),
        origin=content.get("origin"),
        installed=content.get("installed"),
        error=content.get("error"),
        outcomes={name: int(count) for name, count in (content.get("outcomes") or {}).items()},
        last_failure=content.get("last_failure"),
    )
