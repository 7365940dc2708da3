# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A store in a directory: a key is a file. For one machine, a shared mount, or a git checkout."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import stat
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from .. import disk, vetting
from ..errors import HookRefused, StoreError, StoreUnavailable, reason_of, shown
from .base import ABSENT, Change, Entry, Snapshot, Store

_LOCK_NAME = ".lock"

#: How often to look for changes, in seconds; less often where looking would take more than this share of a processor.
_LOOK_EVERY = 1.0
_MAX_LOAD = 0.001


#: Inode, size, and the times of the last changes of content and inode, by path.
_Marks = dict[str, tuple[int, int, int, int]]


class DirectoryStore(Store):
    """Keys as files below one directory; names that begin with a dot are no keys.

    Whoever can change a file here becomes root on the hosts that install from it. So everything that is read, and every
    directory above it, must belong to root or to the user who reads it, and nobody else may be allowed to write it; see
    :mod:`..vetting`. Symbolic links are refused, not skipped: to skip one would look as if the hook had been removed.

    A reader sees all of a transaction or nothing of it, unless it may not open the lock file, which only its owner may.
    When the machine goes down or the disk fails amid a commit, each key has its old or its new value, and running again
    completes it.

    Args:
        path: the directory.
        create: a missing directory is an empty store, and the first commit creates it.
        timeout: seconds to wait while somebody else commits.
    """

    lookalike_of_empty = "a file system that is not mounted"

    def __init__(self, path: str, *, create: bool = False, timeout: float = 30.0) -> None:
        self._root = os.path.abspath(path)
        self._create = create
        self._timeout = timeout
        self.name = f"the store in {shown(self._root, 200)}"
        #: What :meth:`wait` saw last under each prefix, and the index that it gave that.
        self._seen: dict[str, tuple[_Marks, int]] = {}

    def read(self, prefix: str) -> dict[str, Entry]:
        """See :meth:`Store.read`."""
        self._check_prefix(prefix)
        with self._errors_named():
            if not self._root_exists():
                return {}
            with self._locked_for_reading():
                return dict(sorted(self._entries(prefix)))

    def wait(self, prefix: str, index: int, seconds: float) -> Snapshot:
        """See :meth:`Store.wait`. It looks at the files now and then.

        The kernel could tell of changes (inotify), but not of those that other hosts make on a shared mount.
        """
        self._check_prefix(prefix)
        deadline = time.monotonic() + seconds
        while True:
            cpu_before = time.thread_time()
            marks = self._marks(prefix)
            before, number = self._seen.get(prefix, ({}, 0))
            if marks != before or not number:
                number += 1
                self._seen[prefix] = marks, number
            left = deadline - time.monotonic()
            if number != index or left <= 0:
                # Read after the look: what changes in between is seen by the next one.
                return Snapshot(self.read(prefix), number)
            time.sleep(min(left, max(_LOOK_EVERY, (time.thread_time() - cpu_before) / _MAX_LOAD)))

    def get(self, key: str) -> Entry | None:
        """See :meth:`Store.get`."""
        self._check_key(key)
        with self._errors_named():
            return self._entry_at(key) if self._root_exists() else None

    def commit(self, changes: Sequence[Change]) -> None:
        """See :meth:`Store.commit`."""
        self._check_changes(changes)
        with self._errors_named():
            if not self._root_exists():
                disk.make_directories(self._root)
            with self._locked_for_writing():
                for change in changes:
                    entry = self._entry_at(change.key)
                    if entry is None and change.value is None and not change.must_exist:
                        continue
                    if (entry.index if entry else ABSENT) != change.index:
                        raise self._conflict(change.key)
                self._apply(changes)

    def _root_exists(self) -> bool:
        try:
            status = os.stat(self._root)
        except FileNotFoundError:
            if self._create:
                self._vet_way()
                return False
            raise StoreUnavailable(f"{self.name} does not exist; schedule a hook first, or mount it") from None
        if not stat.S_ISDIR(status.st_mode):
            raise StoreError(f"{self.name} is a file; name a directory")
        _check_trusted(self._root, status)
        self._vet_way()
        return True

    def _vet_way(self) -> None:
        """Make sure that nobody else can put another directory in the place of this one.

        Raises:
            StoreError: somebody else can.
            OSError: the way to it cannot be looked at.
        """
        try:
            vetting.vet_way(self._root)
        except FileNotFoundError:  # the rest of the way will be made
            return
        except HookRefused as refusal:
            raise StoreError(
                f"{self.name} can be replaced by others, who could then run code as root: {refusal}"
            ) from None

    def _path(self, key: str) -> str:
        return f"{self._root}/{key}" if key else self._root

    def _has_directory(self, key: str) -> bool:
        """Return whether the directory ``key`` exists, having checked it and all above it."""
        path = self._root
        for part in key.split("/") if key else ():
            path = f"{path}/{part}"
            try:
                status = os.lstat(path)
            except FileNotFoundError:
                return False
            if stat.S_ISLNK(status.st_mode):
                raise _not_plain(path)
            if not stat.S_ISDIR(status.st_mode):
                return False
            _check_trusted(path, status)
        return True

    def _entries(self, prefix: str) -> Iterator[tuple[str, Entry]]:
        start = prefix.rpartition("/")[0]
        directories = [start] if self._has_directory(start) else []
        while directories:
            directory = directories.pop()
            path = self._path(directory)
            try:
                _check_trusted(path, os.stat(path))
                children = os.scandir(path)
            except FileNotFoundError:  # a commit removes directories that became empty
                continue
            with children:
                for child in children:
                    key = f"{directory}/{child.name}" if directory else child.name
                    if child.name.startswith(".") or not key.startswith(prefix):
                        continue
                    if child.is_dir(follow_symlinks=False):
                        directories.append(key)
                    elif (entry := _read_file(child.path)) is not None:
                        yield key, entry

    def _marks(self, prefix: str) -> _Marks:
        """Return what shows without reading them that files under ``prefix`` changed; nothing where nothing is."""
        marks: _Marks = {}
        start = prefix.rpartition("/")[0]
        directories = [self._path(start)]
        with self._errors_named():
            while directories:
                try:
                    children = os.scandir(directories.pop())
                except (FileNotFoundError, NotADirectoryError):
                    continue
                with children:
                    for child in children:
                        if child.name.startswith("."):
                            continue
                        if child.is_dir(follow_symlinks=False):
                            directories.append(child.path)
                        with suppress(FileNotFoundError):
                            status = child.stat(follow_symlinks=False)
                            marks[child.path] = status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
        return marks

    def _entry_at(self, key: str) -> Entry | None:
        if not self._has_directory(key.rpartition("/")[0]):
            return None
        return _read_file(self._path(key))

    def _apply(self, changes: Sequence[Change]) -> None:
        written = {self._path(change.key): change.value for change in changes if change.value is not None}
        deleted = {self._path(change.key) for change in changes if change.value is None}
        parents = {os.path.dirname(path) for path in written}
        for parent in parents:
            disk.make_directories(parent)
            disk.clear_temporaries(parent)
        temporaries: dict[str, str] = {}
        try:
            for path, value in written.items():
                if os.path.isdir(path):
                    raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
                temporaries[path] = temporary = f"{os.path.dirname(path)}/{disk.TEMPORARY_PREFIX}{len(temporaries)}"
                _write_file(temporary, value)
            for path in written:
                os.rename(temporaries[path], path)
                del temporaries[path]
        finally:
            for temporary in temporaries.values():
                with suppress(FileNotFoundError):
                    os.unlink(temporary)
        for path in deleted:
            with suppress(FileNotFoundError):
                os.unlink(path)
            parents.add(self._remove_empty_directories(os.path.dirname(path)))
        for parent in parents:
            if os.path.isdir(parent):
                disk.sync_directory(parent)

    def _remove_empty_directories(self, path: str) -> str:
        """Remove ``path`` and the directories above it while they are empty; return the lowest one that stays."""
        while path != self._root:
            try:
                os.rmdir(path)
            except FileNotFoundError:
                pass
            except OSError as error:
                if error.errno in {errno.ENOTEMPTY, errno.EEXIST}:
                    break
                raise
            path = os.path.dirname(path)
        return path

    @contextmanager
    def _locked_for_writing(self) -> Iterator[None]:
        # Only its owner may open it: a lock that anybody can take is one that anybody can keep.
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        with self._lock(os.open(self._path(_LOCK_NAME), flags, 0o600), fcntl.LOCK_EX):
            yield

    @contextmanager
    def _locked_for_reading(self) -> Iterator[None]:
        try:
            descriptor = os.open(self._path(_LOCK_NAME), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except (FileNotFoundError, PermissionError):
            yield
            return
        with self._lock(descriptor, fcntl.LOCK_SH):
            yield

    @contextmanager
    def _lock(self, descriptor: int, operation: int) -> Iterator[None]:
        try:
            deadline = time.monotonic() + self._timeout
            while True:
                try:
                    fcntl.flock(descriptor, operation | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() >= deadline:
                        raise StoreUnavailable(
                            f"{self.name} has been locked by another process for {self._timeout:g} s; try again later"
                        ) from None
                time.sleep(0.01)
            yield
        finally:
            os.close(descriptor)

    @contextmanager
    def _errors_named(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            path = shown(error.filename or self._root, 200)
            raise StoreError(f"{path}: {reason_of(error)}; correct that, then run this again") from error


def _check_trusted(path: str, status: os.stat_result) -> None:
    """Refuse what somebody else could change.

    Raises:
        StoreError: says how to put it right.
    """
    path = shown(path, 200)
    if stat.S_IMODE(status.st_mode) & (stat.S_IWGRP | stat.S_IWOTH):
        raise StoreError(f"{path} is writable by others, who could then run code as root; chmod go-w {path}")
    if status.st_uid not in {0, os.geteuid()}:
        raise StoreError(
            f"{path} belongs to the user with id {status.st_uid}, who could then run code as root; chown root {path}"
        )


def _not_plain(path: str) -> StoreError:
    return StoreError(f"{shown(path, 200)} is neither a plain file nor a directory; put a copy of the file there")


def _read_file(path: str) -> Entry | None:
    try:
        # Without O_NONBLOCK, to open a named pipe waits for somebody who writes to it.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno in {errno.ELOOP, errno.ENXIO}:
            raise _not_plain(path) from error
        raise
    try:
        status = os.fstat(descriptor)
        if stat.S_ISDIR(status.st_mode):
            return None
        if not stat.S_ISREG(status.st_mode):
            raise _not_plain(path)
        _check_trusted(path, status)
        with open(descriptor, "rb", buffering=0, closefd=False) as file:
            value = file.readall()
    finally:
        os.close(descriptor)
    return Entry(value, _index(value))


def _index(value: bytes) -> int:
    """Return an index that depends on the content alone, so that it holds in every checkout of a repository."""
    return int.from_bytes(hashlib.sha256(value).digest()[:8], "big") or 1


def _write_file(path: str, value: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with open(descriptor, "wb") as file:
        file.write(value)
        file.flush()
        os.fchmod(descriptor, 0o644)
        os.fsync(descriptor)
