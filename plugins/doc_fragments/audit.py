# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options that tell where the audit is on a host."""

from __future__ import annotations


class ModuleDocFragment:
    """Used as C(p2fleet.hooks.audit); the counterpart of C(AUDIT) in C(module_utils/options.py)."""

    DOCUMENTATION = r"""
options:
  audit_log:
    description:
      - The log of JSON lines, one for each time that a hook ran.
      - If it is not set, the value in the configuration file is used, and without one
        V(/var/log/p2-hook/audit.jsonl).
    type: path
  audit_database:
    description:
      - An SQLite database that has the same records, for quick answers where there are many.
      - If it is not set, the value in the configuration file is used, and without one there is no database.
      - A local file system is needed, since SQLite cannot share such a database over a network.
    type: path
"""
