#!/usr/bin/python
# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Install hooks on this host."""

from __future__ import annotations

DOCUMENTATION = r"""
module: p2_hook_install
short_description: Make a host have its hooks
version_added: 0.1.0
description:
  - Makes a host have the hooks that the store schedules, or one hook that a manifest describes.
  - A hook that came from the store is changed and removed with it. A hook that was installed from a manifest
    (O(state=present)) is I(local), stands in front of the scheduled one of the same event and id, and stays until it is
    removed or handed back. Scripts that people put into C(exec/) themselves run, and are never touched.
  - Artifacts are fetched, checked and unpacked aside. A hook switches to its new version by one rename, so
    that it is never missing and never half there. Of the versions before, the last one is kept.
  - Only one installation is at work on a host at a time; others wait.
  - Where others could change what is below O(root), so that M(p2fleet.hooks.p2_hook_run) will skip all hooks, a warning
    says so, and what to do.
  - Where a rollout (C(hooks-rollout/) in the store) includes this host, its manifest takes the place of the scheduled
    one. When the rollout is aborted, the host goes back to what is scheduled; a hook that is not scheduled is removed.
extends_documentation_fragment:
  - p2fleet.hooks.attributes
  - p2fleet.hooks.configuration
  - p2fleet.hooks.root
  - p2fleet.hooks.store
attributes:
  check_mode:
    support: partial
    details: Artifacts are not fetched, so what is wrong with one is not found.
  diff_mode:
    support: full
    details: Shows the manifests.
  platform:
    support: full
    platforms: linux
options:
  state:
    description:
      - V(scheduled) makes the host have what the store schedules.
      - V(present) installs the hook of O(manifest), whatever the store schedules.
      - V(absent) removes a local hook.
      - V(handed_back) puts the scheduled hook in the place of a local one. If none is scheduled, there is none
        afterwards.
    type: str
    choices: [scheduled, present, absent, handed_back]
    default: scheduled
  events:
    description:
      - Install, change and remove only the hooks of these events, with O(state=scheduled); V(global) stands for the
        hooks that run on all of them. Without it, all hooks.
    type: list
    elements: str
    choices:
      - global
      - preparer_init
      - before_install
      - after_install
      - after_auth_fail
      - before_launch
      - after_launch
      - before_uninstall
  event:
    description:
      - The event of the one hook that O(state=present), O(state=absent) and O(state=handed_back) are about.
        Without it, a global hook.
    type: str
    choices:
      - preparer_init
      - before_install
      - after_install
      - after_auth_fail
      - before_launch
      - after_launch
      - before_uninstall
  manifest:
    description:
      - The pod manifest of that hook, as a mapping, as YAML text, or as the path of a file on the host.
    type: raw
  id:
    description:
      - The id of that hook, where O(manifest) is not given.
    type: str
  allow_empty:
    description:
      - Believe a store in which no hook at all is scheduled, and remove all that were installed from it.
      - By default that is an error, because lost data looks the same, and so does a token that may not read
        C(hooks/), or a directory that is not mounted.
    type: bool
    default: false
  node:
    description:
      - The name of this host, by which rollouts choose it.
      - If it is not set, the value in the configuration file is used, and without one its host name.
    type: str
  max_unpacked_size:
    description:
      - No artifact may be larger than this, neither packed nor unpacked; bytes, or with a unit such as V(64M).
    type: bytes
    default: 256M
seealso:
  - module: p2fleet.hooks.p2_hook_schedule
  - module: p2fleet.hooks.p2_hook_run
author:
  - The p2fleet.hooks authors (@p2fleet)
"""

EXAMPLES = r"""
- name: Have the hooks that are scheduled
  p2fleet.hooks.p2_hook_install:

- name: Try a hook on this host only
  p2fleet.hooks.p2_hook_install:
    event: before_install
    manifest: "{{ ensure_user.manifest_path }}"
    state: present

- name: Have the scheduled version of it again
  p2fleet.hooks.p2_hook_install:
    event: before_install
    id: ensure_user
    state: handed_back
"""

RETURN = r"""
actions:
  description: What was done, or in check mode would be done, in this order.
  returned: always, unless nothing could be planned
  type: list
  elements: dict
  contains:
    action:
      description: One of V(install), V(upgrade), V(repair), V(hand_back) and V(remove).
      type: str
    event:
      description: The event of the hook, null for a global one.
      type: str
    id:
      description: The id of the hook.
      type: str
    origin:
      description: Where the hook comes from now, V(store) or V(local); null if it was removed.
      type: str
  sample:
    - {"action": "install", "event": "before_install", "id": "ensure_user", "origin": "store"}
overridden:
  description: Scheduled hooks that are not installed because a local one stands in front of them.
  returned: always, unless nothing could be planned
  type: list
  elements: str
  sample: []
in_rollout:
  description: Hooks of which this host is to have the manifest of a rollout, in place of what is scheduled.
  returned: always, unless nothing could be planned
  type: list
  elements: str
  sample: []
hook:
  description: What the host has of the one hook afterwards, or in check mode as it is; null where it has nothing.
  returned: with the states V(present), V(absent) and V(handed_back), unless nothing could be planned
  type: dict
  contains:
    id:
      description: The id of the hook.
      type: str
    manifest_sha:
      description: The SHA of the manifest that is installed.
      type: str
    versions:
      description: The version of each launchable.
      type: dict
    origin:
      description: V(store) or V(local).
      type: str
    installed:
      description: Since when, in UTC.
      type: str
  sample:
    id: ensure_user
    manifest_sha: e66309a3b4c1d09ea6d2bc9a1cd8a3d8ff8d9a6f0e1b2c3d4e5f60718293a4b5
    versions: {"ensure_user": "e2c755d211a2c9ac361c7e4ed167d5e30eea091b"}
    origin: local
    installed: "2026-01-31T12:00:00.000Z"
errors:
  description:
    - Why a hook could not be installed, by hook or key. The others are installed all the same, and then the task fails.
  returned: always, unless nothing could be planned
  type: dict
  sample: {}
"""

import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.p2fleet.hooks.plugins.module_utils.module import PartialFailure, run_module
from ansible_collections.p2fleet.hooks.plugins.module_utils.options import CONFIGURATION, NODE, ROOT, STORE
from ansible_collections.p2fleet.hooks.plugins.module_utils.p2hooks import disk, install, install_plan
from ansible_collections.p2fleet.hooks.plugins.module_utils.p2hooks.drift import read_host
from ansible_collections.p2fleet.hooks.plugins.module_utils.p2hooks.errors import ManifestError
from ansible_collections.p2fleet.hooks.plugins.module_utils.p2hooks.events import EVENTS
from ansible_collections.p2fleet.hooks.plugins.module_utils.p2hooks.hook_key import HookKey
from ansible_collections.p2fleet.hooks.plugins.module_utils.p2hooks.hook_options import hook_of
from ansible_collections.p2fleet.hooks.plugins.module_utils.p2hooks.layout import Layout
from ansible_collections.p2fleet.hooks.plugins.module_utils.p2hooks.node_status import own_node
from ansible_collections.p2fleet.hooks.plugins.module_utils.p2hooks.store.options import open_store

GLOBAL = "global"


def make_plan(params: dict[str, Any], layout: Layout) -> install_plan.InstallPlan:
    if params["state"] == "scheduled":
        for option in ("event", "manifest", "id"):
            if params[option] is not None:
                raise ManifestError(
                    f"{option} is given, which is for one hook; set state to present, absent or handed_back"
                )
        events = params["events"] and [None if event == GLOBAL else event for event in params["events"]]
        return install_plan.plan_scheduled(
            layout, open_store(params), node=own_node(params["node"]), events=events, allow_empty=params["allow_empty"]
        )
    key, manifest = hook_of(params)
    if params["state"] == "absent":
        return install_plan.plan_absent(layout, key)
    if params["state"] == "handed_back":
        return install_plan.plan_hand_back(
            layout, open_store(params), key, node=own_node(params["node"]), allow_empty=params["allow_empty"]
        )
    if manifest is None:
        raise ManifestError(f"{key}: has no manifest; give one, or another state")
    return install_plan.plan_present(layout, key, manifest)


def result_of(
    plan: install_plan.InstallPlan, actions: list[install_plan.Action], errors: dict[str, Any]
) -> dict[str, Any]:
    return {
        "changed": bool(actions),
        "actions": [
            {
                "action": action.kind,
                "event": action.key.event,
                "id": action.key.id,
                "origin": action.origin if action.manifest else None,
            }
            for action in actions
        ],
        "overridden": [str(key) for key in plan.overridden],
        "in_rollout": [str(key) for key in plan.in_rollout],
        "errors": {key: str(error) for key, error in errors.items()},
        "diff": [
            {
                "before_header": str(action.key),
                "after_header": f"{action.key} ({action.kind}, {action.origin})",
                "before": action.before,
                "after": action.manifest.text if action.manifest else "",
            }
            for action in actions
        ],
    }


def found_of(layout: Layout, key: HookKey) -> dict[str, Any] | None:
    with disk.errors_as_layout_errors("looking at what is installed"):
        found = read_host(layout, "", None, time.time()).hooks.get(str(key))
    names = ("manifest_sha", "versions", "origin", "installed")
    return {"id": key.id, **{name: getattr(found, name) for name in names}} if found else None


def body(module: AnsibleModule) -> dict[str, Any]:
    params = module.params
    layout = Layout(params["root"])
    if module.check_mode:
        plan = make_plan(params, layout)
        result = result_of(plan, plan.actions, plan.errors)
    else:
        with install.lock(layout):
            plan = make_plan(params, layout)
            store = open_store(params) if plan.needs_store else None
            done, errors = install.apply(layout, plan, store, max_unpacked_bytes=params["max_unpacked_size"])
        result = result_of(plan, done, errors)
    if params["state"] != "scheduled":
        result["hook"] = found_of(layout, hook_of(params)[0])
    for warning in plan.all_warnings:
        module.warn(warning)
    if result["errors"]:
        first, *others = result["errors"].values()
        more = f" (and {len(others)} more, see errors)" if others else ""
        raise PartialFailure(f"{first}{more}", result)
    return result


def main() -> None:
    run_module(
        body,
        argument_spec={
            "state": {
                "type": "str",
                "choices": ["scheduled", "present", "absent", "handed_back"],
                "default": "scheduled",
            },
            "events": {"type": "list", "elements": "str", "choices": [GLOBAL, *EVENTS]},
            "event": {"type": "str", "choices": list(EVENTS)},
            "manifest": {"type": "raw"},
            "id": {"type": "str"},
            "allow_empty": {"type": "bool", "default": False},
            "max_unpacked_size": {"type": "bytes", "default": "256M"},
            **CONFIGURATION,
            **NODE,
            **ROOT,
            **STORE,
        },
        mutually_exclusive=[("events", "event"), ("events", "manifest"), ("events", "id")],
        required_if=[
            ("state", "present", ["manifest"]),
            ("state", "absent", ["id", "manifest"], True),
            ("state", "handed_back", ["id", "manifest"], True),
        ],
        supports_check_mode=True,
    )


if __name__ == "__main__":
    main()
