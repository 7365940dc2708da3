# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The hosts that have reported, grouped by what needs attention."""

from __future__ import annotations

DOCUMENTATION = r"""
name: p2_nodes
short_description: The hosts that have reported, grouped by what needs attention
version_added: 0.1.0
description:
  - Takes hosts from what their listeners have reported to the store, and groups them by what an operator acts on.
  - The name of the configuration file must end in C(p2_nodes.yml) or C(p2_nodes.yaml).
  - C(hook_failed) has the hosts where a hook could not be installed, or where one of its runs failed, timed out,
    was skipped or was interrupted since it was installed; C(hook_failed_EVENT) those where that was a hook of this
    event, such as C(hook_failed_before_install), and C(hook_failed_global) those where it was a global one.
  - C(hook_drifted) has the hosts that have not what they should have.
  - C(listener_stale) has those that no longer report, C(listener_error) those that report that something is wrong
    with them as a whole, C(report_unreadable) those whose report cannot be read, and C(engine_outdated) those whose
    engine is older than this collection.
  - C(in_rollout) has the hosts in the cohort of a rollout, C(in_rollout_EVENT_ID) those of the rollout of this
    hook, with what cannot be in the name of a group replaced by C(_).
  - All groups exist even if they are empty, except for those of single rollouts.
  - The variables of a host are C(p2_engine), the version of its engine; C(p2_reported), when it last reported;
    C(p2_error), what is wrong with it or its report; C(p2_hooks), how many of its hooks are in which state;
    C(p2_drift), the state of each hook that differs; C(p2_failures), by hook, the C(error) of its installation and
    the C(outcomes) of runs that failed; and C(p2_rollouts), the hooks in rollout there.
extends_documentation_fragment:
  - p2fleet.hooks.configuration
  - p2fleet.hooks.store
  - constructed
  - inventory_cache
options:
  plugin:
    description:
      - The name of this plugin.
    type: str
    required: true
    choices: [p2fleet.hooks.p2_nodes]
notes:
  - All that options say of the host where the module runs is true of the host where Ansible runs.
  - The token must be allowed to read C(hooks/), C(hooks-rollout/) and C(hooks-status/).
seealso:
  - module: p2fleet.hooks.p2_hook_info
author:
  - The p2fleet.hooks authors (@p2fleet)
"""

EXAMPLES = r"""
# hosts.p2_nodes.yml: all that is needed where CONSUL_HTTP_ADDR and CONSUL_HTTP_TOKEN are set.
# Then: ansible-playbook -i hosts.p2_nodes.yml --limit hook_failed_before_install repair.yml
plugin: p2fleet.hooks.p2_nodes
store: consul
---
# Also group hosts by their engine, by whether a hook is missing, and by the state of each hook that differs.
plugin: p2fleet.hooks.p2_nodes
store: consul
consul_url: https://consul.example.com:8501
consul_token_file: ~/.consul-token
keyed_groups:
  - key: p2_engine
    prefix: engine
  - key: p2_drift
    prefix: drift
groups:
  hook_missing: "'missing' in p2_hooks"
compose:
  ansible_user: "'root'"
"""

import re
import time
from typing import Any

from ansible.errors import AnsibleParserError
from ansible.inventory.data import InventoryData
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.inventory import BaseInventoryPlugin, Cacheable, Constructable
from ansible_collections.p2fleet.hooks.plugins.module_utils.p2hooks import fleet
from ansible_collections.p2fleet.hooks.plugins.module_utils.p2hooks.attention import GROUPS, attention
from ansible_collections.p2fleet.hooks.plugins.module_utils.p2hooks.configuration import configured
from ansible_collections.p2fleet.hooks.plugins.module_utils.p2hooks.drift import read_wanted
from ansible_collections.p2fleet.hooks.plugins.module_utils.p2hooks.errors import HookError, reason_of, shown
from ansible_collections.p2fleet.hooks.plugins.module_utils.p2hooks.store.options import NAMES, complete, open_store

# A key of the store can be more than a host's name, and what begins with "-" would be an option of ssh.
_HOST_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*\Z")


class InventoryModule(BaseInventoryPlugin, Constructable, Cacheable):  # type: ignore[misc] # Ansible has no types
    """The inventory plugin p2fleet.hooks.p2_nodes."""

    NAME = "p2fleet.hooks.p2_nodes"

    def verify_file(self, path: str) -> bool:
        """Tell whether ``path`` is a configuration file of this plugin, by its name."""
        return bool(super().verify_file(path)) and path.endswith(("p2_nodes.yml", "p2_nodes.yaml"))

    def parse(self, inventory: InventoryData, loader: DataLoader, path: str, cache: bool = True) -> None:
        """Add the hosts to ``inventory``.

        Raises:
            AnsibleParserError: the options are wrong, or the store cannot be read.
        """
        super().parse(inventory, loader, path, cache)
        unknown = self._read_config_data(path).keys() - self.option_definitions.keys()
        if unknown:  # Ansible would pass over them
            names = ", ".join(sorted(shown(name).strip("'") for name in unknown))
            raise AnsibleParserError(
                f"{path}: there is no option {names}; ansible-doc -t inventory {self.NAME} has those that there are"
            )
        key = self.get_cache_key(path)
        is_cached = self.get_option("cache")
        # "cache" is false where the cache is to be refreshed.
        nodes = self._cache.get(key) if is_cached and cache else None
        if nodes is None:
            nodes = self._ask()
            if is_cached:
                self._cache[key] = nodes
        self._populate(nodes)

    def _ask(self) -> dict[str, dict[str, Any]]:
        """Return what the store says of each host."""
        options = {name: self.get_option(name) for name in ("config_file", *NAMES)}

        def ask() -> dict[str, dict[str, Any]]:
            store = open_store(options)
            return attention(read_wanted(store), fleet.reports(store), time.time())

        try:
            return configured(options["config_file"], options, ask, complete)
        except HookError as error:
            # Ansible would print every cause, of which the message has all that helps.
            raise AnsibleParserError(str(error)) from None
        except OSError as error:
            raise AnsibleParserError(
                f"{error.filename}: {reason_of(error)}; correct that, then run this again"
            ) from None

    def _populate(self, nodes: dict[str, dict[str, Any]]) -> None:
        strict = self.get_option("strict")
        for group in GROUPS:
            self.inventory.add_group(group)
        for node, found in nodes.items():
            if not _HOST_NAME.match(node):
                self.display.warning(f"{shown(node)} has reported, but is no name of a host; it is left out")
                continue
            self.inventory.add_host(node)
            for group in found["groups"]:
                self.inventory.add_child(self.inventory.add_group(self._sanitize_group_name(group)), node)
            for name, value in found["variables"].items():
                self.inventory.set_variable(node, name, value)
            variables = self.inventory.get_host(node).get_vars()
            self._set_composite_vars(self.get_option("compose"), variables, node, strict=strict)
            self._add_host_to_composed_groups(self.get_option("groups"), variables, node, strict=strict)
            self._add_host_to_keyed_groups(self.get_option("keyed_groups"), variables, node, strict=strict)
