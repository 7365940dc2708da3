# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Forgetting what is old. Whoever looks after a host calls this; runs never do, so it does not slow them down."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from time import sleep
from typing import TYPE_CHECKING, NamedTuple

from ..errors import AuditError, reason_of
from ..files import open_without_waiting
from .database_reader import open_for_reading, require_sqlite
from .json_lines import decode
from .log_reader import rotated
from .question import moment
from .sqlite import UnsuitableDatabase, open_for_writing

if TYPE_CHECKING:
    import sqlite3

#: Three days, as p2 did.
DEFAULT_RETENTION = "3d"

#: A log is rotated when its first record is older than that.
_ROTATE_AFTER = "1d"

#: Rows that are removed, or pages that are given back, at once, and seconds between, so that runs which want to write
#: meanwhile wait for little.
_BATCH = 500
_PAUSE = 0.01

_OLD = "FROM hook_runs WHERE start < ?"
_DELETE = f"DELETE FROM hook_runs WHERE id IN (SELECT id {_OLD} ORDER BY start LIMIT ?)"  # noqa: S608 (our own constants)

#: Seconds to wait for runs that write, each time.
_PATIENCE = 5.0


class PrunedLog(NamedTuple):
    """What became of a log."""

    #: Whether it was rotated.
    rotated: bool
    #: The rotated files that were removed, the oldest first.
    removed: list[str]


def prune_database(path: str, oldest: str, *, check: bool = False) -> int:
    """Remove the records of hooks that started before ``oldest``; return how many there are, or were.

    Args:
        oldest: a moment as :func:`.question.moment` returns it.
        check: only count them.

    Raises:
        AuditError: the database cannot be changed.
    """
    with _database(path, "removed", check=check) as connection:
        if connection is None:
            return 0
        if check:
            return int(connection.execute(f"SELECT count(*) {_OLD}", (oldest,)).fetchone()[0])
        removed = 0
        count = _BATCH
        while count == _BATCH:
            count = connection.execute(_DELETE, (oldest, _BATCH)).rowcount
            removed += count
            _settle(connection)
        return removed


def shrink_database(path: str) -> int:
    """Give the room that is free in the database back to the file system; return how many bytes that were.

    ``VACUUM`` would keep runs from writing for as long as it takes; this goes in small steps. Only a database of before
    that was possible is treated so, once.

    Raises:
        AuditError: the database cannot be changed.
    """
    with _database(path, "given back") as connection:
        if connection is None:
            return 0
        before = _pages(connection)
        if connection.execute("PRAGMA auto_vacuum").fetchone()[0] == 0:
            connection.execute("PRAGMA auto_vacuum=INCREMENTAL")
            connection.execute("VACUUM")
            _settle(connection)
        while connection.execute("PRAGMA freelist_count").fetchone()[0]:
            # By execute(), only the first page would go.
            connection.executescript(f"PRAGMA incremental_vacuum({_BATCH})")
            _settle(connection)
        size = int(connection.execute("PRAGMA page_size").fetchone()[0])
        return max(0, before - _pages(connection)) * size


def prune_log(path: str, oldest: str, *, rotate: bool = True, check: bool = False) -> PrunedLog:
    """Remove rotated files that nothing was written to since ``oldest``, and rotate a log that is a day old.

    So records go a file at a time, at most a day late, and runs that write meanwhile lose none.

    Args:
        oldest: a moment as :func:`.question.moment` returns it.
        rotate: whether to rotate the log itself, or leave that to somebody else.
        check: only tell what would be done.

    Raises:
        AuditError: a file cannot be removed or renamed.
    """
    path = os.path.abspath(path)
    removed = []
    now = datetime.now(timezone.utc)
    try:
        is_due = rotate and _begins_before(path, max(oldest, moment(_ROTATE_AFTER, now)))
        if is_due and not check:
            os.rename(path, f"{path}-{now:%Y%m%dT%H%M%S}")
        for file in rotated(path) + [path] * (is_due and check):
            written = datetime.fromtimestamp(os.stat(file).st_mtime, timezone.utc)
            if moment(written.isoformat(), now) < oldest:
                if not check:
                    os.unlink(file)
                removed.append(file)
    except OSError as error:
        raise _no_more(str(error.filename), error, "removed") from None
    return PrunedLog(is_due, removed)


@contextmanager
def _database(path: str, done: str, *, check: bool = False) -> Iterator[sqlite3.Connection | None]:
    """Open the database, for reading only where ``check`` is set; None where there is none yet.

    Raises:
        AuditError: it cannot be opened or changed; nothing more was ``done``.
    """
    require_sqlite()
    import sqlite3

    path = os.path.abspath(path)
    if not os.path.lexists(path):
        yield None
        return
    try:
        connection = open_for_reading(path) if check else open_for_writing(path, _PATIENCE)
        try:
            yield connection
        finally:
            connection.close()
    except (sqlite3.Error, OSError, UnsuitableDatabase) as error:
        raise _no_more(path, error, done) from None


def _settle(connection: sqlite3.Connection) -> None:
    """Let runs write that want to, and keep the write-ahead log short, or the next run would have to do that."""
    connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
    sleep(_PAUSE)


def _pages(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA page_count").fetchone()[0])


def _begins_before(path: str, oldest: str) -> bool:
    """Tell whether the first record of a log is from before ``oldest``."""
    try:
        with open(path, "rb", opener=open_without_waiting) as file:
            first = next(filter(None, map(decode, file)), None)
    except FileNotFoundError:
        return False
    return first is not None and str(first.get("start", "")) < oldest


def _no_more(path: str, error: Exception, done: str) -> AuditError:
    reason = reason_of(error) if isinstance(error, OSError) else error
    return AuditError(f"{path}: {reason}; nothing more was {done}")
