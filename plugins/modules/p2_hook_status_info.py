#!/usr/bin/python
# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Return what hosts report of themselves."""

from __future__ import annotations

DOCUMENTATION = r"""
module: p2_hook_status_info
short_description: Return what hosts report of themselves
version_added: 0.1.0
description:
  - Reads the reports of all hosts from the store, where their listeners write them, in one request.
  - They are returned as they are, for whatever makes something of them, such as the filter
    P(p2fleet.hooks.report_page#filter).
extends_documentation_fragment:
  - p2fleet.hooks.attributes
  - p2fleet.hooks.configuration
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
seealso:
  - plugin: p2fleet.hooks.report_page
    plugin_type: filter
author:
  - The p2fleet.hooks authors (@p2fleet)
"""

EXAMPLES = r"""
- name: Read what hosts report
  p2fleet.hooks.p2_hook_status_info:
    store: consul
    consul_url: https://consul.example.com:8501
    consul_token: "{{ vault_consul_token }}"
  delegate_to: localhost
  run_once: true
  register: status

- name: Show which hosts run an engine older than this collection
  ansible.builtin.debug:
    msg: "{{ item.key }}"
  loop: "{{ status.reports | dict2items }}"
  when: (item.value | from_json).engine is version('0.1.0', '<')
"""

RETURN = r"""
reports:
  description: The report of each host that ever reported, as the text of a JSON document, by the name of the host.
  returned: success
  type: dict
  sample:
    node1: '{"schema":1,"node":"node1","hooks":{},"error":null}'
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.p2fleet.hooks.plugins.module_utils.module import run_module
from ansible_collections.p2fleet.hooks.plugins.module_utils.options import CONFIGURATION, STORE
from ansible_collections.p2fleet.hooks.plugins.module_utils.p2hooks.node_status import STATUS_PREFIX
from ansible_collections.p2fleet.hooks.plugins.module_utils.p2hooks.store.options import open_store


def body(module: AnsibleModule) -> dict[str, Any]:
    entries = open_store(module.params).read(STATUS_PREFIX)
    reports = {key[len(STATUS_PREFIX) :]: entry.value.decode("utf-8", "replace") for key, entry in entries.items()}
    return {"changed": False, "reports": reports}


def main() -> None:
    run_module(body, argument_spec={**STORE, **CONFIGURATION}, supports_check_mode=True)


if __name__ == "__main__":
    main()
