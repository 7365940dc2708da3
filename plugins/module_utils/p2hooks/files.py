# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading files without waiting for anything.

Running hooks goes through here, so this module imports next to nothing.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


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


def read_own_file(path: str, check: Callable[[str, os.stat_result], None] | None = None) -> bytes:
    """Return what is in ``path``, which may not be a link; a FIFO is not waited for.

    Args:
        check: called with the path and the status of the file that was opened, to raise if it may not be trusted.

    Raises:
        OSError: it cannot be read; ``filename`` is the path.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
        try:
            status = os.fstat(descriptor)
            if check:
                check(path, status)
            return os.read(descriptor, status.st_size + 1)
        finally:
            os.close(descriptor)
    except OSError as error:
        import errno  # not on the way of running hooks

        error.filename = path
        if error.errno == errno.ELOOP:
            error.strerror = "a link, where only a file is safe"
        raise
