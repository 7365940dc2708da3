#!/usr/bin/python
# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bring a new version of a hook to some hosts first."""

from __future__ import annotations

DOCUMENTATION = r"""
module: p2_hook_rollout
short_description: Bring a new version of a hook to a few hosts first
version_added: 0.1.0
description:
  - A scheduled hook is the same on all hosts. A rollout has a I(cohort) of them take another manifest in its place, and
    watches how it does there, by what these hosts report to the store. When it did well, more hosts take it, and then
    all; when it did not, the rollout is aborted, and the hosts return to what is scheduled.
  - Each step is one transaction of the store. Of two people who steer the same hook at once, one wins, and the task of
    the other fails without having changed anything.
  - All of it is in the store, so a playbook that was interrupted may be run again from its beginning. What was done
    already is no change then, and the task goes on waiting.
  - It talks to the store alone, so run it once, from anywhere. The hosts need the listener, which the role
    P(p2fleet.hooks.hook_runner#role) runs, or install now and then by M(p2fleet.hooks.p2_hook_install).
extends_documentation_fragment:
  - p2fleet.hooks.attributes
  - p2fleet.hooks.configuration
  - p2fleet.hooks.store
attributes:
  check_mode:
    support: full
    details: It does not wait.
  diff_mode:
    support: full
  platform:
    support: full
    platforms: posix
options:
  state:
    description:
      - V(started) has the cohort of O(nodes) and O(percent) take O(manifest). Where that is under way already, for
        these hosts or more, or where it is scheduled for all, nothing changes. It fails where another rollout of this
        hook is under way.
      - Without O(nodes) and O(percent), V(started) has the one host take it that has the lowest place, see O(percent),
        of those that are not away. Where O(manifest) is under way already, nothing changes then, whoever takes it.
      - V(widened) has O(nodes) and O(percent) take it as well. Nobody who takes it already is left out, so a smaller
        share is no change. Where O(manifest) is scheduled already, nothing changes. Where
        its limits are broken by now no host is added, which aborts it where this waits, and is a warning otherwise.
        There is a warning where it was not watched long enough, or did not run often enough.
      - V(promoted) schedules it for all hosts, and ends the rollout. It fails where something else was scheduled
        since the rollout was started, and where its limits are broken by now. Where O(manifest) is scheduled already,
        nothing changes. What goes wrong from then on aborts nothing, V(rolled_back) is the way back.
        There is a warning where it was not watched long enough, or did not run often enough.
      - V(aborted) ends the rollout, and its hosts return to what is scheduled. Where none is under way, nothing
        changes, and there is a warning.
      - V(rolled_back) schedules what was scheduled before, and keeps what is now, so that a second time returns. Each
        time it is a change, unless O(manifest_sha) is given. It fails where a rollout is under way.
    type: str
    required: true
    choices: [started, widened, promoted, aborted, rolled_back]
  event:
    description:
      - The event that the hook runs on. Without it the hook is I(global) and runs on every event. Where a rollout of a
        new one is started, though the same id is scheduled on an event, there is a warning.
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
      - The pod manifest that is rolled out, as a mapping, as YAML text, or as the path of a file on the host where the
        module runs.
      - O(state=started) needs it. The states V(widened), V(promoted) and V(aborted) fail where the rollout of another
        one is under way. Give it to each of these steps, and all of them can be run again from the first one.
      - O(state=rolled_back) takes O(id) alone.
    type: raw
  id:
    description:
      - The id of the hook, where O(manifest) is not given.
    type: str
  manifest_sha:
    description:
      - The SHA of the manifest that is to go, for O(state=rolled_back), or how it begins, in 12 digits or more. Where
        it was rolled back before, nothing changes, so the task can be run again. One that is neither scheduled nor was
        it before is refused.
      - RV(p2fleet.hooks.p2_hook_info#module:hooks) has that of what is scheduled.
    type: str
  upload_artifacts:
    description:
      - Put artifacts that lie in files of the host where the module runs into the store as well, as
        M(p2fleet.hooks.p2_hook_schedule) does. If it is set, set it for each step that is given O(manifest).
    type: bool
    default: false
  nodes:
    description:
      - The hosts of the cohort, by the names that they report to the store.
    type: list
    elements: str
  percent:
    description:
      - The share of the hosts that belong to the cohort as well, a number from 0 to 100, such as V(5) or V(5%).
      - Which hosts that are depends on the hook and on their names alone. Each has a place from 0 to below 100, and
        belongs to it where that is below the share. So of many hosts it is about that share, but of few it may be none
        or all. RV(summary) says how many it is; to have a certain number, give O(nodes).
    type: raw
  failed_hosts:
    description:
      - On how many hosts it may fail, because it cannot be installed there, or by the outcome of one run.
      - Like each of the limits, it stays as it is in a rollout under way that is started again or widened without it.
        At first it is V(0).
    type: int
  failed_runs:
    description:
      - How many runs may have one of O(outcomes). A host with one such run is one of O(failed_hosts) as well.
      - At first it is V(0).
    type: int
  outcomes:
    description:
      - The outcomes that count against the new version. Where V(timed_out) is one of them, V(terminated) and V(killed),
        which come after it, do not count once more. At first all of them are.
    type: list
    elements: str
    choices: [failed, timed_out, terminated, killed, skipped, interrupted]
  watch_for:
    description:
      - For how many seconds it is watched once all of the cohort have it. At first it is V(60).
    type: float
  min_runs:
    description:
      - How often it has to have run on the hosts that the newest step added before a wait ends well, so that a version
        that never ran there does not pass. While there are fewer runs, the wait goes on until O(wait_timeout) is over.
      - What was skipped is no run. At first it is V(0).
    type: int
  started_by:
    description:
      - Who others should ask about this rollout, for O(state=started). Without it, the user and the host that the
        module runs as.
    type: str
  wait:
    description:
      - With the states V(started) and V(widened), wait until all hosts of the cohort have the new version, and it was
        watched long enough.
      - With the states V(promoted) and V(rolled_back), wait until all hosts that report have what is scheduled then,
        also where nothing changes. Runs do not count. A host where it cannot be installed is waited for, since it tries
        again.
    type: bool
    default: true
  wait_timeout:
    description:
      - Fail after so many seconds, and name the hosts that lack it. What was done stays, so a rollout that was started
        or widened is still under way then. For these it must be longer than O(watch_for).
    type: float
    default: 900
  allow_away:
    description:
      - Go on without hosts that are away, as long as there are others. That is a host whose report is outdated or
        cannot be read, or that has a local hook in front of the scheduled one.
    type: bool
    default: false
  abort_when_broken:
    description:
      - Abort the rollout when it fails on more than O(failed_hosts) hosts, or in more than O(failed_runs) runs. The
        task fails in any case.
    type: bool
    default: true
seealso:
  - module: p2fleet.hooks.p2_hook_schedule
  - module: p2fleet.hooks.p2_hook_install
author:
  - The p2fleet.hooks authors (@p2fleet)
"""

EXAMPLES = r"""
- name: Bring a new version to two hosts and about five percent of the others, and watch it for five minutes
  p2fleet.hooks.p2_hook_rollout:
    state: started
    event: before_install
    manifest: "{{ ensure_user.manifest }}"
    upload_artifacts: true
    nodes: [web1.example.com, web2.example.com]
    percent: 5
    watch_for: 300
  delegate_to: localhost
  run_once: true

- name: Have about half of the hosts take it, and bear one where it fails
  p2fleet.hooks.p2_hook_rollout:
    state: widened
    event: before_install
    manifest: "{{ ensure_user.manifest }}"
    upload_artifacts: true
    percent: 50
    failed_hosts: 1
    failed_runs: 3
  delegate_to: localhost
  run_once: true

- name: Have all hosts take it
  p2fleet.hooks.p2_hook_rollout:
    state: promoted
    event: before_install
    manifest: "{{ ensure_user.manifest }}"
    upload_artifacts: true
  delegate_to: localhost
  run_once: true

- name: Return to the version before
  p2fleet.hooks.p2_hook_rollout:
    state: rolled_back
    event: before_install
    id: ensure_user
  delegate_to: localhost
  run_once: true
"""

RETURN = r"""
rollout:
  description: What is under way afterwards, or null.
  returned: success, and where it was waited for
  type: dict
  contains:
    event:
      description: The event of the hook, or null.
      type: str
    id:
      description: The id of the hook.
      type: str
    manifest_sha:
      description: The SHA of the manifest that is rolled out.
      type: str
    base_sha:
      description: The SHA of the manifest that was scheduled when it was started, or null.
      type: str
    nodes:
      description: The hosts of the cohort that are named.
      type: list
      elements: str
    percent:
      description: The share of the hosts that belong to it as well.
      type: float
    failed_hosts:
      description: See O(failed_hosts).
      type: int
    failed_runs:
      description: See O(failed_runs).
      type: int
    outcomes:
      description: See O(outcomes).
      type: list
      elements: str
    watch_for:
      description: See O(watch_for).
      type: float
    min_runs:
      description: See O(min_runs).
      type: int
    started_by:
      description: See O(started_by).
      type: str
    started:
      description: When it was started.
      type: str
    widened:
      description: When a step last added hosts.
      type: str
aborted:
  description: Whether it broke its limits and was aborted for that.
  returned: success, and where it was waited for
  type: bool
summary:
  description:
    - What the step comes to, in words. For which hosts a rollout is. Where something is scheduled for all, from
      which version to which they go; of a rollback also why there is nothing to do.
  returned: success, and where it was waited for
  type: str
  sample: for 2 of 3 hosts (web1, web2)
uploaded:
  description: The keys of the artifacts that were put into the store.
  returned: success, and where it was waited for
  type: list
  elements: str
  sample: []
converged:
  description: The hosts of the cohort, or of all, that have it, and where nothing speaks against it.
  returned: when a rollout was started or widened, and where all hosts were waited for
  type: list
  elements: str
  sample: [web1.example.com]
waiting:
  description: The hosts that do not have it yet, with the reason, as far as that is known.
  returned: when a rollout was started or widened, and where all hosts were waited for
  type: dict
  sample: {web2.example.com: "it does not have it yet, by its report of 12 s ago"}
away:
  description: The hosts that cannot be counted on, with the reason.
  returned: when a rollout was started or widened, and where all hosts were waited for
  type: dict
  sample: {web3.example.com: its last report was due 912 s ago}
failed_nodes:
  description: The hosts where it failed, with the reason.
  returned: when a rollout was started or widened, and where all hosts were waited for
  type: dict
  sample: {}
outcomes:
  description: How many runs of the new version had which outcome, on all these hosts.
  returned: when a rollout was started or widened, and where all hosts were waited for
  type: dict
  sample: {succeeded: 12}
broken_by:
  description:
    - The hosts that broke the limits. It is empty where they are not broken. Where all hosts are waited for, those
      where it cannot be installed.
  returned: when a rollout was started or widened, and where all hosts were waited for
  type: list
  elements: dict
  contains:
    node:
      description: The host.
      type: str
    error:
      description: Why it could not be installed there, or null.
      type: str
    outcomes:
      description: How many runs had which of the outcomes that count.
      type: dict
    last_failure:
      description:
        - The newest of these runs, as in the audit, with the end of what it wrote as C(output), or null. Control
          characters are escaped.
      type: dict
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.p2fleet.hooks.plugins.module_utils.module import PartialFailure, run_module
from ansible_collections.p2fleet.hooks.plugins.module_utils.options import CONFIGURATION, STORE
from ansible_collections.p2fleet.hooks.plugins.module_utils.p2hooks.events import EVENTS
from ansible_collections.p2fleet.hooks.plugins.module_utils.p2hooks.hook_options import hook_of
from ansible_collections.p2fleet.hooks.plugins.module_utils.p2hooks.rollout_checks import COUNTABLE
from ansible_collections.p2fleet.hooks.plugins.module_utils.p2hooks.rollout_options import DEFAULTS, STATES, steer
from ansible_collections.p2fleet.hooks.plugins.module_utils.p2hooks.store.options import open_store


def body(module: AnsibleModule) -> dict[str, Any]:
    params = module.params
    key, pod = hook_of(params)
    steered = steer(open_store(params), key, pod, params, check=module.check_mode)
    for warning in steered.plan.warnings:
        module.warn(warning)
    result = steered.result(check=module.check_mode)
    before, after = steered.plan.before, steered.plan.after
    result["diff"] = [
        {"before_header": name, "after_header": name, "before": before.get(name, ""), "after": after.get(name, "")}
        for name in sorted(before.keys() | after.keys())
    ]
    if steered.error:
        raise PartialFailure(str(steered.error), result)
    return result


def main() -> None:
    run_module(
        body,
        argument_spec={
            "state": {"type": "str", "required": True, "choices": list(STATES)},
            "event": {"type": "str", "choices": list(EVENTS)},
            "manifest": {"type": "raw"},
            "id": {"type": "str"},
            "manifest_sha": {"type": "str"},
            "upload_artifacts": {"type": "bool", "default": False},
            "nodes": {"type": "list", "elements": "str"},
            "percent": {"type": "raw"},
            "failed_hosts": {"type": "int"},
            "failed_runs": {"type": "int"},
            "outcomes": {"type": "list", "elements": "str", "choices": list(COUNTABLE)},
            "watch_for": {"type": "float"},
            "min_runs": {"type": "int"},
            "started_by": {"type": "str"},
            "wait": {"type": "bool", "default": True},
            "wait_timeout": {"type": "float", "default": DEFAULTS["wait_timeout"]},
            "allow_away": {"type": "bool", "default": False},
            "abort_when_broken": {"type": "bool", "default": True},
            **CONFIGURATION,
            **STORE,
        },
        supports_check_mode=True,
    )


if __name__ == "__main__":
    main()
