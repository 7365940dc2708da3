#!/usr/bin/python
# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the hooks of an event."""

from __future__ import annotations

DOCUMENTATION = r"""
module: p2_hook_run
short_description: Run the hooks of an event
version_added: 0.1.0
description:
  - Fires an event for a pod. The global hooks and those of the event run one after the other, in order of their names.
  - A hook that fails, times out or cannot be executed changes nothing for the caller, but for a warning. The only
    exception are hooks named in O(required).
  - A hook that another user could have changed is not executed.
  - Every run of a hook is recorded in O(audit_log), and in O(audit_database) if that is given.
  - Where no hooks are installed, nothing runs, and that is no error. If O(root) does not even exist, and is not the
    default one, a warning says so, since it may be mistyped.
extends_documentation_fragment:
  - p2fleet.hooks.attributes
  - p2fleet.hooks.audit
  - p2fleet.hooks.configuration
  - p2fleet.hooks.root
  - p2fleet.hooks.run
attributes:
  check_mode:
    support: full
    details: Lists what would run.
  diff_mode:
    support: none
  platform:
    support: full
    platforms: linux
options:
  event:
    description:
      - The event that has come.
    type: str
    required: true
    choices:
      - preparer_init
      - before_install
      - after_install
      - after_auth_fail
      - before_launch
      - after_launch
      - before_uninstall
  pod_id:
    description:
      - The id of the pod on whose behalf the event fires. Hooks see it as E(POD_ID) and E(HOOKED_POD_ID).
    type: str
    required: true
  pod_home:
    description:
      - The home of that pod; by default the directory of that name below O(pod_root).
    type: path
  pod_manifest:
    description:
      - The manifest of the pod that the event is about, as a mapping, as YAML text, or as the path of a file on the
        host. Hooks find it in the file that E(HOOKED_POD_MANIFEST) names. By default the C(current_manifest.yaml) in
        the pod's home, if there is one.
    type: raw
  required:
    description:
      - Hooks that have to succeed, by id, or by the name that they have in C(exec/).
      - All other hooks run, and then the task fails if one of these failed, timed out, could not be executed, or is
        missing.
    type: list
    elements: str
    default: []
  fail_fast:
    description:
      - Whether to stop at the first hook of O(required) that does not succeed, and before the first one if one of them
        is missing. The hooks that come after it are skipped.
      - Without O(required) it does nothing, and a warning says so.
    type: bool
    default: false
seealso:
  - module: p2fleet.hooks.p2_hook_audit_info
  - module: p2fleet.hooks.p2_hook_install
author:
  - The p2fleet.hooks authors (@p2fleet)
"""

EXAMPLES = r"""
- name: Run the hooks that come before an installation
  p2fleet.hooks.p2_hook_run:
    event: before_install
    pod_id: hello

- name: Do not go on unless the user is there
  p2fleet.hooks.p2_hook_run:
    event: before_install
    pod_id: hello
    required:
      - ensure_user
    term_after: 10
    kill_after: 20
"""

RETURN = r"""
run_id:
  description: What the records of this run have in common in the audit.
  returned: when not in check mode
  type: str
  sample: 72106d9141f0d7e5
hooks:
  description:
    - One dictionary for each hook, in the order in which they ran.
    - In check mode, they hold no more than RV(hooks[].hook), RV(hooks[].path) and, where the hook could not run,
      RV(hooks[].reason).
  returned: always
  type: list
  elements: dict
  contains:
    hook:
      description: The name of the hook in C(exec/).
      type: str
    path:
      description: The path that would be run, in check mode.
      type: str
    hook_id:
      description: The id of the hook; null for a script that people put there.
      type: str
    outcome:
      description:
        - One of V(succeeded), V(failed), V(timed_out), V(skipped), and V(interrupted), if the process that ran the hook
          was killed.
      type: str
    reason:
      description: Why the hook was skipped, or what happened when it timed out; otherwise null.
      type: str
    exit_code:
      description: The exit code, null if there is none.
      type: int
    signal:
      description: The name of the signal that ended the hook, null if none did.
      type: str
    start:
      description: When it started, in UTC.
      type: str
    duration:
      description: How long it took, in seconds.
      type: float
    output:
      description: The last 8 KiB of what the hook wrote, with what is no UTF-8 replaced.
      type: str
    output_truncated:
      description: Whether it wrote more than that.
      type: bool
    output_held_open:
      description: Whether it left something behind that still held its output open.
      type: bool
    manifest_sha:
      description: The SHA of the manifest that the hook was installed from.
      type: str
    artifact_version:
      description: The version of the artifact.
      type: str
    run_id:
      description: The same as RV(run_id).
      type: str
    host:
      description: The name of this host, as in O(node).
      type: str
    event:
      description: The event that came.
      type: str
    pod_id:
      description: The id of the pod on whose behalf it came.
      type: str
    pod_unique_key:
      description: The UUID that the name of the pod's home ends in; empty for most pods.
      type: str
  sample:
    - {"hook": "ensure_user_ensure_user_launch", "outcome": "succeeded", "exit_code": 0, "duration": 0.0121}
required_failures:
  description: One sentence for each hook of O(required) that did not succeed.
  returned: when not in check mode
  type: list
  elements: str
  sample: []
"""

import os
from collections.abc import Mapping
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.p2fleet.hooks.plugins.module_utils.module import PartialFailure, run_module
from ansible_collections.p2fleet.hooks.plugins.module_utils.options import AUDIT, CONFIGURATION, ROOT, RUN
from ansible_collections.p2fleet.hooks.plugins.module_utils.p2hooks import strict_yaml
from ansible_collections.p2fleet.hooks.plugins.module_utils.p2hooks.audit import Audit
from ansible_collections.p2fleet.hooks.plugins.module_utils.p2hooks.errors import shown
from ansible_collections.p2fleet.hooks.plugins.module_utils.p2hooks.event_hooks import missing_root, would_run
from ansible_collections.p2fleet.hooks.plugins.module_utils.p2hooks.events import EVENTS
from ansible_collections.p2fleet.hooks.plugins.module_utils.p2hooks.hook_options import yaml_of
from ansible_collections.p2fleet.hooks.plugins.module_utils.p2hooks.hooked_pod import HookedPod
from ansible_collections.p2fleet.hooks.plugins.module_utils.p2hooks.layout import Layout
from ansible_collections.p2fleet.hooks.plugins.module_utils.p2hooks.outcomes import SKIPPED, SUCCEEDED
from ansible_collections.p2fleet.hooks.plugins.module_utils.p2hooks.run import describe, required_failures, run
from ansible_collections.p2fleet.hooks.plugins.module_utils.p2hooks.time_limits import TimeLimits


def pod_manifest(option: Any) -> bytes | None:
    if option is None:
        return None
    if isinstance(option, Mapping):
        return strict_yaml.dump(option).encode()
    return yaml_of(option, "pod_manifest")[0]


def body(module: AnsibleModule) -> dict[str, Any]:
    params = module.params
    layout = Layout(params["root"])
    pod = HookedPod(
        params["pod_id"],
        home=params["pod_home"],
        pod_root=params["pod_root"],
        manifest=pod_manifest(params["pod_manifest"]),
    )
    limits = TimeLimits(params["term_after"], params["kill_after"])
    if module.check_mode:
        hooks = would_run(layout, params["event"])
        result = {"changed": any(hook["reason"] is None for hook in hooks), "hooks": hooks}
        missing = None if hooks else missing_root(layout)
        if missing:
            module.warn(missing)
        failures = list(required_failures(hooks, params["required"]))
        if failures:
            raise PartialFailure("; ".join(failures), {**result, "required_failures": failures})
        return result
    audit = Audit(params["audit_log"], params["audit_database"])
    report = run(
        layout,
        params["event"],
        pod,
        audit,
        node=params["node"] or os.uname().nodename,
        required=params["required"],
        fail_fast=params["fail_fast"],
        limits=limits,
    )
    audit.close()
    for warning in report.warnings:
        module.warn(warning)
    for record in report.hooks:
        if record["outcome"] != SUCCEEDED:
            # Ansible shows equal warnings of several hosts only once.
            where = f"{record['host']}: {record['event']} for {record['pod_id']}"
            module.warn(f"{where}: hook {shown(record['hook'])} {describe(record)}")
    result = {
        "changed": any(record["outcome"] != SKIPPED for record in report.hooks),
        "run_id": report.run_id,
        "hooks": report.hooks,
        "required_failures": report.required_failures,
    }
    if report.required_failures:
        raise PartialFailure("; ".join(report.required_failures), result)
    return result


def main() -> None:
    run_module(
        body,
        argument_spec={
            "event": {"type": "str", "required": True, "choices": list(EVENTS)},
            "pod_id": {"type": "str", "required": True},
            "pod_home": {"type": "path"},
            "pod_manifest": {"type": "raw"},
            "required": {"type": "list", "elements": "str", "default": []},
            "fail_fast": {"type": "bool", "default": False},
            **AUDIT,
            **CONFIGURATION,
            **ROOT,
            **RUN,
        },
        supports_check_mode=True,
    )


if __name__ == "__main__":
    main()
