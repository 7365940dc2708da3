# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading files without waiting for anything.

Running hooks goes through here, so this module imports next to nothing.
"""

from __future__ import annotations

import os


def open_without_waiting(path: str, flags: int) -> int:
    """Open as :func:`os.open` does; an ``opener`` for :func:`open`. A FIFO in the place of a file is not waited for."""
    return os.open(path, flags | os.O_NONBLOCK)


def read_file(path: str) -> bytes | None:
    """Return what is in ``path``, or None where there is no such file; a FIFO is not waited for."""
    try:
        with open(path, "rb", buffering=0, opener=open_without_waiting) as file:
            return file.read() or b""
    except (FileNotFoundError, NotADirectoryError):
        return None
