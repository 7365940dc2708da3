# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which hosts need attention, and what for: the groups and variables of hosts in an inventory, as plain data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from .drift import DRIFT, FAILED, FleetWanted, failed_runs
from .engine_home import is_older
from .events import EVENTS
from .fleet import NodeReport
from .node_status import moment

HOOK_FAILED = "hook_failed"
HOOK_DRIFTED = "hook_drifted"
LISTENER_STALE = "listener_stale"
LISTENER_ERROR = "listener_error"
ENGINE_OUTDATED = "engine_outdated"
REPORT_UNREADABLE = "report_unreadable"
IN_ROLLOUT = "in_rollout"

#: The groups that there are even if they are empty, so that no play that names one has to fear that it is missing.
GROUPS = (
    HOOK_FAILED,
    *(f"{HOOK_FAILED}_{event}" for event in (*EVENTS, "global")),
    HOOK_DRIFTED,
    LISTENER_STALE,
    LISTENER_ERROR,
    ENGINE_OUTDATED,
    REPORT_UNREADABLE,
    IN_ROLLOUT,
)


def attention(wanted: FleetWanted, reports: Iterable[NodeReport], now: float) -> dict[str, dict[str, Any]]:
    """Return, for each host that has reported, the names of its ``groups``, and its ``variables``.

    docs/fleet.md describes both. A name of a group that holds the id of a hook need not be a valid one for Ansible.

    Args:
        now: seconds since 1970.
    """
    return {report.node: _of_node(wanted, report, now) for report in reports}


def _of_node(wanted: FleetWanted, report: NodeReport, now: float) -> dict[str, Any]:
    states: Counter[str] = Counter()
    drift: dict[str, str] = {}
    failures: dict[str, dict[str, Any]] = {}
    for name, state, found, _dummy in wanted.compare(report):
        states[state] += 1
        if state in DRIFT:
            drift[name] = state
        outcomes = failed_runs(found)
        if outcomes or state == FAILED:
            failures[name] = {"error": found.error, "outcomes": outcomes}
    rollouts = [str(key) for key, rollout in wanted.rollouts.items() if rollout.cohort.includes(report.node, key)]
    is_outdated = report.engine is not None and is_older(report.engine)
    belongs = {
        HOOK_FAILED: failures,
        HOOK_DRIFTED: drift,
        LISTENER_STALE: report.is_stale(now),
        LISTENER_ERROR: report.error,
        ENGINE_OUTDATED: is_outdated,
        REPORT_UNREADABLE: report.unreadable,
        IN_ROLLOUT: rollouts,
    }
    groups = {group for group, reason in belongs.items() if reason}
    groups.update(f"{HOOK_FAILED}_{name.rpartition('/')[0] or 'global'}" for name in failures)
    groups.update(f"{IN_ROLLOUT}_{name}" for name in rollouts)
    return {
        "groups": sorted(groups),
        "variables": {
            "p2_engine": report.engine,
            "p2_reported": None if report.unreadable else moment(report.reported),
            "p2_error": report.unreadable or report.error,
            "p2_hooks": dict(states),
            "p2_drift": drift,
            "p2_failures": failures,
            "p2_rollouts": rollouts,
        },
    }
