# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How argparse behaves here: it neither prints nor exits, and refuses what is unknown at once."""

from __future__ import annotations

import argparse
import re
from typing import Any, NoReturn

from ..console import UsageError


class HelpWanted(Exception):
    """Somebody asked for help; ``text`` is it."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """Leaves room for the names of sub-commands."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=28)
        self._action_max_length = 16  # it forgets that they are indented by two more


class QuietParser(argparse.ArgumentParser):
    """Leaves printing and exiting to others."""

    def __init__(self, **options: Any) -> None:
        super().__init__(formatter_class=_Formatter, allow_abbrev=False, **options)
        self._negative_number_matcher = re.compile("-[0-9]")  # -3d is no option either, but a value, and refused as one

    def print_help(self, file: object = None) -> None:
        """Have whoever calls show the help."""
        raise HelpWanted(self.format_help())

    def parse_known_args(self, *given: Any, **options: Any) -> Any:
        """Refuse what is unknown at once: argparse leaves that to the parser of all sub-commands."""
        namespace, unknown = super().parse_known_args(*given, **options)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return namespace, unknown

    def error(self, message: str) -> NoReturn:
        """Have whoever calls show what is wrong."""
        raise UsageError(f"{message}; see {self.prog} --help")
