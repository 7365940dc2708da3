#!/usr/bin/python
# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tell which hooks hosts should have, and where they differ."""

from __future__ import annotations

DOCUMENTATION = r"""
module: p2_hook_info
short_description: Tell which hooks hosts should have, and where they differ
version_added: 0.1.0
description:
  - Tells what is scheduled and what is in rollout, on how many hosts that is as it should be, and on which hosts it is
    not, how, and why.
  - A host should have the manifest of a hook's rollout if it is in the rollout's cohort, and else the scheduled one.
  - By default it reads what the listeners of all hosts have reported to the store. One task for the whole fleet is
    enough, with C(run_once) for instance. With O(scope=host) it looks at the disk of the host where it runs.
  - The result has a summary of each hook, and details only of what differs.
extends_documentation_fragment:
  - p2fleet.hooks.attributes
  - p2fleet.hooks.configuration
  - p2fleet.hooks.root
  - p2fleet.hooks.store
attributes:
  check_mode:
    support: full
    details: It changes nothing in any case.
  diff_mode:
    support: none
  platform:
    support: full
    platforms: linux
options:
  scope:
    description:
      - V(fleet) reads what hosts have reported, which needs a token that may also read C(hooks-rollout/) and
        C(hooks-status/).
      - V(host) looks at what is installed on the host where the module runs, which needs the right to read it. Only
        this finds what was changed on the disk, and only reports know of runs, and why something could not be
        installed.
    type: str
    choices: [fleet, host]
    default: fleet
  event:
    description:
      - Only the hooks of this event.
    type: str
    choices:
      - preparer_init
      - before_install
      - after_install
      - after_auth_fail
      - before_launch
      - after_launch
      - before_uninstall
  id:
    description:
      - Only the hooks of this id.
    type: str
  nodes:
    description:
      - Only the reports of these hosts, for O(scope=fleet). If it is empty, all are read.
    type: list
    elements: str
    default: []
  limit:
    description:
      - How many hosts to name for each hook at most; V(0) is no limit. The numbers cover all hosts, whatever the limit.
    type: int
    default: 20
  node:
    description:
      - The name of this host, for O(scope=host); cohorts of rollouts depend on it.
      - If it is not set, the value in the configuration file is used, and without one its host name.
    type: str
seealso:
  - module: p2fleet.hooks.p2_hook_schedule
  - plugin: p2fleet.hooks.p2_nodes
    plugin_type: inventory
author:
  - The p2fleet.hooks authors (@p2fleet)
"""

EXAMPLES = r"""
- name: Ask what all hosts have
  p2fleet.hooks.p2_hook_info:
    store: consul
  run_once: true
  register: hooks

- name: Stop where a hook could not be installed
  ansible.builtin.assert:
    that: hooks.hooks | map(attribute='hosts') | selectattr('failed', 'defined') == []
  run_once: true

- name: Look for what was changed on the disk of this host
  p2fleet.hooks.p2_hook_info:
    store: consul
    scope: host
  register: here
  failed_when: here is failed or here.summary.differences > 0
"""

RETURN = r"""
scope:
  description: As in O(scope).
  returned: success
  type: str
  sample: fleet
summary:
  description: Numbers.
  returned: success
  type: dict
  contains:
    hooks:
      description: How many hooks RV(hooks) has.
      type: int
    nodes:
      description: How many hosts have reported.
      type: int
    stale:
      description: How many of them no longer report.
      type: int
    outdated:
      description: How many have an older engine than the one that asks.
      type: int
    unreadable:
      description: Of how many the report cannot be read.
      type: int
    error:
      description: How many report that something is wrong with them as a whole.
      type: int
    differences:
      description: How many hooks, counted on each host, are not as they should be.
      type: int
  sample: {"hooks": 1, "nodes": 1000, "stale": 1, "outdated": 0, "unreadable": 0, "error": 0, "differences": 2}
hooks:
  description: One dictionary for each hook that is scheduled, in rollout, or on a host, sorted by name.
  returned: success
  type: list
  elements: dict
  contains:
    event:
      description: The event; null for a global hook.
      type: str
    id:
      description: The id.
      type: str
    scheduled:
      description: The C(manifest_sha) that is scheduled, and its C(versions) by launchable; null where none is.
      type: dict
    rollout:
      description:
        - The same of the rollout that is under way; null where none is.
        - Also C(nodes) and C(percent), which are its cohort, C(base_sha), the manifest that was scheduled when it
          started, C(started_by), C(started), and when a step last added hosts, C(widened). C(overtaken) says why it
          cannot be promoted, where something else was scheduled since, or is null.
        - And how it is doing, C(progress), which is null unless all hosts are looked at. There, C(hosts) is how many of
          the cohort are C(converged), C(waiting), C(away) and C(failed), with the hosts and the reasons in C(waiting),
          C(away) and C(failed_nodes), up to O(limit), as M(p2fleet.hooks.p2_hook_rollout) returns them. C(outcomes)
          counts the runs of the new manifest, and C(broken) says why the limits are broken, or is null.
      type: dict
    error:
      description: Why a record of this hook in the store cannot be used; null where that is not so.
      type: str
    hosts:
      description:
        - How many hosts are in which state. A state in which there is none is left out.
        - C(installed) is as it should be. C(local) is a local hook that the store does not schedule. C(unknown) is
          where the record in the store cannot be read.
        - C(failed), C(missing), C(outdated), C(changed), C(extra) and C(overridden) are differences.
      type: dict
    differences:
      description: Details of each host that differs, up to O(limit).
      type: list
      elements: dict
      contains:
        node:
          description: The name of the host.
          type: str
        state:
          description: One of the differences that RV(hooks[].hosts) counts.
          type: str
        manifest_sha:
          description: The manifest that the host has; null where it has none.
          type: str
        wanted_sha:
          description: The manifest that it should have; null where it should have none, or that cannot be told.
          type: str
        versions:
          description: The versions that it has, by launchable.
          type: dict
        origin:
          description: V(store) or V(local); null where nothing is installed.
          type: str
        installed:
          description: Since when, in UTC.
          type: str
        error:
          description: Why it could not be installed; null where there was no error.
          type: str
    differences_left_off:
      description: How many hosts more differ.
      type: int
    outcomes:
      description: How many runs had which outcome on all hosts, since the hook was installed there.
      type: dict
    failing_hosts:
      description: On how many hosts a run did not succeed since then.
      type: int
    failures:
      description:
        - The C(node), the C(manifest_sha) and the C(versions) that it has, the C(outcomes) that count as failures, and
          the C(last_failure) of each of them, up to O(limit).
      type: list
      elements: dict
    last_failure:
      description:
        - The newest of those runs on any host, with the keys of a record of M(p2fleet.hooks.p2_hook_audit_info), and
          C(node). Null where no host has reported one.
      type: dict
  sample:
    - event: before_install
      id: ensure_user
      scheduled: {"manifest_sha": "e66309a3", "versions": {"ensure_user": "59ea6758"}}
      rollout: null
      error: null
      hosts: {"installed": 998, "missing": 2}
      differences:
        - node: web1.example.com
          state: missing
          manifest_sha: null
          wanted_sha: e66309a3
          versions: {}
          origin: null
          installed: null
          error: null
      differences_left_off: 1
      outcomes: {"succeeded": 11976}
      failing_hosts: 0
      failures: []
      last_failure: null
nodes:
  description: One dictionary for each host that differs, or with which something is wrong as a whole, sorted by name.
  returned: success
  type: list
  elements: dict
  contains:
    node:
      description: The name of the host.
      type: str
    engine:
      description: The version of its engine; null where that is not known.
      type: str
    reported:
      description: When it last reported, or when it was looked at, in UTC; null where the report cannot be read.
      type: str
    stale:
      description: Whether it no longer reports.
      type: bool
    outdated:
      description: Whether its engine is older than the one that asks.
      type: bool
    unreadable:
      description: Why its report cannot be read; null where it can.
      type: str
    error:
      description: What is wrong with it as a whole; null where nothing is.
      type: str
    hooks:
      description: How many of its hooks are in which state, as in RV(hooks[].hosts).
      type: dict
  sample:
    - node: web1.example.com
      engine: 0.1.0
      reported: "2026-01-31T12:00:00.000Z"
      stale: true
      outdated: false
      unreadable: null
      error: null
      hooks: {"missing": 1}
"""

import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.p2fleet.hooks.plugins.module_utils.module import run_module
from ansible_collections.p2fleet.hooks.plugins.module_utils.options import CONFIGURATION, NODE, ROOT, STORE
from ansible_collections.p2fleet.hooks.plugins.module_utils.p2hooks import hook_info
from ansible_collections.p2fleet.hooks.plugins.module_utils.p2hooks.errors import ManifestError
from ansible_collections.p2fleet.hooks.plugins.module_utils.p2hooks.events import EVENTS
from ansible_collections.p2fleet.hooks.plugins.module_utils.p2hooks.layout import Layout
from ansible_collections.p2fleet.hooks.plugins.module_utils.p2hooks.store.options import open_store


def body(module: AnsibleModule) -> dict[str, Any]:
    params = module.params
    if params["limit"] < 0:
        raise ManifestError(f"limit is {params['limit']}; give a number of hosts, or 0 for all")
    if params["scope"] == "host" and params["nodes"]:
        raise ManifestError("nodes is given, but scope is host; leave one of them out")
    question = hook_info.Question(params["event"], params["id"], params["limit"] or None)
    store, now = open_store(params), time.time()
    if params["scope"] == "host":
        found = hook_info.of_host(store, Layout(params["root"]), question, node=params["node"], now=now)
    else:
        found = hook_info.of_fleet(store, question, nodes=params["nodes"], now=now)
    for warning in found.warnings:
        module.warn(warning)
    return {"changed": False, **found.data}


def main() -> None:
    run_module(
        body,
        argument_spec={
            "scope": {"type": "str", "choices": ["fleet", "host"], "default": "fleet"},
            "event": {"type": "str", "choices": list(EVENTS)},
            "id": {"type": "str"},
            "nodes": {"type": "list", "elements": "str", "default": []},
            "limit": {"type": "int", "default": hook_info.DEFAULT_LIMIT},
            **NODE,
            **ROOT,
            **STORE,
            **CONFIGURATION,
        },
        supports_check_mode=True,
    )


if __name__ == "__main__":
    main()
