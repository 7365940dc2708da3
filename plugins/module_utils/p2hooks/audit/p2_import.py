# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Taking over the audit of p2 itself: the table ``hook_results`` in its SQLite databases."""

from __future__ import annotations

import hashlib
import os
import stat
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from ..errors import AuditError, reason_of
from .database_reader import open_for_reading, require_sqlite
from .json_lines import JSONLines
from .question import Question, moment
from .reading import read
from .sqlite import Database

_QUERY = """
    SELECT id, strftime('%Y-%m-%dT%H:%M:%S', date), pod_id, pod_unique_key, hook_name, hook_stage, success
    FROM hook_results ORDER BY id
"""

#: Seconds to wait for runs that write to the same database.
_PATIENCE = 5.0


#: Why a record is not imported.
THERE_ALREADY = "there already"
NO_TEXT = "a column holds what is no text"


@dataclass
class Imported:
    """What an import did, or would do."""

    #: How many records are, or were, new to the log or the database.
    records: int = 0
    #: How many of those lack something: what stands in its place, to their number.
    defaults: Counter[str] = field(default_factory=Counter)
    #: How many rows were left out, by the reason.
    skipped: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class P2Row:
    """A row of p2's, as a record of ours."""

    record: dict[str, Any]
    #: What was put in the place of what it lacks.
    defaults: tuple[str, ...]
    #: Why it cannot be a record; None where it can.
    obstacle: str | None


def import_p2(
    source: str, node: str, *, log: str | None = None, database: str | None = None, check: bool = False
) -> Imported:
    """Add what p2 recorded in ``source`` to the log, the database, or both; what is there already is left out.

    Args:
        node: the name of the host, which p2 did not record.
        check: only count what would be added.

    Raises:
        AuditError: the source cannot be read, or one of the others not be written.
    """
    result = Imported()
    usable = []
    for row in p2_rows(source, node):
        if row.obstacle is None:
            usable.append(row)
        else:
            result.skipped[row.obstacle] += 1
    records = [row.record for row in usable]
    new: set[str] = set()
    if log is not None:
        missing = _missing(records, log, None)
        new.update(record["run_id"] for record in missing)
        sink = JSONLines(log)
        for record in missing if not check else ():
            _check(sink.write(record))
    if database is not None:
        missing = _missing(records, os.devnull, database)
        new.update(record["run_id"] for record in missing)
        if missing and not check:
            _add(missing, database)
    for row in usable:
        if row.record["run_id"] in new:
            result.records += 1
            result.defaults.update(row.defaults)
        else:
            result.skipped[THERE_ALREADY] += 1
    return result


def p2_rows(source: str, node: str) -> Iterator[P2Row]:
    """Yield what p2 recorded in ``source``.

    Raises:
        AuditError: it cannot be read, or is no such database.
    """
    require_sqlite()
    import sqlite3

    source = os.path.abspath(source)
    remedy = "give a database that p2 has recorded hooks in"
    try:
        if not stat.S_ISREG(os.stat(source).st_mode):
            raise AuditError(f"{source}: is no regular file; {remedy}")
        connection = open_for_reading(source)
        connection.text_factory = lambda text: text.decode("utf-8", "replace")
        try:
            rows = connection.execute(_QUERY).fetchall()
        finally:
            connection.close()
    except (OSError, sqlite3.Error) as error:
        reason = reason_of(error) if isinstance(error, OSError) else error
        raise AuditError(f"{source}: {reason}; {remedy}") from None
    for row in rows:
        yield _row(row, node)


def _row(row: tuple[Any, ...], node: str) -> P2Row:
    number, date, pod_id, unique_key, hook, stage, success = row
    lacks = {
        "no name of the hook: its number stands for it": not hook,
        "no readable date: it is dated 1970-01-01": not date,
        "no event: it is empty": not stage,
        "no pod: it is empty": not pod_id,
        "no result: it is taken as failed": success is None,
    }
    record = {
        # The same for the same row, so that importing twice is importing once.
        "run_id": "p2-" + hashlib.sha256(repr(row).encode()).hexdigest()[:16],
        "host": node,
        "event": stage or "",
        "hook": hook or f"hook {number}",
        "hook_id": None,
        "manifest_sha": None,
        "artifact_version": None,
        "pod_id": pod_id or "",
        "pod_unique_key": unique_key or "",
        "outcome": "succeeded" if success == 0 else "failed",  # p2 wrote 0 for a success
        "reason": "imported from p2, which did not record more",
        "exit_code": None,
        "signal": None,
        "start": moment(date or "1970-01-01", datetime.now(timezone.utc)),
        "duration": None,
        "output": "",
        "output_truncated": False,
        "output_held_open": False,
    }
    names = ("event", "hook", "pod_id", "pod_unique_key")
    obstacle = None if all(isinstance(record[name], str) for name in names) else NO_TEXT
    return P2Row(record, tuple(what for what, is_so in lacks.items() if is_so), obstacle)


def _missing(records: list[dict[str, Any]], log: str, database: str | None) -> list[dict[str, Any]]:
    known = {record["run_id"] for record in read(Question(), log, database).records}
    return [record for record in records if record["run_id"] not in known]


def _add(records: list[dict[str, Any]], database: str) -> None:
    target = Database(database, patience=_PATIENCE)
    try:
        for record in records:
            target.add(record)
        _check(next(iter(target.flush()), None))
    finally:
        target.close()


def _check(warning: str | None) -> None:
    if warning:
        raise AuditError(f"{warning}; correct that, then import again")
