# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Directories that hold one environment variable a file, as chpst(8) ``-e`` and envdir(8) read them."""

from __future__ import annotations

import os

from . import disk


def encode(value: str) -> bytes:
    """Return the content of the file for ``value``; a newline is written as NUL, as envdir(8) has it."""
    return value.replace("\n", "\0").encode("utf-8", "surrogateescape") + b"\n"


def read(directory: str) -> dict[str, str]:
    """Return the variables of ``directory``: name to value; none where it does not exist.

    As in envdir(8), the value is the first line of the file, less blanks at its end, with NUL standing for a newline.
    """
    try:
        names = os.listdir(directory)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    variables = {}
    for name in names:
        if name.startswith(".") or "=" in name:
            continue
        content = disk.read_file(os.path.join(directory, name))
        if content is None:
            continue
        line = content.split(b"\n", 1)[0].rstrip(b" \t")
        # The bytes of the file are what the hook gets, whatever the locale: os.fsencode takes this back.
        variables[name] = os.fsdecode(line.replace(b"\0", b"\n"))
    return variables
