# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Directories that hold one environment variable a file, as chpst(8) ``-e`` and envdir(8) read them."""

from __future__ import annotations

import os

from .files import read_own_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def encode(value: str) -> bytes:
    """Return the content of the file for ``value``; a newline is written as NUL, as envdir(8) has it."""
    return value.replace("\n", "\0").encode("utf-8", "surrogateescape") + b"\n"


def read(directory: str, check: Callable[[str, os.stat_result], None] | None = None) -> dict[str, str]:
    """Return the variables of ``directory``: name to value; none where it does not exist.

    As in envdir(8), the value is the first line of the file, less blanks at its end, with NUL standing for a newline.
    Links are not followed.

    Args:
        check: called with the path and the status of each file that is read, to raise if it may not be trusted.

    Raises:
        OSError: something cannot be read; ``filename`` says what.
    """
    try:
        names = os.listdir(directory)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    variables = {}
    for name in names:
        if name.startswith(".") or "=" in name:
            continue
        try:
            content = read_own_file(f"{directory}/{name}", check)
        except FileNotFoundError:  # removed since
            continue
        line = content.split(b"\n", 1)[0].rstrip(b" \t")
        # The bytes of the file are what the hook gets, whatever the locale: os.fsencode takes this back.
        variables[name] = os.fsdecode(line.replace(b"\0", b"\n"))
    return variables
