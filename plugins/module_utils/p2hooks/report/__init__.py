# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a report on a fleet shows, as numbers and short lists, out of its hosts' audits and of what the store has.

However many hosts, hooks and runs there are, each list is bounded and says how many it leaves out, so that a page stays
one that people can read, and a browser can show.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import Any

from ..host_audit import NO_AUDIT, OUTCOMES, UNREACHABLE, UNREAD, HostAudit, text, unsuccessful
from .differences import differences_of, differing_hosts, shown_difference
from .failures import failures_of
from .lists import bounded, host_names, natural
from .rollouts import rollouts_of
from .runs import Bars, hooks_of
from .versions import InUse, scheduled_versions, versions_that_ran

#: How many of each a page shows.
MAX_RANKED = 8
MAX_HOOKS = 40
MAX_FAILING_HOOKS = 25
MAX_ROLLOUTS = 20
MAX_DIFFERENCES = 40
MAX_HOSTS = 2000
MAX_TROUBLED_HOSTS = 12

#: A host is called what is the first of these that applies. On one that is failing, so large a share of runs is not a
#: success.
STATES = (UNREACHABLE, UNREAD, NO_AUDIT, "failing", "differs", "some", "fine", "unasked", "idle")
_FAILING_SHARE = 0.1


def aggregate(
    audits: Iterable[HostAudit], fleet: Mapping[str, Any] | None, *, since: datetime, now: datetime
) -> dict[str, Any]:
    """Return what a page shows of a fleet.

    Lists that may be long are bounded, ``{"shown": [...], "more": how many are left out}``.

    Args:
        audits: what ran since ``since``, one for each host.
        fleet: what ``p2_hook_info`` returns of all hosts, without a limit; ``failed`` and ``msg`` where it failed; None
            where the store was not asked.
    """
    store_error = None
    if fleet and fleet.get("failed"):
        store_error, fleet = text(fleet.get("msg")) or "it was not said why", None
    audits = sorted(audits, key=lambda audit: natural(audit.host))
    differing = differing_hosts(fleet) if fleet else Counter[str]()
    failing_nodes = {each["node"] for hook in fleet["hooks"] for each in hook["failures"]} if fleet else set()
    nodes = {audit.host: _node(audit, differing.keys() | failing_nodes) for audit in audits}
    hosts = _hosts(audits, nodes, differing, failing_nodes)
    rollouts = rollouts_of(fleet) if fleet else []
    bars = Bars(since, now)
    in_use = InUse(fleet, audits)
    hooks = hooks_of(audits, bars, in_use)
    timeline = bars.timeline(audit.hours for host in audits for audit in host.hooks)
    outcomes = sum((hook["outcomes"] for hook in hooks), Counter[str]())
    failures = failures_of(audits, nodes, fleet, since, in_use)
    failing = sorted((hook for hook in hooks if hook["failures"]), key=lambda hook: (-hook["failures"], hook["name"]))
    slow = sorted(
        (hook for hook in hooks if hook["median"] is not None), key=lambda hook: (-hook["median"], hook["name"])
    )
    return {
        "since": since,
        "now": now,
        "store_error": store_error,
        "totals": {
            "hosts": len(hosts),
            "asked": len(audits),
            "read": sum(audit.error is None for audit in audits),
            "reports": fleet["summary"]["nodes"] if fleet else None,
            "rollouts": len(rollouts),
            "broken_rollouts": sum(rollout["broken"] is not None for rollout in rollouts),
            "hooks": len(hooks),
            "outcomes": {outcome: outcomes[outcome] for outcome in OUTCOMES if outcomes[outcome]},
            "runs": sum(outcomes.values()),
            "failures": unsuccessful(outcomes),
            "past_failures": sum(hook["past_failures"] for hook in hooks),
            "failing_hooks": len(failing),
            "failing_hosts": sum(host["failures"] > 0 for host in hosts),
            "differing_hosts": len(differing),
            "states": Counter(host["state"] for host in hosts),
        },
        "timeline": timeline,
        "most_failing": bounded(failing, MAX_RANKED),
        "slowest": bounded(slow, MAX_RANKED),
        "failures": bounded(failures, MAX_FAILING_HOOKS),
        "rollouts": bounded(rollouts, MAX_ROLLOUTS),
        "differences": bounded(
            [shown_difference(each) for each in differences_of(fleet)] if fleet else [], MAX_DIFFERENCES
        ),
        "unread": _grouped_by_error(audits),
        "hosts": bounded(hosts, MAX_HOSTS),
        "troubled_hosts": bounded(
            sorted((host for host in hosts if host["failures"]), key=lambda host: -host["failures"]), MAX_TROUBLED_HOSTS
        ),
        "hooks": bounded(sorted(hooks, key=lambda hook: (-hook["failures"], -hook["runs"], hook["name"])), MAX_HOOKS),
        "versions": bounded(scheduled_versions(fleet) if fleet else versions_that_ran(audits), MAX_HOOKS),
    }


def _node(audit: HostAudit, reported: Collection[str]) -> str:
    """Return the name under which a host has reported, which the inventory may not know; else that of the inventory."""
    names = [audit.node or audit.host, audit.host, audit.host.partition(".")[0]]
    return next((name for name in names if name in reported), audit.host)


def _hosts(
    audits: Iterable[HostAudit], nodes: Mapping[str, str], differing: Counter[str], failing_nodes: Collection[str]
) -> list[dict[str, Any]]:
    """Return every host that was asked, by name, and those that were not, and differ or failed as the store says."""
    hosts = []
    for audit in audits:
        outcomes = sum((hook.outcomes for hook in audit.hooks), Counter[str]())
        hosts.append(_host(audit, outcomes, differing[nodes[audit.host]]))
    for node in sorted({*differing, *failing_nodes} - set(nodes.values()), key=natural):
        hosts.append(_host(HostAudit(node), Counter(), differing[node], is_asked=False))
    return hosts


def _host(audit: HostAudit, outcomes: Counter[str], differences: int, *, is_asked: bool = True) -> dict[str, Any]:
    runs, failures = sum(outcomes.values()), unsuccessful(outcomes)
    applies = {
        **{kind: audit.kind == kind for kind in (UNREACHABLE, UNREAD, NO_AUDIT)},
        "failing": 0 < runs * _FAILING_SHARE <= failures,
        "differs": differences > 0,
        "some": failures > 0,
        "fine": runs > 0,
        "unasked": not is_asked,
        "idle": True,
    }
    return {
        "name": audit.host,
        "state": next(state for state in STATES if applies[state]),
        "runs": runs,
        "failures": failures,
        "differences": differences,
    }


def _grouped_by_error(audits: Iterable[HostAudit]) -> dict[str, Any]:
    """Return the hosts that have no audit to show, by what was the matter."""
    hosts: dict[tuple[str | None, str], list[str]] = defaultdict(list)
    for audit in audits:
        if audit.error is not None:
            hosts[audit.kind, audit.error].append(audit.host)
    groups: list[dict[str, Any]] = [
        {"kind": kind, "error": error, "count": len(names), "hosts": host_names(names)}
        for (kind, error), names in hosts.items()
    ]
    return bounded(sorted(groups, key=lambda group: -group["count"]), MAX_DIFFERENCES)
