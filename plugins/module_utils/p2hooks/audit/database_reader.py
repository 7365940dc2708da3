# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading what has run from the database."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import AuditError
from .question import Question
from .sqlite import BOOLEANS, FIELDS, MIGRATIONS

if TYPE_CHECKING:
    import sqlite3

#: The names of hooks in a range, each found by one step in the index, however often it ran.
_NAMES = """
    WITH RECURSIVE names(hook) AS (
        SELECT min(hook) FROM hook_runs WHERE hook >= :first AND hook < :after
        UNION ALL
        SELECT (SELECT min(hook) FROM hook_runs WHERE hook > names.hook AND hook < :after) FROM names
        WHERE names.hook IS NOT NULL
    )
    SELECT hook FROM names WHERE hook IS NOT NULL
"""


#: SQLite does not put together more than 500 statements; from here on, to look at every record is no worse.
_MAX_PARTS = 100


def names_with_id(connection: sqlite3.Connection, hook_id: str) -> list[str]:
    """Return the names of hooks that begin with ``hook_id``, as those do that installing gives; more may do so.

    Raises:
        sqlite3.Error: the database cannot be read.
    """
    bounds = {"first": f"{hook_id}_", "after": f"{hook_id}`"}  # which comes after the underscore
    return [name for (name,) in connection.execute(_NAMES, bounds)]


def query(question: Question, names: Sequence[str] = ()) -> tuple[str, list[Any]]:
    """Return the SQL that ``question`` stands for, and its parameters.

    Args:
        names: those of :func:`names_with_id` where a hook is asked for, which may be an id. Each of them is looked up
            and sorted by the index, and SQLite merges what it finds.
    """
    # The event says less than the hook does, so with a hook (and the plus) its index is not used.
    conditions = [f"{'+' if question.hook and name == 'event' else ''}{name} = ?" for name in question.equal]
    parameters: list[Any] = list(question.equal.values())
    for condition, bound in (("start >= ?", question.since), ("start <= ?", question.until)):
        if bound is not None:
            conditions.append(condition)
            parameters.append(bound)
    parts: list[tuple[list[str], list[Any]]] = [([], [])]
    if question.hook is not None:
        parts = [(["hook = ?"], [question.hook])]
        parts += [(["hook = ?", "hook_id = ?"], [name, question.hook]) for name in names]
    if len(parts) > _MAX_PARTS:
        parts = [(["(hook = ? OR hook_id = ?)"], [question.hook, question.hook])]
    selects = []
    all_parameters: list[Any] = []
    for more, their_parameters in parts:
        where = f" WHERE {' AND '.join(more + conditions)}" if more + conditions else ""
        selects.append(f"SELECT {', '.join(FIELDS)}, id FROM hook_runs{where}")  # noqa: S608 (our own constants)
        all_parameters += their_parameters + parameters
    all_parameters.append(-1 if question.limit is None else question.limit)
    return f"{' UNION ALL '.join(selects)} ORDER BY start DESC, id DESC LIMIT ?", all_parameters


def read_database(question: Question, path: str) -> list[dict[str, Any]]:
    """Return the records that are asked for, the oldest first.

    Raises:
        AuditError: this Python has no SQLite, or the database cannot be read.
    """
    require_sqlite()
    import sqlite3

    try:
        connection = open_for_reading(path)
        try:
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            if version > len(MIGRATIONS):
                raise AuditError(
                    f"{path}: a newer version of this collection has written it; use that, or another file"
                )
            if version != len(MIGRATIONS):
                raise AuditError(f"{path}: has the schema {version}, not {len(MIGRATIONS)}; the next run corrects that")
            names = names_with_id(connection, question.hook) if question.hook is not None else ()
            rows = connection.execute(*query(question, names)).fetchall()
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise AuditError(f"{path}: {error}; the audit cannot be read") from None
    records = [dict(zip(FIELDS, row)) for row in reversed(rows)]
    for record in records:
        for name in BOOLEANS:
            record[name] = bool(record[name])
    return records


def require_sqlite() -> None:
    """Make sure that this Python can read databases at all, which some were built without.

    Raises:
        AuditError: it cannot.
    """
    try:
        import sqlite3  # noqa: F401 (only to see whether it is there)
    except ImportError:
        raise AuditError(
            "this Python has no SQLite; install its module sqlite3, or give the log of JSON lines"
        ) from None


def open_for_reading(path: str) -> sqlite3.Connection:
    """Open an SQLite database that is there, and cannot be changed through this.

    Raises:
        sqlite3.Error: it cannot be opened.
    """
    import sqlite3

    return sqlite3.connect(f"{Path(path).absolute().as_uri()}?mode=ro", uri=True, timeout=5, isolation_level=None)
