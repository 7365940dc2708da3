# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Changes on disk that are there wholly or not at all, also after a crash or a power loss."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from fcntl import LOCK_EX, LOCK_NB, flock
from time import monotonic, sleep

from .errors import LayoutError, reason_of

#: What is being made or removed begins with this; a later run clears away what a crash left.
TEMPORARY_PREFIX = ".tmp-"


def sync_directory(path: str) -> None:
    """Make the names in ``path`` survive a power loss."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_directories(path: str) -> None:
    """Create ``path``, and what is missing above it, with mode 0755 whatever the umask."""
    if os.path.isdir(path):
        return
    parent = os.path.dirname(path)
    make_directories(parent)
    try:
        os.mkdir(path, 0o755)
    except FileExistsError:
        if not os.path.isdir(path):
            raise
        return
    os.chmod(path, 0o755)
    sync_directory(parent)


def write_files(contents: Mapping[str, bytes], mode: int) -> None:
    """Put each content at its path by rename, creating the directories that are missing."""
    directories = {os.path.dirname(path) for path in contents}
    for directory in sorted(directories):
        make_directories(directory)
    for path, content in contents.items():
        _replace(path, content, mode)
    for directory in directories:
        sync_directory(directory)


def write_file(path: str, content: bytes, mode: int) -> None:
    """Put ``content`` at ``path`` by rename."""
    _replace(path, content, mode)
    sync_directory(os.path.dirname(path))


def write_link(link: str, target: str) -> None:
    """Make ``link`` a symbolic link to ``target`` by rename, so that it is never missing."""
    temporary = _temporary_name(link)
    os.symlink(target, temporary)
    try:
        os.rename(temporary, link)
    except BaseException:
        os.unlink(temporary)
        raise
    sync_directory(os.path.dirname(link))


def remove_tree(path: str) -> None:
    """Remove a directory: it is gone at once under its name, then its content is removed."""
    temporary = _temporary_name(path)
    os.rename(path, temporary)
    sync_directory(os.path.dirname(path))
    shutil.rmtree(temporary)


def clear_temporaries(directory: str) -> None:
    """Remove what a crash left half made or half removed in ``directory``, which need not exist."""
    for name in listdir(directory):
        if name.startswith(TEMPORARY_PREFIX):
            path = os.path.join(directory, name)
            if os.path.isdir(path) and not os.path.islink(path):
                shutil.rmtree(path)
            else:
                os.unlink(path)


def listdir(path: str) -> list[str]:
    """Return the sorted names in ``path``, none where it does not exist."""
    try:
        return sorted(os.listdir(path))
    except (FileNotFoundError, NotADirectoryError):
        return []


@contextmanager
def locked(path: str, patience: float) -> Iterator[None]:
    """Hold the lock file ``path``; it stays behind, and who dies with it loses the lock.

    Args:
        patience: how many seconds to wait for another holder.

    Raises:
        LayoutError: somebody else holds it for longer, or the file cannot be opened.
    """
    with errors_as_layout_errors("taking the lock"):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        deadline = monotonic() + patience
        while True:
            try:
                flock(descriptor, LOCK_EX | LOCK_NB)
                break
            except BlockingIOError:
                if monotonic() >= deadline:
                    raise LayoutError(
                        f"{path}: another installation has been at work here for {patience:.0f} s; "
                        "wait until it is done, then run this again"
                    ) from None
                sleep(0.05)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def errors_as_layout_errors(doing: str) -> Iterator[None]:
    """Turn the system's refusals into a LayoutError that says what we were ``doing`` and which path it was about."""
    try:
        yield
    except OSError as error:
        path = error.filename2 or error.filename  # of a rename or a link, where it was to go
        where = f"{path}: " if path else ""
        remedy = "do it as root, or as the owner" if isinstance(error, PermissionError) else "make it possible"
        raise LayoutError(f"{where}{reason_of(error)}, while {doing}; {remedy}, then run this again") from error


def _replace(path: str, content: bytes, mode: int) -> None:
    temporary = _temporary_name(path)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fchmod(descriptor, mode)
            os.fsync(descriptor)
        os.rename(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def _temporary_name(path: str) -> str:
    directory, name = os.path.split(path)
    return os.path.join(directory, f"{TEMPORARY_PREFIX}{name}-{os.urandom(4).hex()}")
