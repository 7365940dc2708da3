#!/usr/bin/python
# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Schedule hooks in the store."""

from __future__ import annotations

DOCUMENTATION = r"""
module: p2_hook_schedule
short_description: Schedule hooks for every host
version_added: 0.1.0
description:
  - Puts the manifests of hooks into the store, or removes them. Every host that installs from the store will have the
    hook.
  - A hook lies at the key C(hooks/EVENT/ID), or, if it is to run on every event, at C(hooks/ID).
  - The store is read once. All that has to change is written in transactions of up to 64 keys, each wholly or not at
    all, and a key that somebody else changed since it was read is never overwritten. The task fails then, and can be
    run again.
  - Where a rollout of a hook is under way that changes, there is a warning, since it cannot be promoted any more. See
    M(p2fleet.hooks.p2_hook_rollout).
extends_documentation_fragment:
  - p2fleet.hooks.attributes
  - p2fleet.hooks.configuration
  - p2fleet.hooks.store
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  platform:
    support: full
    platforms: posix
options:
  event:
    description:
      - The event that the hook runs on. Without it the hook is I(global) and runs on every event.
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
      - The pod manifest, as a mapping, as YAML text, or as the path of a file on the host where the module runs.
    type: raw
  id:
    description:
      - The id of the hook. It is needed only to remove a hook whose manifest is not at hand.
    type: str
  state:
    description:
      - Whether the hook is to be scheduled.
    type: str
    choices: [present, absent]
    default: present
  hooks:
    description:
      - Many hooks, in place of O(event), O(manifest) and O(id). One task for a thousand hooks takes little longer than
        for one.
    type: list
    elements: dict
    suboptions:
      event:
        description:
          - See O(event).
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
          - See O(manifest).
        type: raw
      id:
        description:
          - See O(id).
        type: str
      state:
        description:
          - See O(state), which is the default.
        type: str
        choices: [present, absent]
  exclusive:
    description:
      - Also remove every hook that is scheduled but not named here, whatever its event.
      - At least one hook must be present, so that an empty variable does not remove everything.
    type: bool
    default: false
  upload_artifacts:
    description:
      - Put artifacts that lie in files of the host where the module runs into the store as well, and schedule the
        manifest with that location. Small hooks need no artifact server then. Consul takes up to 512 KiB for each.
      - They stay there when the hook is removed, since a host may still have to fetch them.
    type: bool
    default: false
seealso:
  - module: p2fleet.hooks.p2_bin2pod
  - module: p2fleet.hooks.p2_hook_install
author:
  - The p2fleet.hooks authors (@p2fleet)
"""

EXAMPLES = r"""
- name: Schedule a hook that p2_bin2pod made
  p2fleet.hooks.p2_hook_schedule:
    event: before_install
    manifest: "{{ ensure_user.manifest_path }}"
    upload_artifacts: true

- name: Schedule exactly these hooks, and no others
  p2fleet.hooks.p2_hook_schedule:
    upload_artifacts: true
    exclusive: true
    hooks:
      - event: before_install
        manifest: "{{ ensure_user.manifest }}"
      - event: after_launch
        manifest: "{{ ensure_user.manifest }}"

- name: Take a hook off every host
  p2fleet.hooks.p2_hook_schedule:
    event: after_launch
    id: ensure_user
    state: absent
"""

RETURN = r"""
added:
  description: The keys that were not there before.
  returned: success
  type: list
  elements: str
  sample: ["hooks/before_install/ensure_user"]
updated:
  description: The keys that have another manifest now.
  returned: success
  type: list
  elements: str
  sample: []
removed:
  description: The keys that are gone.
  returned: success
  type: list
  elements: str
  sample: []
uploaded:
  description: The keys of the artifacts that were put into the store.
  returned: success
  type: list
  elements: str
  sample: []
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.p2fleet.hooks.plugins.module_utils.module import PartialFailure, run_module
from ansible_collections.p2fleet.hooks.plugins.module_utils.options import CONFIGURATION, STORE
from ansible_collections.p2fleet.hooks.plugins.module_utils.p2hooks import schedule
from ansible_collections.p2fleet.hooks.plugins.module_utils.p2hooks.errors import HookError, ManifestError
from ansible_collections.p2fleet.hooks.plugins.module_utils.p2hooks.events import EVENTS
from ansible_collections.p2fleet.hooks.plugins.module_utils.p2hooks.hook_key import HookKey
from ansible_collections.p2fleet.hooks.plugins.module_utils.p2hooks.hook_options import hook_of
from ansible_collections.p2fleet.hooks.plugins.module_utils.p2hooks.manifest import PodManifest
from ansible_collections.p2fleet.hooks.plugins.module_utils.p2hooks.store.options import open_store

HOOK: dict[str, dict[str, Any]] = {
    "event": {"type": "str", "choices": list(EVENTS)},
    "manifest": {"type": "raw"},
    "id": {"type": "str"},
    "state": {"type": "str", "choices": ["present", "absent"]},
}


def wanted_hooks(params: dict[str, Any]) -> dict[HookKey, PodManifest | None]:
    wanted: dict[HookKey, PodManifest | None] = {}
    for option in [params] if params["hooks"] is None else params["hooks"]:
        key, manifest = hook_of(option)
        is_present = (option["state"] or params["state"]) == "present"
        if key in wanted:
            raise ManifestError(f"{key}: is named twice in hooks; remove one")
        if is_present and manifest is None:
            raise ManifestError(f"{key}: has no manifest; give one, or set state to absent")
        wanted[key] = manifest if is_present else None
    return wanted


def body(module: AnsibleModule) -> dict[str, Any]:
    params = module.params
    wanted = wanted_hooks(params)
    store = open_store(params, create=any(wanted.values()))
    plan = schedule.plan(
        store,
        wanted,
        exclusive=params["exclusive"],
        upload_artifacts=params["upload_artifacts"],
        check=module.check_mode,
    )
    for warning in plan.warnings:
        module.warn(warning)
    if params["store"] == "consul" and not params["upload_artifacts"]:
        for key, manifest in wanted.items():
            if manifest and any(launchable.location.startswith("file:") for launchable in manifest.launchables):
                module.warn(
                    f"{key}: its artifact is a file, which every host must have at the same path; "
                    "set upload_artifacts, or give p2_bin2pod a location that hosts can fetch"
                )
    if module.check_mode:
        return result_of(plan, {*plan.before, *plan.after, *plan.uploads})
    try:
        schedule.apply(store, plan)
    except HookError as error:
        raise PartialFailure(str(error), result_of(plan, plan.written)) from error
    return result_of(plan, plan.written)


def result_of(plan: schedule.SchedulePlan, written: set[str]) -> dict[str, Any]:
    before = {key: text for key, text in plan.before.items() if key in written}
    after = {key: text for key, text in plan.after.items() if key in written}
    return {
        "changed": bool(written),
        "added": sorted(after.keys() - before.keys()),
        "updated": sorted(after.keys() & before.keys()),
        "removed": sorted(before.keys() - after.keys()),
        "uploaded": sorted(plan.uploads.keys() & written),
        "diff": [
            {"before_header": key, "after_header": key, "before": before.get(key, ""), "after": after.get(key, "")}
            for key in sorted(before.keys() | after.keys())
        ],
    }


def main() -> None:
    run_module(
        body,
        argument_spec={
            **HOOK,
            "state": {**HOOK["state"], "default": "present"},
            "hooks": {"type": "list", "elements": "dict", "options": HOOK},
            "exclusive": {"type": "bool", "default": False},
            "upload_artifacts": {"type": "bool", "default": False},
            **CONFIGURATION,
            **STORE,
        },
        mutually_exclusive=[("hooks", "event"), ("hooks", "manifest"), ("hooks", "id")],
        supports_check_mode=True,
    )


if __name__ == "__main__":
    main()
