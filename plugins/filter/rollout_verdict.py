# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tell how hosts are doing with a new version of a hook."""

from __future__ import annotations

DOCUMENTATION = r"""
name: rollout_verdict
short_description: Tell how hosts are doing with a new version of a hook
version_added: 0.1.0
description:
  - Judges by what hosts answer, as M(p2fleet.hooks.p2_hook_rollout) does by what they report to the store.
  - The playbook C(p2fleet.hooks.rollout) is what it is for.
positional: _input
options:
  _input:
    description:
      - The results of M(p2fleet.hooks.p2_hook_install) with O(p2fleet.hooks.p2_hook_install#module:state=present), by
        the name of the host. One that failed, or whose host was unreachable, is taken for that.
    type: dict
    required: true
  manifest:
    description: The manifest that is rolled out, as in O(p2fleet.hooks.p2_hook_rollout#module:manifest).
    type: raw
    required: true
  audits:
    description:
      - The results of M(p2fleet.hooks.p2_hook_audit_info) with O(p2fleet.hooks.p2_hook_audit_info#module:summary), for
        the same hook, since it was installed, by the name of the host.
    type: dict
    default: {}
  event:
    description: The event of the hook; without it the hook is global.
    type: str
  limits:
    description:
      - What it bears, as the options C(failed_hosts), C(failed_runs), C(outcomes), C(watch_for) and C(min_runs) of
        M(p2fleet.hooks.p2_hook_rollout). One that is null is as there.
    type: dict
    default: {}
  had_it:
    description: The hosts that had it before this step, whose runs C(min_runs) does not want.
    type: list
    elements: str
    default: []
  allow_away:
    description: See O(p2fleet.hooks.p2_hook_rollout#module:allow_away).
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Stop where it failed on this host
  ansible.builtin.assert:
    that: verdict.broken is none
    fail_msg: "{{ verdict.broken }}"
  vars:
    limits: {min_runs: 1}
    audits: "{{ {inventory_hostname: audit} }}"
    verdict: >-
      {{ {inventory_hostname: installed}
         | p2fleet.hooks.rollout_verdict(manifest, audits=audits, event='before_install', limits=limits) }}
"""

RETURN = r"""
_value:
  description:
    - What M(p2fleet.hooks.p2_hook_rollout) returns of the hosts, and more.
  type: dict
  contains:
    broken:
      description: Why the limits are broken, in one line, or null.
      type: str
    watch_left:
      description: For how many seconds it has still to be watched, null while something is lacking.
      type: float
    lacking:
      description: What is lacking, in words; empty when it has done well.
      type: str
"""

import time
from collections.abc import Callable, Collection, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.p2fleet.hooks.plugins.module_utils.p2hooks.errors import HookError
from ansible_collections.p2fleet.hooks.plugins.module_utils.p2hooks.rollout_options import shown_verdict
from ansible_collections.p2fleet.hooks.plugins.module_utils.p2hooks.rollout_push import assess, limits_of
from ansible_collections.p2fleet.hooks.plugins.plugin_utils.rollout_hook import hook_and_manifest


def rollout_verdict(
    installs: Mapping[str, Mapping[str, Any]],
    manifest: Any,
    audits: Mapping[str, Mapping[str, Any]] | None = None,
    event: str | None = None,
    limits: Mapping[str, Any] | None = None,
    had_it: Collection[str] = (),
    allow_away: bool = False,
) -> dict[str, Any]:
    """Return how the hosts are doing; the documentation above says of what."""
    try:
        key, pod = hook_and_manifest(event, manifest)
        found = assess(
            key,
            pod,
            installs,
            audits or {},
            limits_of(limits or {}),
            had_it=had_it,
            allow_away=allow_away,
            now=time.time(),
        )
    except HookError as error:
        raise AnsibleFilterError(f"rollout_verdict: {error}") from None
    verdict = found.pop("verdict")
    return {**shown_verdict(verdict), "broken": verdict.broken, **found}


class FilterModule:
    """Tells Ansible of the filter."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters of this file, by name."""
        return {"rollout_verdict": rollout_verdict}
