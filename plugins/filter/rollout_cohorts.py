# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Divide hosts into the steps of a rollout."""

from __future__ import annotations

DOCUMENTATION = r"""
name: rollout_cohorts
short_description: Divide hosts into the steps of a rollout
version_added: 0.1.0
description:
  - Returns which hosts have a new version of a hook after each step of a rollout that goes from host to host. They are
    those that M(p2fleet.hooks.p2_hook_rollout) would choose from hosts with these names.
  - The playbook C(p2fleet.hooks.rollout) is what it is for.
positional: _input
options:
  _input:
    description: The names of all hosts.
    type: list
    elements: str
    required: true
  manifest:
    description: The manifest of the hook, as in O(p2fleet.hooks.p2_hook_rollout#module:manifest).
    type: raw
    required: true
  event:
    description: The event of the hook; without it the hook is global.
    type: str
  nodes:
    description: The hosts that come first. Without it, the one with the lowest place.
    type: list
    elements: str
  percents:
    description:
      - The shares of the hosts that have it then, as in O(p2fleet.hooks.p2_hook_rollout#module:percent), which also
        explains the places. A share that adds nobody is no step.
    type: list
    elements: raw
    default: []
"""

EXAMPLES = r"""
- name: Show who takes it when
  ansible.builtin.debug:
    msg: "{{ groups.all | p2fleet.hooks.rollout_cohorts(manifest, event='before_install', percents=[10, 50]) }}"
"""

RETURN = r"""
_value:
  description: The hosts that have it after each step. The last step has all of them.
  type: list
  elements: list
"""

from collections.abc import Callable, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.p2fleet.hooks.plugins.module_utils.p2hooks.errors import HookError
from ansible_collections.p2fleet.hooks.plugins.module_utils.p2hooks.rollout_options import percent_of
from ansible_collections.p2fleet.hooks.plugins.module_utils.p2hooks.rollout_push import cohorts
from ansible_collections.p2fleet.hooks.plugins.plugin_utils.rollout_hook import hook_and_manifest


def rollout_cohorts(
    hosts: Sequence[str],
    manifest: Any,
    event: str | None = None,
    nodes: Sequence[str] | None = None,
    percents: Sequence[Any] = (),
) -> list[list[str]]:
    """Return the hosts of each step; the documentation above says which."""
    try:
        key, _pod = hook_and_manifest(event, manifest)
        return cohorts(key, hosts, nodes, [percent_of(percent) for percent in percents])
    except HookError as error:
        raise AnsibleFilterError(f"rollout_cohorts: {error}") from None


class FilterModule:
    """Tells Ansible of the filter."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters of this file, by name."""
        return {"rollout_cohorts": rollout_cohorts}
