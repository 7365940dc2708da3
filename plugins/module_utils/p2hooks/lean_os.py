# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What running hooks needs of the module ``os``, without the rest of it.

Importing ``os`` takes a twelfth of a run of one hook, most of that for the abstract classes that make a mapping of
``os.environ``. What talks to the system in it is ``posix``, a part of the interpreter. So the modules of the bundle get
this module when they import ``os``, see :func:`.start.load_bundle`; what it lacks comes from ``os``, imported by then.
"""

from __future__ import annotations

import posix
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

globals().update({**vars(posix), **globals()})
del globals()["environ"]  # which is of bytes

#: As in lseek(2); os has it from nowhere else either.
SEEK_END = 2

# This one imports os, and so gets what is above; os has it as its path too.
import posixpath  # noqa: E402

path = sys.modules["os.path"] = posixpath  # by which it can be imported


def fsencode(name: str) -> bytes:
    """Return ``name`` as the system has it."""
    return name.encode(sys.getfilesystemencoding(), sys.getfilesystemencodeerrors())


def fsdecode(name: bytes) -> str:
    """Return what the system has as ``name``."""
    return name.decode(sys.getfilesystemencoding(), sys.getfilesystemencodeerrors())


def __getattr__(name: str) -> Any:
    """Return what ``os`` has and this has not."""
    if name.startswith("__"):  # what importing asks a module for
        raise AttributeError(name)
    if sys.modules.get("os") is sys.modules[__name__]:  # the bundle is still being loaded
        del sys.modules["os"]
    import os

    return getattr(os, name)
