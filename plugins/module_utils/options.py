# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options that several modules share; the documentation fragment of the same name describes each group."""

from __future__ import annotations

import os
from typing import Any

from ansible.module_utils.basic import env_fallback

from .p2hooks.errors import HookError
from .p2hooks.layout import DEFAULT_ROOT
from .p2hooks.store import Store


def _from_variable(name: str, **option: Any) -> dict[str, Any]:
    return {**option, "fallback": (env_fallback, [name])}


#: Documented in doc_fragments/store.py.
STORE = {
    "store": {"type": "str", "choices": ["directory", "consul"], "default": "directory"},
    "store_path": {"type": "path", "default": "/data/hooks/store"},
    "consul_url": {"type": "str"},
    "consul_token": {"type": "str", "no_log": True},
    "consul_token_file": {"type": "path", "no_log": False},
    "consul_ca_path": _from_variable("CONSUL_CACERT", type="path"),
    "consul_client_cert": _from_variable("CONSUL_CLIENT_CERT", type="path"),
    "consul_client_key": _from_variable("CONSUL_CLIENT_KEY", type="path", no_log=False),
    "consul_validate_certs": _from_variable("CONSUL_HTTP_SSL_VERIFY", type="bool", default=True),
    "consul_datacenter": {"type": "str"},
    "consul_namespace": _from_variable("CONSUL_NAMESPACE", type="str"),
    "consul_timeout": {"type": "float", "default": 10.0},
}

#: Documented in doc_fragments/root.py.
ROOT = {"root": {"type": "path", "default": DEFAULT_ROOT}}


def open_store(params: dict[str, Any], *, create: bool = False) -> Store:
    """Return the store that the options :data:`STORE` describe.

    Args:
        create: a store directory that does not exist yet is an empty store.

    Raises:
        HookError: the options contradict each other.
        StoreError: the options are unusable, or a library is missing.
    """
    if params["store"] == "directory":
        given = [name for name in ("consul_url", "consul_token", "consul_token_file") if params[name] is not None]
        if given:
            raise HookError(f"{given[0]} is given, but hooks are scheduled in a directory; set store to consul as well")
        from .p2hooks.store.directory import DirectoryStore

        return DirectoryStore(params["store_path"], create=create)
    from .p2hooks.store.consul import ConsulConnection, ConsulStore

    options = {name[len("consul_") :]: params[name] for name in STORE if name.startswith("consul_")}
    # Not by Ansible's fallbacks: one of the two may be in the environment while the other is given.
    if options["token"] is None and options["token_file"] is None:
        options["token"] = os.environ.get("CONSUL_HTTP_TOKEN") or None
        options["token_file"] = None if options["token"] else os.environ.get("CONSUL_HTTP_TOKEN_FILE") or None
    options["url"] = options["url"] or _url_from_environment() or ConsulConnection.url
    return ConsulStore(ConsulConnection(**options))


def _url_from_environment() -> str | None:
    """Return what Consul's own tools would use, see https://developer.hashicorp.com/consul/commands."""
    address = os.environ.get("CONSUL_HTTP_ADDR")
    if address and "://" not in address and os.environ.get("CONSUL_HTTP_SSL", "").lower() in ("1", "true"):
        return f"https://{address}"
    return address
