# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which versions of hooks are scheduled, and which ran last."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from ..console import abbreviated
from ..drift import DRIFT, INSTALLED, LOCAL, UNKNOWN
from ..host_audit import HostAudit, Key, text
from .lists import bounded, host_names

#: How many versions of a hook are named at most.
MAX_VERSIONS = 4

#: The states of a hook on a host, in the order in which charts show them.
STATES = (INSTALLED, LOCAL, UNKNOWN, *DRIFT)


def hook_called(hook: Mapping[str, Any]) -> str:
    """Return how the page calls one of ``hooks`` of what ``p2_hook_info`` returns."""
    return text(f"{hook['event']}/{hook['id']}" if hook["event"] else hook["id"])


def versions(by_launchable: Mapping[str, str]) -> str:
    """Return the versions of the launchables of a hook, as people tell them apart."""
    return text(", ".join(abbreviated(version) for dummy, version in sorted(by_launchable.items())))


def scheduled_versions(fleet: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return what is scheduled and in rollout of each hook, and how many hosts are in which state of it.

    Args:
        fleet: what ``p2_hook_info`` returns.
    """
    found = [_scheduled(hook) for hook in fleet["hooks"]]
    return sorted(found, key=lambda hook: (-hook["differing"], -hook["hosts"], hook["name"]))


def _scheduled(hook: Mapping[str, Any]) -> dict[str, Any]:
    states = {state: hook["hosts"][state] for state in STATES if hook["hosts"].get(state)}
    return {
        "name": hook_called(hook),
        "hosts": sum(states.values()),
        "differing": sum(states.get(state, 0) for state in DRIFT),
        "states": states,
        **{kind: _manifest(hook[kind]) if hook[kind] else None for kind in ("scheduled", "rollout")},
        "is_readable": not hook["error"],
    }


def _manifest(content: Mapping[str, Any]) -> dict[str, str]:
    return {"version": versions(content["versions"]), "manifest": abbreviated(content["manifest_sha"])}


class InUse:
    """Which manifests are scheduled, in rollout, or on a host.

    Args:
        fleet: what ``p2_hook_info`` returns, without a limit; None where the store was not asked.
    """

    def __init__(self, fleet: Mapping[str, Any] | None, audits: Collection[HostAudit]) -> None:
        #: By event, None for a global hook, and id; those of a hook of which that cannot be told are None.
        self._manifests: dict[tuple[str | None, str | None], set[str | None] | None] = {}
        self._is_known = bool(fleet and fleet["summary"]["nodes"])
        for hook in fleet["hooks"] if fleet else ():
            of_hook = (hook["scheduled"], hook["rollout"], *hook["differences"])
            manifests = {each["manifest_sha"] for each in of_hook if each}
            # Of local hooks that the store does not schedule it is not told which manifest they have.
            is_known = not hook["error"] and not hook["hosts"].get(LOCAL)
            self._manifests[hook["event"], hook["id"]] = manifests if is_known else None
        # Hosts that do not report have what ran there last, as far as anybody knows.
        is_reported = fleet is not None and _count_known(fleet) >= len(audits)
        self._ran_last = {each.manifest_sha for host in audits for each in host.hooks if not is_reported}

    def is_past(self, key: Key, manifest_sha: str | None) -> bool:
        """Tell whether a version of a hook that ran is nowhere any more."""
        event, dummy, hook_id = key
        if not self._is_known or manifest_sha is None or manifest_sha in self._ran_last:
            return False
        found = [self._manifests.get((each, hook_id), set()) for each in (event, None)]
        return all(manifests is not None and manifest_sha not in manifests for manifests in found)


def _count_known(fleet: Mapping[str, Any]) -> int:
    """Return of how many hosts it is known what they have."""
    return int(fleet["summary"]["nodes"]) - int(fleet["summary"]["unreadable"])


def versions_that_ran(audits: Iterable[HostAudit]) -> list[dict[str, Any]]:
    """Return the versions of each hook that ran last, where the store is not asked."""
    found: dict[str, dict[tuple[str, str | None], list[str]]] = defaultdict(lambda: defaultdict(list))
    for host in audits:
        for audit in host.hooks:
            found[audit.name][abbreviated(audit.version or ""), audit.manifest_sha].append(host.host)
    hooks = [_versions(name, ran) for name, ran in found.items()]
    return sorted(hooks, key=lambda hook: (-len(found[hook["name"]]), hook["name"]))


def _versions(name: str, ran: Mapping[tuple[str, str | None], list[str]]) -> dict[str, Any]:
    shown: list[dict[str, Any]] = [
        {"version": version, "manifest": sha and abbreviated(sha), "count": len(hosts), "hosts": host_names(hosts)}
        for (version, sha), hosts in ran.items()
    ]
    shown.sort(key=lambda version: (-version["count"], version["version"], str(version["manifest"])))
    return {"name": name, "hosts": sum(map(len, ran.values())), "versions": bounded(shown, MAX_VERSIONS)}
