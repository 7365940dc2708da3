# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Records in an SQLite database, for those who want to ask questions of them.

The log of JSON lines is what counts; the database is written once a run, or once a second, since a transaction for each
hook would write every index anew. What a run that died had not written is taken from the log by who asked for it, or by
the next run.
"""

from __future__ import annotations

import os
import stat
from time import monotonic, sleep

from ..errors import reason_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence
    from typing import Any

#: The fields of a record, and the columns of the table.
FIELDS = (
    "run_id", "host", "event", "hook", "hook_id", "manifest_sha", "artifact_version", "pod_id", "pod_unique_key",
    "outcome", "reason", "exit_code", "signal", "start", "duration", "output", "output_truncated", "output_held_open",
)  # fmt: skip

#: SQLite has no truth values; these columns hold 0 or 1.
BOOLEANS = ("output_truncated", "output_held_open")

#: What takes a database from each version of its schema to the next, beginning with an empty one. Those that were ever
#: released never change. ``PRAGMA user_version`` says how many a database has seen.
MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """
        CREATE TABLE hook_runs (
            id INTEGER PRIMARY KEY,
            run_id TEXT NOT NULL,
            host TEXT,
            event TEXT,
            hook TEXT NOT NULL,
            hook_id TEXT,
            manifest_sha TEXT,
            artifact_version TEXT,
            pod_id TEXT,
            pod_unique_key TEXT,
            outcome TEXT NOT NULL,
            reason TEXT,
            exit_code INTEGER,
            signal TEXT,
            start TEXT NOT NULL,
            duration REAL,
            output TEXT,
            output_truncated INTEGER,
            output_held_open INTEGER
        )
        """,
    ),
    (
        # With start, so that the newest come first without sorting. Each costs every run, so there is none on hook_id:
        # the name of a hook begins with its id, see database_reader.names_with_id().
        "CREATE INDEX hook_runs_by_start ON hook_runs (start)",
        "CREATE INDEX hook_runs_by_hook ON hook_runs (hook, start)",
        "CREATE INDEX hook_runs_by_pod ON hook_runs (pod_id, start)",
        "CREATE INDEX hook_runs_by_event ON hook_runs (event, start)",
        "CREATE INDEX hook_runs_by_outcome ON hook_runs (outcome, start)",
        "CREATE INDEX hook_runs_by_run ON hook_runs (run_id, start)",
    ),
)

#: How long a run waits for others that write, in seconds, all in all: it is on the path of a deploy.
PATIENCE = 0.25
_RETRY_AFTER = 0.002

#: A record waits for company for so many seconds, or until the run is over.
_FLUSH_AFTER = 1.0

#: From this size on, in bytes, the write-ahead log is emptied. A process that exits without closing the database leaves
#: it behind, and the next one reads it all, so it must not become long.
_LONG_WAL = 1 << 21

_PLACES = ", ".join("?" * len(FIELDS))
_INSERT = f"INSERT INTO hook_runs ({', '.join(FIELDS)}) VALUES ({_PLACES})"  # noqa: S608 (our own constants)
_INSERT_IF_MISSING = (
    f"INSERT INTO hook_runs ({', '.join(FIELDS)}) SELECT {_PLACES} WHERE NOT EXISTS "  # noqa: S608
    "(SELECT 1 FROM hook_runs WHERE run_id = ? AND start = ? AND hook = ? AND outcome = ?)"
)


class UnsuitableDatabase(Exception):
    """There is something else in the place of the database."""


class Database:
    """Adds records to a database that many processes may share."""

    def __init__(self, path: str, patience: float = PATIENCE) -> None:
        self.path = os.path.abspath(path)
        self._patience = patience
        self._connection: sqlite3.Connection | None = None
        self._waiting: list[tuple[dict[str, Any], bool]] = []
        self._waiting_since = 0.0

    def add(self, record: dict[str, Any], *, unless_there: bool = False) -> None:
        """Take in ``record``, which is written no later than by :meth:`flush`."""
        if not self._waiting:
            self._waiting_since = monotonic()
        self._waiting.append((record, unless_there))
        if monotonic() - self._waiting_since >= _FLUSH_AFTER:
            self._try_to_write()  # where that fails, the next attempt says so

    def flush(self) -> list[str]:
        """Write what is waiting; return warnings that say why it could not be written, and never raise."""
        obstacle = self._try_to_write()
        if obstacle is None:
            self._empty_long_wal()
            return []
        hooks = ", ".join(record["hook"] for record, dummy in self._waiting)
        self._waiting.clear()
        return [f"{self.path}: {obstacle}; this run of {hooks} is not in the database"]

    def close(self) -> None:
        """Close the database; whoever closes it last brings what is in its write-ahead log to its place."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _try_to_write(self) -> str | None:
        """Write what is waiting, patiently; return what stands in the way."""
        if not self._waiting:
            return None
        try:
            # sqlite3 would bring datetime and more along, a third of the time that it takes to load.
            import _sqlite3
        except ImportError:
            return "this Python has no SQLite; install its module sqlite3, or do without a database"
        began = monotonic()
        try:
            while True:
                try:
                    self._write()
                    return None
                except _sqlite3.OperationalError as error:
                    self.close()
                    if not is_locked(error) or monotonic() - began >= self._patience:
                        raise
                sleep(_RETRY_AFTER)
        except _sqlite3.Error as error:
            self.close()
            return str(error)
        except (UnsuitableDatabase, OSError) as error:
            self.close()
            return reason_of(error) if isinstance(error, OSError) else str(error)
        finally:
            self._patience -= monotonic() - began

    def _empty_long_wal(self) -> None:
        """Bring what is in the write-ahead log to its place, but only now and then, since that waits for the disk."""
        if self._connection is None:
            return
        try:
            if os.stat(f"{self.path}-wal").st_size > _LONG_WAL:
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except Exception:  # noqa: BLE001 (sqlite3.Error or OSError: the records are safe, and the next run tries again)
            self.close()

    def _write(self) -> None:
        if self._connection is None:
            self._connection = open_for_writing(self.path)
        connection = self._connection
        connection.execute("BEGIN IMMEDIATE")
        for record, unless_there in self._waiting:
            values = [_storable(record.get(field)) for field in FIELDS]
            if unless_there:
                key = [_storable(record[field]) for field in ("run_id", "start", "hook", "outcome")]
                connection.execute(_INSERT_IF_MISSING, values + key)
            else:
                connection.execute(_INSERT, values)
        connection.execute("COMMIT")
        self._waiting.clear()


def open_for_writing(path: str, timeout: float = 0.0) -> sqlite3.Connection:
    """Open the database at ``path``, create it where it is missing, and bring its schema up to date.

    Args:
        timeout: seconds to wait for others that write, each time.

    Raises:
        sqlite3.Error: it is locked, damaged, no database, or cannot be written.
        OSError: the file cannot be created.
        UnsuitableDatabase: it is another program's, or that of a newer version of this one.
    """
    import _sqlite3

    _create_file(path)
    connection: sqlite3.Connection = _sqlite3.connect(path, timeout=timeout, isolation_level=None)
    try:
        # NORMAL: a killed process loses nothing, and a power loss damages nothing, but may take the last records. FULL
        # would wait for the disk with every run, and so for whatever the deploy has just unpacked.
        connection.execute("PRAGMA synchronous=NORMAL")
        # After each commit it would be looked at by SQLite too, which has no good moment for it; see flush().
        connection.execute("PRAGMA wal_autocheckpoint=0")
        migrate(connection, MIGRATIONS)
    except BaseException:
        connection.close()
        raise
    return connection


def migrate(connection: sqlite3.Connection, migrations: Sequence[tuple[str, ...]]) -> None:
    """Apply those of ``migrations`` that the database has not seen, all of them or none.

    Raises:
        sqlite3.Error: it is locked, damaged, no database, or cannot be written.
        UnsuitableDatabase: it is another program's, or that of a newer version of this one.
    """
    if _version(connection) == len(migrations):
        return
    if _version(connection) > len(migrations):
        raise UnsuitableDatabase("a newer version of this collection has written it; use that, or another file")
    tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if tables and _version(connection) == 0:  # in this order: somebody else may be creating it
        raise UnsuitableDatabase("is the database of another program; give another file")
    # So that pruning can give room back in small steps; SQLite takes it only for a database that is empty.
    connection.execute("PRAGMA auto_vacuum=INCREMENTAL")
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("BEGIN IMMEDIATE")
    try:
        for statements in migrations[_version(connection) :]:  # another process may have been faster
            for statement in statements:
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version={len(migrations)}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def is_locked(error: Exception) -> bool:
    """Tell whether another process was at work; error codes are there only from Python 3.11 on."""
    return "locked" in str(error)


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _create_file(path: str) -> None:
    """Create a file that only its owner can read, and the directories above; SQLite itself goes by the umask."""
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
        # Never opens a file that is there: closing it again would drop the locks that SQLite has on it.
        try:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        except FileExistsError:  # another process was faster
            return
    else:
        if not stat.S_ISREG(mode):
            raise UnsuitableDatabase("is no regular file; remove it, or give another one")


def _storable(value: object) -> object:
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value
