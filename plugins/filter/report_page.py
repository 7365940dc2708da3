# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make a page of what ran on a fleet."""

from __future__ import annotations

DOCUMENTATION = r"""
name: report_page
short_description: Make a page of what ran on a fleet
version_added: 0.1.0
description:
  - Returns an HTML page that shows which hooks ran where, with which outcome, what failed and what it had to say, and
    which hosts differ from what the store wants them to have.
  - The page needs nothing but itself. Whatever hooks and hosts say in it is escaped.
  - The playbook C(p2fleet.hooks.report) collects what it needs, and writes the page.
positional: _input
options:
  _input:
    description:
      - The results of M(p2fleet.hooks.p2_hook_audit_info) with O(p2fleet.hooks.p2_hook_audit_info#module:summary), by
        the name of the host. One that failed, or whose host was unreachable, is shown as that.
    type: dict
    required: true
  fleet:
    description:
      - What M(p2fleet.hooks.p2_hook_info) returned of the whole fleet, with
        O(p2fleet.hooks.p2_hook_info#module:limit) set to V(0). If it is not set, the page does without what
        the store knows. A result that failed is shown as that.
    type: dict
  since:
    description:
      - The moment since which M(p2fleet.hooks.p2_hook_audit_info) was asked for what ran, given as in
        O(p2fleet.hooks.p2_hook_audit_info#module:since).
    type: str
    required: true
  title:
    description: The title of the page.
    type: str
    default: Hooks of the fleet
"""

EXAMPLES = r"""
- name: Ask the host what ran
  p2fleet.hooks.p2_hook_audit_info:
    since: 3d
    limit: 1
    summary: true
  register: audit

- name: Write a page about it
  ansible.builtin.copy:
    content: "{{ {inventory_hostname: audit} | p2fleet.hooks.report_page(since='3d') }}"
    dest: /tmp/hooks.html
    mode: "0600"
  delegate_to: localhost
"""

RETURN = r"""
_value:
  description: The page, as HTML.
  type: str
"""

from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.p2fleet.hooks.plugins.module_utils.p2hooks.audit.question import moment
from ansible_collections.p2fleet.hooks.plugins.module_utils.p2hooks.errors import AuditError
from ansible_collections.p2fleet.hooks.plugins.module_utils.p2hooks.host_audit import decode_audit
from ansible_collections.p2fleet.hooks.plugins.module_utils.p2hooks.report import aggregate
from ansible_collections.p2fleet.hooks.plugins.plugin_utils.report_page import render


def report_page(
    audits: Mapping[str, Mapping[str, Any]],
    fleet: Mapping[str, Any] | None = None,
    *,
    since: str,
    title: str = "Hooks of the fleet",
) -> str:
    """Return the page; the documentation above says of what."""
    now = datetime.now(timezone.utc)
    try:
        first = datetime.fromisoformat(moment(since, now).replace("Z", "+00:00"))
    except AuditError as error:
        raise AnsibleFilterError(f"report_page: since: {error}") from None
    numbers = aggregate(
        [decode_audit(host, result) for host, result in audits.items()],
        fleet,
        since=first,
        now=now,
    )
    return render(numbers, title=title)


class FilterModule:
    """Tells Ansible of the filter."""

    def filters(self) -> dict[str, Callable[..., str]]:
        """Return the filters of this file, by name."""
        return {"report_page": report_page}
