# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The fleet as its hosts report it, under ``hooks-status/`` in the store; docs/stores.md describes a report."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from types import MappingProxyType
from typing import Any, NamedTuple

from .node_status import SCHEMA, STATUS_PREFIX, check_node
from .store.base import Store


class HookReport(NamedTuple):
    """What a host says of one hook. Anything that an older engine did not report is as if there were nothing.

    A large fleet has a million of them, and nothing is made more quickly than a tuple.
    """

    #: The SHA of the manifest that is installed, and of the one that this host should have; None where there is none.
    manifest_sha: str | None = None
    scheduled_sha: str | None = None
    #: Launchable id to version.
    versions: Mapping[str, str] = MappingProxyType({})
    #: ``store`` or ``local``.
    origin: str | None = None
    #: Since when it is installed, ISO 8601 in UTC.
    installed: str | None = None
    #: Why what should be there could not be installed.
    error: str | None = None
    #: Outcome to number of runs, since it is installed.
    outcomes: Mapping[str, int] = MappingProxyType({})
    #: The newest run that did not succeed since then; the keys of an audit record, the output cut to its tail.
    last_failure: Mapping[str, Any] | None = None


#: What the parts of a report can be; JSON gives no subclasses of these.
_TEXT, _MAPPING = frozenset({str, type(None)}), frozenset({dict, type(None)})
_VERSION, _COUNT = frozenset({str}), frozenset({int})


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
    return {report.node: report for report in reports(store)}


def reports(store: Store, nodes: Sequence[str] = ()) -> Iterator[NodeReport]:
    """Yield the report of every host that ever reported, in the order of their names, after one read of ``store``.

    A large fleet's reports are much larger decoded than they are in the store, so each is decoded when its turn comes.

    Args:
        nodes: read only the reports of these hosts, one by one; one that never reported is left out.

    Raises:
        ManifestError: one of ``nodes`` cannot be a host's name.
        StoreError: the store could not be read.
    """
    if nodes:
        found = {key: store.get(key) for key in (STATUS_PREFIX + check_node(node) for node in sorted(set(nodes)))}
        entries = {key: entry for key, entry in found.items() if entry}
    else:
        entries = store.read(STATUS_PREFIX)
    for key in list(entries):
        node = key[len(STATUS_PREFIX) :]
        yield decode_report(node, entries.pop(key).value)


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
        if type(content["error"]) not in _TEXT:
            raise TypeError
        return NodeReport(
            node,
            engine=str(content["engine"]),
            reported=_seconds(content["reported"]),
            valid_for=float(content["valid_for"]),
            error=content["error"],
            hooks={name: _hook(each) for name, each in content["hooks"].items()},
        )
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError):
        return NodeReport(node, unreadable="its report is no JSON document of a listener; look at what writes it")


def _seconds(moment: str) -> float:
    # A moment that UTC has no year for could not be shown.
    return datetime.fromisoformat(moment.replace("Z", "+00:00")).astimezone(timezone.utc).timestamp()


def _hook(content: Mapping[str, Any]) -> HookReport:
    get = content.get
    texts = manifest_sha, scheduled_sha, origin, installed, error = (
        get("manifest_sha"), get("scheduled_sha"), get("origin"), get("installed"), get("error")
    )  # fmt: skip
    versions, outcomes, last_failure = get("versions") or {}, get("outcomes") or {}, get("last_failure")
    if not (
        _TEXT.issuperset(map(type, texts))
        and _VERSION.issuperset(map(type, versions.values()))
        and _COUNT.issuperset(map(type, outcomes.values()))
        and type(last_failure) in _MAPPING
    ):
        raise TypeError
    return HookReport(manifest_sha, scheduled_sha, versions, origin, installed, error, outcomes, last_failure)
