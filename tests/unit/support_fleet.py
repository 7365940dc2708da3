# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A store with hooks, rollouts and reports of hosts, for tests."""

from __future__ import annotations

import json
from typing import Any

from p2hooks import VERSION
from p2hooks.hook_key import HookKey
from p2hooks.manifest import PodManifest
from p2hooks.node_status import moment
from p2hooks.rollout_record import Cohort, Limits, Rollout
from support_host import Host

#: When everybody reports, and looks, in seconds since 1970.
NOW = 1_800_000_000.0


def installed(pod: PodManifest, **more: Any) -> dict[str, Any]:
    """Return what a host reports of a hook that it has from the store."""
    versions = {each.id: each.version for each in pod.launchables}
    return {"manifest_sha": pod.sha, "versions": versions, "origin": "store", "error": None, "outcomes": {}, **more}


def report(host: Host, node: str, hooks: dict[str, Any], **more: Any) -> None:
    """Have the host ``node`` report ``hooks``; ``more`` are keys of the report."""
    content = {
        "schema": 1,
        "node": node,
        "engine": VERSION,
        "reported": moment(NOW),
        "valid_for": 1200,
        "error": None,
        "hooks": hooks,
        **more,
    }
    host.put(f"hooks-status/{node}", json.dumps(content).encode())


def roll_out(host: Host, key: HookKey, pod: PodManifest, *nodes: str) -> None:
    """Have a rollout of ``pod`` under way on ``nodes``."""
    when = moment(NOW)
    rollout = Rollout(key, pod, Cohort(nodes), Limits(), None, "alice", when, when)
    host.put(rollout.store_key, rollout.encode())
