# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a report on a fleet shows, as numbers and short lists, out of its hosts' audits and of what they tell the store.

However many hosts, hooks and runs there are, each list is bounded and says how many it leaves out, so that a page stays
one that people can read, and a browser can show.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from ..fleet import NodeReport
from ..host_audit import OUTCOMES, HostAudit, unsuccessful
from .failures import failures_of
from .lists import bounded, host_names, natural
from .runs import Bars, hooks_of
from .versions import Difference, differences_of, installed_versions, shown_difference, versions_that_ran

#: How many of each a page shows.
MAX_RANKED = 8
MAX_HOOKS = 40
MAX_FAILING_HOOKS = 25
MAX_DIFFERENCES = 40
MAX_HOSTS = 2000
MAX_TROUBLED_HOSTS = 12

#: A host is called what is the first of these that applies. On one that is failing, so large a share of runs is not a
#: success.
STATES = ("unread", "failing", "differs", "some", "fine", "idle")
_FAILING_SHARE = 0.1


def aggregate(
    audits: Iterable[HostAudit], reports: Mapping[str, NodeReport], *, since: datetime, now: datetime
) -> dict[str, Any]:
    """Return what a page shows of a fleet.

    Lists that may be long are bounded, ``{"shown": [...], "more": how many are left out}``.

    Args:
        audits: what ran since ``since``, one for each host.
        reports: what hosts say of themselves, by their own names; empty where they do not.
    """
    audits = sorted(audits, key=lambda audit: natural(audit.host))
    nodes = {audit.host: _node(audit, reports) for audit in audits}
    differences = list(differences_of(reports, now.timestamp()))
    hosts = _hosts(audits, nodes, reports, differences)
    bars = Bars(since, now)
    hooks = hooks_of(audits, bars)
    timeline = bars.timeline(audit.hours for host in audits for audit in host.hooks)
    outcomes = sum((hook["outcomes"] for hook in hooks), Counter[str]())
    failures = failures_of(audits, nodes, reports, since)
    failing = sorted((hook for hook in hooks if hook["failures"]), key=lambda hook: (-hook["failures"], hook["name"]))
    slow = sorted(
        (hook for hook in hooks if hook["median"] is not None), key=lambda hook: (-hook["median"], hook["name"])
    )
    return {
        "since": since,
        "now": now,
        "totals": {
            "hosts": len(hosts),
            "asked": len(audits),
            "read": sum(audit.error is None for audit in audits),
            "reports": len(reports),
            "hooks": len(hooks),
            "outcomes": {outcome: outcomes[outcome] for outcome in OUTCOMES if outcomes[outcome]},
            "runs": sum(outcomes.values()),
            "failures": unsuccessful(outcomes),
            "failing_hooks": len(failing),
            "failing_hosts": sum(host["failures"] > 0 for host in hosts),
            "differing_hosts": len({host for difference in differences for host in difference.hosts}),
            "states": Counter(host["state"] for host in hosts),
        },
        "timeline": timeline,
        "most_failing": bounded(failing, MAX_RANKED),
        "slowest": bounded(slow, MAX_RANKED),
        "failures": bounded(failures, MAX_FAILING_HOOKS),
        "differences": bounded([shown_difference(each) for each in differences], MAX_DIFFERENCES),
        "unread": _grouped_by_error(audits),
        "hosts": bounded(hosts, MAX_HOSTS),
        "troubled_hosts": bounded(
            sorted((host for host in hosts if host["failures"]), key=lambda host: -host["failures"]), MAX_TROUBLED_HOSTS
        ),
        "hooks": bounded(sorted(hooks, key=lambda hook: (-hook["failures"], -hook["runs"], hook["name"])), MAX_HOOKS),
        "versions": bounded(installed_versions(reports) if reports else versions_that_ran(audits), MAX_HOOKS),
    }


def _node(audit: HostAudit, reports: Mapping[str, NodeReport]) -> str:
    """Return the name under which a host reports, which the inventory may not know; else that of the inventory."""
    names = [audit.node or audit.host, audit.host, audit.host.partition(".")[0]]
    return next((name for name in names if name in reports), audit.host)


def _hosts(
    audits: Iterable[HostAudit],
    nodes: Mapping[str, str],
    reports: Mapping[str, NodeReport],
    differences: Iterable[Difference],
) -> list[dict[str, Any]]:
    """Return every host that was asked or reports, by name."""
    differ: Counter[str] = Counter(node for difference in differences for node in difference.hosts)
    hosts = []
    for audit in audits:
        outcomes = sum((hook.outcomes for hook in audit.hooks), Counter[str]())
        hosts.append(_host(audit, outcomes, differ[nodes[audit.host]]))
    for node in sorted(set(reports) - set(nodes.values()), key=natural):
        hosts.append(_host(HostAudit(node), Counter(), differ[node]))
    return hosts


def _host(audit: HostAudit, outcomes: Counter[str], differences: int) -> dict[str, Any]:
    runs, failures = sum(outcomes.values()), unsuccessful(outcomes)
    applies = {
        "unread": audit.error is not None,
        "failing": 0 < runs * _FAILING_SHARE <= failures,
        "differs": differences > 0,
        "some": failures > 0,
        "fine": runs > 0,
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
    """Return the hosts whose audits could not be read, by what was the matter."""
    hosts: dict[str, list[str]] = defaultdict(list)
    for audit in audits:
        if audit.error is not None:
            hosts[audit.error].append(audit.host)
    groups = [{"error": error, "count": len(names), "hosts": host_names(names)} for error, names in hosts.items()]
    return bounded(sorted(groups, key=lambda group: -group["count"]), MAX_DIFFERENCES)
