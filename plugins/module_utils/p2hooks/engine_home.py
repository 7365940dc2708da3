# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the engine itself is on a host, and how it comes there.

::

    /usr/local/bin/p2-hook -> ../lib/p2-hook/current/p2-hook
    /usr/local/lib/p2-hook/current -> releases/{release}
    /usr/local/lib/p2-hook/releases/{release}/p2-hook, p2hooks/
    /usr/local/lib/p2-hook/venv/

A release is written and compiled aside, and becomes the current one by one rename. The one before stays: whoever was
started from it may still have to import a part of it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from hashlib import sha256
from importlib import resources
from typing import Any

from . import VERSION, disk
from .errors import LayoutError

HOME = "/usr/local/lib/p2-hook"
LINK = "/usr/local/bin/p2-hook"

#: The name of the command in a release; it is the only file to be executed.
COMMAND = "p2-hook"
#: The name of the engine's package in a release.
PACKAGE = "p2hooks"

#: How long to wait for somebody else who installs the engine, in seconds.
_PATIENCE = 60.0


def sources(command: str) -> dict[str, bytes]:
    """Return the files of a release: this engine, from wherever it was imported, and the text of the ``command``."""
    files = {COMMAND: command.encode()}
    pending: list[tuple[str, Any]] = [(PACKAGE, resources.files(__package__))]
    while pending:
        name, found = pending.pop()
        for entry in found.iterdir():
            path = f"{name}/{entry.name}"
            if entry.is_dir():
                pending.append((path, entry))
            elif path.endswith(".py"):
                files[path] = entry.read_bytes()
    return files


def release_of(files: Mapping[str, bytes]) -> str:
    """Return the name of the release that consists of ``files``: the version, and a digest of all of them."""
    digest = sha256()
    for path, content in sorted(files.items()):
        digest.update(f"{path} {len(content)}\n".encode())
        digest.update(content)
    return f"{VERSION}-{digest.hexdigest()[:12]}"


class EngineHome:
    """The engine on this host."""

    def __init__(self, home: str = HOME, link: str = LINK) -> None:
        self.home = home
        self._link = link
        self._current = f"{home}/current"
        self._releases = f"{home}/releases"

    def version(self) -> str | None:
        """Return the version of the engine that is installed, however it came there; None if there is none."""
        for directory in (self._current, self.home):
            try:
                with open(f"{directory}/{PACKAGE}/__init__.py", encoding="utf-8", errors="replace") as file:
                    lines = file.read().splitlines()
            except OSError:
                continue
            for line in lines:
                name, dummy, value = line.partition(" = ")
                if name == "VERSION":
                    return value.strip("\"'")
        return None

    def outdated(self) -> str | None:
        """Return the version that is installed if this engine is newer; None also where none is installed."""
        version = self.version()
        return version if version and is_older(version) else None

    def has(self, release: str, files: Mapping[str, bytes]) -> bool:
        """Tell whether ``release`` is the current one, with all its ``files`` as they should be."""
        return (
            _target(self._current) == f"releases/{release}"
            and _target(self._link) == self._link_target()
            and not self._damaged(release, files)
            and not self._obsolete(release)
        )

    def write(self, release: str, files: Mapping[str, bytes]) -> str:
        """Write ``release``, or what is damaged of it, without making it the current one; return its directory.

        Raises:
            LayoutError: it cannot be written, or somebody else is doing so.
        """
        directory = f"{self._releases}/{release}"
        with disk.errors_as_layout_errors("writing the engine"):
            disk.make_directories(self._releases)
            with disk.locked(f"{self.home}/.lock", _PATIENCE):
                disk.clear_temporaries(self._releases)
                damaged = self._damaged(release, files)
                for mode in (0o755, 0o644):
                    contents = {
                        f"{directory}/{path}": files[path] for path in damaged if (path == COMMAND) == (mode == 0o755)
                    }
                    disk.write_files(contents, mode)
        return directory

    def activate(self, release: str) -> None:
        """Make ``release`` the current one, have the command lead to it, and remove what nobody needs any more.

        Raises:
            LayoutError: a link or a directory cannot be changed, or somebody else has removed the release meanwhile.
        """
        with disk.errors_as_layout_errors("installing the engine"), disk.locked(f"{self.home}/.lock", _PATIENCE):
            if not os.path.isdir(f"{self._releases}/{release}"):
                raise LayoutError(
                    f"{self._releases}/{release} is not there any more; another engine was installed meanwhile, "
                    "run this again if this one is wanted"
                )
            before = _target(self._current)
            if before != f"releases/{release}":
                disk.write_link(self._current, f"releases/{release}")
                if before:
                    disk.write_link(f"{self.home}/last", before)
            if _target(self._link) != self._link_target():
                disk.make_directories(os.path.dirname(self._link))
                disk.write_link(self._link, self._link_target())
            for path in self._obsolete(release):
                if os.path.isdir(path) and not os.path.islink(path):
                    disk.remove_tree(path)
                else:
                    os.unlink(path)

    def present(self) -> list[str]:
        """Return what there is to be removed: the link of the command, if it is ours, and the directory."""
        paths = [self._link] if _target(self._link) in (self._link_target(), self._old_link_target()) else []
        return paths + ([self.home] if os.path.lexists(self.home) else [])

    def remove(self) -> None:
        """Remove all of :meth:`present`.

        Raises:
            LayoutError: something cannot be removed.
        """
        with disk.errors_as_layout_errors("removing the engine"):
            for path in self.present():
                if path == self._link:
                    os.unlink(path)
                else:
                    shutil.rmtree(path)

    def _damaged(self, release: str, files: Mapping[str, bytes]) -> list[str]:
        return [path for path, content in files.items() if _content(f"{self._releases}/{release}/{path}") != content]

    def _obsolete(self, release: str) -> list[str]:
        """Return all releases but ``release`` and the last one, and what an installation by hand put beside them."""
        last = _target(f"{self.home}/last")
        found = [
            f"{self._releases}/{name}"
            for name in disk.listdir(self._releases)
            if name != release and f"releases/{name}" != last
        ]
        return found + [f"{self.home}/{name}" for name in disk.listdir(self.home) if name in (COMMAND, PACKAGE)]

    def _link_target(self) -> str:
        return os.path.relpath(f"{self._current}/{COMMAND}", os.path.dirname(self._link))

    def _old_link_target(self) -> str:
        return os.path.relpath(f"{self.home}/{COMMAND}", os.path.dirname(self._link))


def _content(path: str) -> bytes | None:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return None


def _target(link: str) -> str | None:
    try:
        return os.readlink(link)
    except OSError:
        return None


def is_older(version: str) -> bool:
    """Tell whether ``version``, of an engine, is older than this one."""
    return _numbers(version) < _numbers(VERSION)


def _numbers(version: str) -> list[int]:
    """Return the numbers in ``version``, which can be compared; it may be anything that a host reports."""
    return [int(part) for part in version.split(".") if part.isdecimal() and len(part) < 10]
