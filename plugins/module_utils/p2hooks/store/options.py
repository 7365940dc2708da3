# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options that say where hooks are scheduled, their defaults and variables, for all faces."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from ..errors import StoreError, shown
from .base import Store

#: The default of each option.
DEFAULTS: dict[str, Any] = {
    "store": "directory",
    "store_path": "/data/hooks/store",
    "consul_url": None,
    "consul_token": None,
    "consul_token_file": None,
    "consul_ca_path": None,
    "consul_client_cert": None,
    "consul_client_key": None,
    "consul_validate_certs": True,
    "consul_datacenter": None,
    "consul_namespace": None,
    "consul_timeout": 10.0,
}

#: The variable that stands in for an option that is not given; for address and token see :func:`open_store`.
VARIABLES = {
    "consul_ca_path": "CONSUL_CACERT",
    "consul_client_cert": "CONSUL_CLIENT_CERT",
    "consul_client_key": "CONSUL_CLIENT_KEY",
    "consul_validate_certs": "CONSUL_HTTP_SSL_VERIFY",
    "consul_namespace": "CONSUL_NAMESPACE",
}

_TRUE = ("1", "t", "true", "y", "yes", "on")
_FALSE = ("0", "f", "false", "n", "no", "off")


def resolved(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of :data:`DEFAULTS`, those that ``options`` lack or have as None from variables and defaults.

    Raises:
        StoreError: a variable holds no truth value where one is needed.
    """
    result = {}
    for name, default in DEFAULTS.items():
        value = options.get(name)
        if value is None and name in VARIABLES:
            value = os.environ.get(VARIABLES[name]) or None
            if value is not None and isinstance(default, bool):
                value = _truth(value, VARIABLES[name])
        result[name] = default if value is None else value
    return result


def _truth(text: str, variable: str) -> bool:
    if text.lower() not in _TRUE + _FALSE:
        raise StoreError(f"the variable {variable} is {shown(text)}; set it to true or false")
    return text.lower() in _TRUE


def open_store(options: Mapping[str, Any], *, create: bool = False) -> Store:
    """Return the store that ``options`` describe; they have at least the names of :data:`DEFAULTS`.

    Args:
        create: a store directory that does not exist yet is an empty store.

    Raises:
        StoreError: the options contradict each other or are unusable, or a library is missing.
    """
    if options["store"] == "directory":
        given = [name for name in ("consul_url", "consul_token", "consul_token_file") if options[name] is not None]
        if given:
            raise StoreError(
                f"{given[0]} is given, but hooks are scheduled in a directory; set store to consul as well"
            )
        from .directory import DirectoryStore

        return DirectoryStore(options["store_path"], create=create)
    from .consul import ConsulConnection, ConsulStore

    connection = {name[len("consul_") :]: options[name] for name in DEFAULTS if name.startswith("consul_")}
    # Only where neither is given: one of the two may be in the environment while the other is an option.
    if connection["token"] is None and connection["token_file"] is None:
        connection["token"] = os.environ.get("CONSUL_HTTP_TOKEN") or None
        connection["token_file"] = None if connection["token"] else os.environ.get("CONSUL_HTTP_TOKEN_FILE") or None
    connection["url"] = connection["url"] or _url_from_environment() or ConsulConnection.url
    return ConsulStore(ConsulConnection(**connection))


def _url_from_environment() -> str | None:
    """Return the address that Consul's own tools would use."""
    address = os.environ.get("CONSUL_HTTP_ADDR")
    if address and "://" not in address and os.environ.get("CONSUL_HTTP_SSL", "").lower() in _TRUE:
        return f"https://{address}"
    return address
