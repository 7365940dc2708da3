# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the engine meets Ansible: one place that makes a module, and one that turns errors into failures."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from .p2hooks import VERSION
from .p2hooks.configuration import Settings, configured
from .p2hooks.engine_home import EngineHome
from .p2hooks.errors import HookError, reason_of
from .p2hooks.store.options import complete, warnings_of


class PartialFailure(HookError):
    """A failure after something had been done; ``result`` says what."""

    def __init__(self, message: str, result: dict[str, Any]) -> None:
        super().__init__(message)
        self.result = result


def run_module(
    body: Callable[[AnsibleModule], dict[str, Any]],
    complete: Callable[[Settings, dict[str, Any]], None] = complete,
    **module_options: Any,
) -> None:
    """Make a module of ``module_options``, call ``body`` with it, and end with its result or its error.

    Args:
        complete: gives options that the task leaves out their values, where the module has the option ``config_file``.
    """
    module = AnsibleModule(**module_options)
    message = None
    try:
        for name, value in module.params.items():
            if isinstance(value, str) and "\0" in value:  # neither a path nor a variable can hold it
                raise HookError(f"{name} holds a NUL byte; remove it")
        if "config_file" in module.params:
            _warn_of_outdated_engine(module)
            result = configured(module.params["config_file"], module.params, lambda: body(module), complete)
            for warning in warnings_of(module.params):
                module.warn(warning)
        else:
            result = body(module)
    except PartialFailure as error:
        message, result = str(error), error.result
    except HookError as error:
        message, result = str(error), {"changed": False}
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        denied = isinstance(error, PermissionError)
        remedy = "does the task need become?" if denied else "correct that, then run this again"
        message, result = f"{where}{reason_of(error)}; {remedy}", {"changed": False}
    if not module._diff:  # it may hold what only those who ask for it should see
        result.pop("diff", None)
    if message is not None:
        module.fail_json(**_encodable({"msg": message, **result}))
    module.exit_json(**_encodable(result))


def _encodable(value: Any) -> Any:
    """Return ``value`` with a sign in place of each lone surrogate, which what hosts report may have.

    Ansible refuses the whole of a result in which there is one.
    """
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {_encodable(name): _encodable(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_encodable(each) for each in value]
    return value


def _warn_of_outdated_engine(module: AnsibleModule) -> None:
    """Warn where the command and the listener of this host are older than this collection, which a task is not."""
    home = EngineHome()
    version = home.outdated()
    if version:
        module.warn(
            f"{os.uname().nodename}: the engine in {home.home} is {version}, and this collection {VERSION}; "
            "run the role p2fleet.hooks.hook_runner, so that both do the same"
        )
