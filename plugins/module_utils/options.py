# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options that several modules share; the documentation fragment of the same name describes each group."""

from __future__ import annotations

from typing import Any

from .p2hooks.configuration import CHOICES, OPTIONS
from .p2hooks.store.options import NAMES


def _options(*names: str) -> dict[str, dict[str, Any]]:
    """Return the specification of options that the configuration file can have, which is why they have no default."""
    specification: dict[str, dict[str, Any]] = {name: {"type": OPTIONS[name][0]} for name in names}
    for name in names:
        if name in CHOICES:
            specification[name]["choices"] = list(CHOICES[name])
        if "token" in name or "key" in name:
            specification[name]["no_log"] = name == "consul_token"
    return specification


#: Documented in doc_fragments/configuration.py.
CONFIGURATION = {"config_file": {"type": "path"}}

#: Documented in doc_fragments/store.py.
STORE = _options(*NAMES)

#: Documented in doc_fragments/root.py.
ROOT = _options("root")

#: The documentation of each module says what the name is for.
NODE = _options("node")

#: Documented in doc_fragments/run.py.
RUN = _options("pod_root", "node", "term_after", "kill_after")

#: Documented in doc_fragments/audit.py.
AUDIT = _options("audit_log", "audit_database")
