# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command ``p2-hook``, all but the short cut that running hooks takes (:mod:`..run_command`).

``parser`` knows the options, ``texts`` the help around them, ``commands`` what each sub-command does, and ``output``
what it looks like to people.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import VERSION
from ..audit import reading
from ..configuration import configured
from ..console import Answer, UsageError, conclude
from ..store.options import complete, warnings_of
from . import audit, commands, parser, texts
from .quiet_parser import HelpWanted

if TYPE_CHECKING:
    from ..listener import Settings

#: How those sub-commands get their options that do not mean both the log and the database where one is given.
_COMPLETE = {
    "audit": reading.complete,
    "audit-prune": audit.complete_sinks,
    "audit-import": audit.complete_sinks,
}


def main(arguments: list[str]) -> int:
    """Do what ``arguments`` say, and return the exit code."""
    return conclude(lambda: _answer(arguments), as_json="--json" in arguments)


def _answer(arguments: list[str]) -> Answer:
    try:
        options = parser.parse(arguments)
    except HelpWanted as wanted:
        return Answer({"help": wanted.text}, wanted.text.splitlines())
    if options.version:
        return Answer({"version": VERSION}, [f"p2-hook {VERSION}"])
    if options.command is None:
        raise UsageError(f"which command? give one of {', '.join(texts.COMMANDS)}; see p2-hook --help")
    if options.command == "listen":
        from . import listen  # a service needs more than other commands

        return listen.answer(lambda: _settings(arguments))
    command = commands.COMMANDS[options.command]
    if options.command in parser.UNCONFIGURED:
        return command(options)
    answer = configured(
        options.config, vars(options), lambda: command(options), _COMPLETE.get(options.command, complete)
    )
    answer.warnings += warnings_of(vars(options))
    return answer


def _settings(arguments: list[str]) -> Settings:
    """Return what the listener is to do: each time anew, since the configuration file may have changed."""
    from . import listen

    options = parser.parse(arguments)
    return configured(options.config, vars(options), lambda: listen.settings_of(options), complete)
