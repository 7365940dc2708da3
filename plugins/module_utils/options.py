# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options that several modules share; the documentation fragment of the same name describes each group."""

from __future__ import annotations

from typing import Any

from ansible.module_utils.basic import env_fallback

from .p2hooks.audit import DEFAULT_PATH
from .p2hooks.layout import DEFAULT_ROOT
from .p2hooks.store.options import DEFAULTS, VARIABLES


def _store_option(name: str, kind: str, **more: Any) -> dict[str, Any]:
    option: dict[str, Any] = {"type": kind, **more}
    if DEFAULTS[name] is not None:
        option["default"] = DEFAULTS[name]
    if name in VARIABLES:
        option["fallback"] = (env_fallback, [VARIABLES[name]])
    return option


#: Documented in doc_fragments/store.py.
STORE = {
    "store": _store_option("store", "str", choices=["directory", "consul"]),
    "store_path": _store_option("store_path", "path"),
    "consul_url": _store_option("consul_url", "str"),
    "consul_token": _store_option("consul_token", "str", no_log=True),
    "consul_token_file": _store_option("consul_token_file", "path", no_log=False),
    "consul_ca_path": _store_option("consul_ca_path", "path"),
    "consul_client_cert": _store_option("consul_client_cert", "path"),
    "consul_client_key": _store_option("consul_client_key", "path", no_log=False),
    "consul_validate_certs": _store_option("consul_validate_certs", "bool"),
    "consul_datacenter": _store_option("consul_datacenter", "str"),
    "consul_namespace": _store_option("consul_namespace", "str"),
    "consul_timeout": _store_option("consul_timeout", "float"),
}

#: Documented in doc_fragments/root.py.
ROOT = {"root": {"type": "path", "default": DEFAULT_ROOT}}

#: Documented in doc_fragments/audit.py.
AUDIT = {"audit_log": {"type": "path", "default": DEFAULT_PATH}, "audit_database": {"type": "path"}}
