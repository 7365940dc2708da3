# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is being executed right now, so that a run that dies leaves word of it.

Each run has a file of its own beside the audit log, ``{log}.{run id}.running``, which holds the record of the hook that
is being executed, and is locked for as long as the run lives. A file that nobody has locked is that of a run that died.
A process that stays behind for an overdue hook has one as well, ``{log}.{run id}-{process id}.running``.
This costs a microsecond or two a hook, less than a second line in the log, and nothing has to be searched for.
"""

from __future__ import annotations

import os
from fcntl import LOCK_EX, LOCK_NB, flock
from time import time

from ..errors import reason_of
from .json_lines import decode, encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

#: A file that is empty may be new and not locked yet; after so many seconds its run must have died.
_YOUNG_SECONDS = 60

_SUFFIX = ".running"

#: What a line here has besides the record: the directory that the hook runs from, as in its ``HOOK``.
_STAGE = "stage"

#: More than any record is long, in bytes.
_RECORD_BYTES = 1 << 17


class RunningMark:
    """Notes which hook a run is executing."""

    def __init__(self, log: str, run_id: str) -> None:
        self._path = f"{log}.{run_id}{_SUFFIX}"
        self._descriptor: int | None = None
        self._marked: dict[str, Any] | None = None
        self._failed = False

    def set(self, record: dict[str, Any], stage: str) -> str | None:
        """Note that the hook of ``record`` and ``stage`` is about to be executed.

        Returns:
            A warning if that fails the first time.
        """
        if self._failed:
            return None
        self._marked = record
        try:
            if self._descriptor is None:
                self._descriptor = self._create()
            # The line of the last hook may have been longer; readers stop at the first newline.
            os.pwrite(self._descriptor, encode({**record, _STAGE: stage}), 0)
        except OSError as error:
            self._failed = True
            return f"{self._path}: {reason_of(error)}; if this run dies, the audit will not say so"
        return None

    def clear(self, record: dict[str, Any]) -> None:
        """Note that nothing is being executed, if ``record`` is the one that was marked."""
        if self._descriptor is None or record is not self._marked:
            return
        self._marked = None
        try:
            os.pwrite(self._descriptor, b"\n", 0)
        except OSError:  # the run goes on; at worst the record is looked at again when the run dies, and found complete
            return

    def remove(self) -> None:
        """Remove the file, since the run is over."""
        if self._descriptor is None:
            return
        try:  # noqa: SIM105 (contextlib is not on the way of running hooks)
            os.unlink(self._path)
        except OSError:  # somebody has removed it
            pass
        os.close(self._descriptor)
        self._descriptor = None

    def leave(self) -> None:
        """Leave the file to another process, which has got it by a fork."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _create(self) -> int:
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        try:
            descriptor = os.open(self._path, flags, 0o600)
        except FileNotFoundError:
            os.makedirs(os.path.dirname(self._path), 0o700, exist_ok=True)
            descriptor = os.open(self._path, flags, 0o600)
        flock(descriptor, LOCK_EX | LOCK_NB)
        return descriptor


def running(log: str) -> Iterator[dict[str, Any]]:
    """Yield the records of the hooks that are being executed, or were when their run died."""
    for path in _paths(log):
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:  # the run has ended
            continue
        try:
            record, dummy = _read(descriptor)
        finally:
            os.close(descriptor)
        if record:
            yield record


def end_of_dead_runs(log: str) -> Iterator[tuple[dict[str, Any], str]]:
    """Yield for each run that died the record and stage of the hook it was executing; between two, its run id alone.

    The run is forgotten when the next one is asked for.
    """
    for path in _paths(log):
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:  # the run has ended
            continue
        try:
            if _is_dead(descriptor):
                record, stage = _read(descriptor)
                yield record or {"run_id": path[len(log) + 1 : -len(_SUFFIX)].partition("-")[0]}, stage
                os.unlink(path)
        except OSError:  # somebody else has removed it
            continue
        finally:
            os.close(descriptor)


def _paths(log: str) -> list[str]:
    directory, prefix = os.path.split(f"{log}.")
    try:
        names = sorted(os.listdir(directory))
        return [f"{directory}/{name}" for name in names if name.startswith(prefix) and name.endswith(_SUFFIX)]
    except OSError:  # no run yet, or none that could say so
        return []


def _is_dead(descriptor: int) -> bool:
    """Tell whether the run is dead, and if so, hold its lock, so that nobody else comes to that."""
    status = os.fstat(descriptor)
    if status.st_size == 0 and time() - status.st_mtime < _YOUNG_SECONDS:
        return False
    try:
        flock(descriptor, LOCK_EX | LOCK_NB)
    except BlockingIOError:
        return False
    return os.fstat(descriptor).st_nlink > 0


def _read(descriptor: int) -> tuple[dict[str, Any] | None, str]:
    """Return the record and the stage of a hook; no record between two hooks."""
    line = os.pread(descriptor, _RECORD_BYTES, 0).partition(b"\n")[0]
    record = decode(line) if line else None
    if not record or "hook" not in record or "start" not in record:
        return None, ""
    return record, str(record.pop(_STAGE, ""))
