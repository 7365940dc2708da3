# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options that say where hooks are scheduled: where their values come from, and the store that they mean."""

from __future__ import annotations

import os
from collections.abc import Mapping
from stat import S_IROTH
from typing import Any

from ..configuration import OPTIONS, Settings, truth
from ..errors import StoreError, shown
from .base import Store

#: The options that this is about, see :data:`..configuration.OPTIONS`.
NAMES = tuple(name for name in OPTIONS if name.startswith(("store", "consul_")))

#: The variables that stand in for an option that is not given, the first one that is set.
VARIABLES = {
    "consul_url": "CONSUL_HTTP_ADDR",
    "consul_token": "CONSUL_HTTP_TOKEN",
    "consul_token_file": "CONSUL_HTTP_TOKEN_FILE",
    "consul_ca_path": "CONSUL_CACERT",
    "consul_client_cert": "CONSUL_CLIENT_CERT",
    "consul_client_key": "CONSUL_CLIENT_KEY",
    "consul_validate_certs": "CONSUL_HTTP_SSL_VERIFY",
    "consul_namespace": "CONSUL_NAMESPACE",
}

#: Who gives one of these means Consul.
_ONLY_FOR_CONSUL = ("consul_url", "consul_token", "consul_token_file")


def complete(settings: Settings, options: dict[str, Any]) -> None:
    """Give those of the ``options`` that are None their values: from ``CONSUL_*`` variables, the file, or the defaults.

    Args:
        options: by name; either all of :data:`NAMES` are among them, or none. The token itself may be missing.

    Raises:
        StoreError: options contradict each other, or a variable holds no truth value where one is needed.
    """
    if "store" not in options:
        settings.fill(options)
        return
    options.setdefault("consul_token")
    given = [name for name in _ONLY_FOR_CONSUL if options[name] is not None]
    if settings.values.get("store") != "consul":
        given += [name for name in _ONLY_FOR_CONSUL if name in settings.values]
    if (options["store"] or settings.values.get("store")) == "consul":
        _fill_from_variables(options)
    settings.fill(options)
    if options["store"] == "directory" and given:
        raise StoreError(f"{given[0]} is given, but hooks are scheduled in a directory; set store to consul as well")


def _fill_from_variables(options: dict[str, Any]) -> None:
    # One of the two may be in the environment while the other is an option.
    has_token = options["consul_token"] is not None or options["consul_token_file"] is not None
    for name, variable in VARIABLES.items():
        text = os.environ.get(variable)
        if not text or options[name] is not None or (has_token and name in ("consul_token", "consul_token_file")):
            continue
        value: str | bool | None = text
        if OPTIONS[name][0] == "bool":
            value = truth(text)
            if value is None:
                raise StoreError(f"the variable {variable} is {shown(text)}; set it to true or false")
        elif name == "consul_url" and "://" not in text and truth(os.environ.get("CONSUL_HTTP_SSL", "")):
            value = f"https://{text}"
        options[name] = value
        has_token = has_token or name == "consul_token"


def warnings_of(options: Mapping[str, Any]) -> list[str]:
    """Return what is unwise in ``options`` that can be used, one sentence each."""
    path = options.get("consul_token_file")
    try:
        if path and os.stat(path).st_mode & S_IROTH:
            return [f"consul_token_file {shown(path, 200)} is readable by others; chmod o-r it"]
    except OSError:  # whoever has to read it says so
        pass
    return []


def open_store(options: Mapping[str, Any], *, create: bool = False) -> Store:
    """Return the store that ``options`` describe, which :func:`complete` has seen.

    Args:
        create: a store directory that does not exist yet is an empty store.

    Raises:
        StoreError: the options are unusable, or a library is missing.
    """
    if options["store"] == "directory":
        from .directory import DirectoryStore

        return DirectoryStore(options["store_path"], create=create)
    from .consul import ConsulConnection, ConsulStore

    connection = {name[len("consul_") :]: options[name] for name in NAMES if name.startswith("consul_")}
    return ConsulStore(ConsulConnection(**connection))
