# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Forgetting what is old. Whoever looks after a host calls this; runs never do, so it does not slow them down."""

from __future__ import annotations

import os
import sqlite3
from datetime import datetime, timedelta, timezone
from time import sleep, time

from ..errors import AuditError, reason_of
from .json_lines import decode
from .reading import moment, rotated
from .sqlite import UnsuitableDatabase, open_for_writing

#: Three days, in seconds, as p2 did.
DEFAULT_RETENTION = 3 * 24 * 60 * 60.0

#: A log is rotated when its first record is older than that, in seconds.
_ROTATE_AFTER = 24 * 60 * 60.0

#: Rows that are removed at once, and seconds between, so that runs which want to write meanwhile wait for little.
_BATCH = 500
_PAUSE = 0.01


def prune_database(path: str, older_than: float = DEFAULT_RETENTION) -> int:
    """Remove the records of hooks that started more than ``older_than`` seconds ago; return how many there were.

    Raises:
        AuditError: the database cannot be changed.
    """
    path = os.path.abspath(path)
    if not os.path.lexists(path):
        return 0
    oldest = _moment_before(older_than)
    statement = "DELETE FROM hook_runs WHERE id IN (SELECT id FROM hook_runs WHERE start < ? ORDER BY start LIMIT ?)"
    removed = 0
    try:
        connection = open_for_writing(path, timeout=5)
        try:
            while True:
                count = connection.execute(statement, (oldest, _BATCH)).rowcount
                removed += count
                if count < _BATCH:
                    return removed
                sleep(_PAUSE)
        finally:
            connection.close()
    except (sqlite3.Error, OSError, UnsuitableDatabase) as error:
        reason = reason_of(error) if isinstance(error, OSError) else error
        raise AuditError(f"{path}: {reason}; nothing more was removed") from None


def prune_log(path: str, older_than: float = DEFAULT_RETENTION) -> int:
    """Remove rotated files that nothing was written to for ``older_than`` seconds, and rotate a log that is a day old.

    So records go a file at a time, at most a day late, and runs that write meanwhile lose none.

    Returns:
        how many files were removed.

    Raises:
        AuditError: a file cannot be removed or renamed.
    """
    path = os.path.abspath(path)
    removed = 0
    try:
        _rotate(path, _moment_before(min(older_than, _ROTATE_AFTER)))
        for file in rotated(path):
            if os.stat(file).st_mtime < time() - older_than:
                os.unlink(file)
                removed += 1
    except OSError as error:
        raise AuditError(f"{error.filename}: {reason_of(error)}; nothing more was removed") from None
    return removed


def _moment_before(seconds: float) -> str:
    now = datetime.now(timezone.utc)
    return moment((now - timedelta(seconds=seconds)).isoformat(), now)


def _rotate(path: str, oldest: str) -> None:
    """Rename the log if its first record is from before ``oldest``; the next record creates it anew."""
    try:
        with open(path, "rb") as file:
            first = next(filter(None, map(decode, file)), None)
    except FileNotFoundError:
        return
    if first and str(first.get("start", "")) < oldest:
        os.rename(path, f"{path}-{datetime.now(timezone.utc):%Y%m%dT%H%M%S}")
