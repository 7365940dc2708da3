# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Answering questions about what has run, from the log of JSON lines or from the database."""

from __future__ import annotations

import gzip
import heapq
import os
import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, BinaryIO

from ..configuration import Settings
from ..errors import AuditError, reason_of, shown
from ..events import EVENTS
from ..files import open_without_waiting
from ..outcomes import CLOSING, SKIPPED, STARTED, SUCCEEDED, TIMED_OUT
from .json_lines import decode, encode
from .running import running
from .sqlite import BOOLEANS, FIELDS, MIGRATIONS

if TYPE_CHECKING:
    import sqlite3

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}

#: What logrotate and others append: a number or a date, and perhaps .gz.
_ROTATED = re.compile(r"[.-][0-9][0-9T-]*(\.gz)?")

#: So much of the output of a failure is part of a summary, in characters from its end.
_TAIL = 2000


@dataclass(frozen=True)
class Question:
    """Which records are wanted; None is no restriction."""

    #: The name of a hook in ``exec/``, or the id that such a name begins with; either also behind an event and ``/``.
    hook: str | None = None
    hook_id: str | None = None
    pod_id: str | None = None
    event: str | None = None
    outcome: str | None = None
    run_id: str | None = None
    #: The first and the last moment at which a hook may have started, as :func:`moment` returns them.
    since: str | None = None
    until: str | None = None
    #: How many records to return at most.
    limit: int | None = None

    def __post_init__(self) -> None:
        """Take the event out of ``hook``.

        Raises:
            AuditError: what is before the ``/`` is none, or not the one in ``event``.
        """
        if self.hook is None or "/" not in self.hook:
            return
        event, dummy, hook = self.hook.partition("/")
        if event not in EVENTS or not hook or self.event not in (None, event):
            raise AuditError(
                f"hook is {shown(self.hook)}; give its name in exec/, its id, or one of these behind "
                f"{self.event or 'an event'} and /"
            )
        object.__setattr__(self, "event", event)
        object.__setattr__(self, "hook", hook)

    @property
    def equal(self) -> dict[str, str]:
        """The fields that have to have a certain value."""
        names = ("hook_id", "pod_id", "event", "outcome", "run_id")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}

    def matches(self, record: dict[str, Any]) -> bool:
        """Tell whether ``record`` is wanted."""
        start = str(record.get("start", ""))
        return (
            self._is_of_hook(record)
            and all(record.get(name) == value for name, value in self.equal.items())
            and (self.since is None or start >= self.since)
            and (self.until is None or start <= self.until)
        )

    def _is_of_hook(self, record: dict[str, Any]) -> bool:
        name = record.get("hook")
        return self.hook in (None, name) or (
            record.get("hook_id") == self.hook and str(name).startswith(f"{self.hook}_")
        )


def moment(text: str, now: datetime) -> str:
    """Return a moment as records have it; ``text`` is ISO 8601, UTC if it does not say, or an age such as ``90m``.

    Raises:
        AuditError: it is neither.
    """
    age = re.fullmatch(r"([0-9]{1,6})([smhdw])", text)
    try:
        if age:
            when = now - timedelta(**{_UNITS[age[2]]: int(age[1])})
        else:
            when = datetime.fromisoformat(re.sub(r"[zZ]$", "+00:00", text))
        if when.tzinfo is None:
            when = when.replace(tzinfo=timezone.utc)
        return when.astimezone(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    except (ValueError, OverflowError):
        raise AuditError(
            f"{shown(text)} is no moment; give an age such as 90m, 12h or 3d, or a time such as 2026-01-31T12:00:00Z"
        ) from None


class Answer:
    """The records that were asked for, the newest first, and what was in the way."""

    def __init__(self) -> None:
        self.records: list[dict[str, Any]] = []
        self.warnings: list[str] = []
        #: Says which log or database is not there, which is why there are no records; None where it is.
        self.missing: str | None = None


def complete(settings: Settings, options: dict[str, Any]) -> None:
    """Fill ``options``; but where only the log is given, the database of the configuration file is not meant."""
    only_log = options["audit_log"] is not None and options["audit_database"] is None
    settings.fill(options)
    if only_log:
        options["audit_database"] = None


def read(question: Question, log: str, database: str | None = None) -> Answer:
    """Return what the database has, or, where there is none, the log and the files it was rotated to.

    What is being executed at this moment is part of it, with the outcome ``started``. Where neither the audit nor any
    run is there, the answer is empty, and says so in a warning.

    Raises:
        AuditError: the audit cannot be read.
        OSError: it cannot be told whether it is there; ``filename`` is the path.
    """
    answer = Answer()
    log = os.path.abspath(log)
    executed = list(running(log))
    recorded: Iterable[dict[str, Any]] = []
    kind, path = ("database", os.path.abspath(database)) if database else ("log", log)
    if _exists(path) or (not database and rotated(log)):
        recorded = _read_database(question, path) if database else _read_log(question, log, answer.warnings)
    elif not executed:
        answer.missing = f"no audit {kind} at {path}"
        answer.warnings.append(f"{answer.missing}; no hook has run here yet, or runs are recorded elsewhere")
    now = [{**record, "outcome": STARTED} for record in executed if record.get("outcome") != TIMED_OUT]
    found = enumerate([*recorded, *filter(question.matches, now)])
    if question.limit is None:
        newest = sorted(found, key=_age, reverse=True)
    else:
        newest = heapq.nlargest(question.limit, found, key=_age)
    answer.records = [record for dummy, record in newest]
    return answer


def _exists(path: str) -> bool:
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def _age(found: tuple[int, dict[str, Any]]) -> tuple[str, int]:
    position, record = found
    return str(record.get("start", "")), position


def summarise(records: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return one dictionary for each hook of each event; the documentation of p2_hook_audit_info has its members."""
    summaries: dict[tuple[str, str], dict[str, Any]] = {}
    durations: dict[tuple[str, str], list[float]] = {}
    for record in records:
        key = (str(record.get("event")), str(record.get("hook")))
        summary = summaries.setdefault(
            key,
            {
                "hook": record.get("hook"),
                "hook_id": record.get("hook_id"),
                "event": record.get("event"),
                "runs": 0,
                "skipped": 0,
                "outcomes": {},
                "hours": {},
                "last_start": "",
                "last_outcome": None,
                "host": None,
                "manifest_sha": None,
                "artifact_version": None,
                "last_failure": None,
                "median_duration": None,
                "max_duration": None,
            },
        )
        outcome = str(record.get("outcome"))
        summary["outcomes"][outcome] = summary["outcomes"].get(outcome, 0) + 1
        if outcome in CLOSING:
            continue
        start = str(record.get("start"))
        summary["skipped" if outcome == SKIPPED else "runs"] += 1
        hour = summary["hours"].setdefault(start[: len("2026-01-31T12")], {})
        hour[outcome] = hour.get(outcome, 0) + 1
        if start > summary["last_start"]:
            summary["last_start"], summary["last_outcome"] = start, outcome
            summary.update({name: record.get(name) for name in ("host", "manifest_sha", "artifact_version")})
        failure = summary["last_failure"]
        if outcome not in (STARTED, SUCCEEDED) and (failure is None or start > str(failure.get("start"))):
            summary["last_failure"] = record
        duration = record.get("duration")
        if isinstance(duration, (int, float)) and outcome not in (STARTED, SKIPPED):
            durations.setdefault(key, []).append(duration)
    for key, values in durations.items():
        summaries[key]["median_duration"], summaries[key]["max_duration"] = round(median(values), 4), max(values)
    for summary in summaries.values():
        if summary["last_failure"]:
            summary["last_failure"] = _with_tail(summary["last_failure"])
    return [summaries[key] for key in sorted(summaries)]


def _with_tail(record: dict[str, Any]) -> dict[str, Any]:
    output = str(record.get("output") or "")
    truncated = bool(record.get("output_truncated")) or len(output) > _TAIL
    return {**record, "output": output[-_TAIL:], "output_truncated": truncated}


# --- JSON lines -------------------------------------------------------------------------------------------------------


def rotated(log: str) -> list[str]:
    """Return the files that ``log`` was rotated to, the oldest first."""
    directory, name = os.path.split(os.path.abspath(log))
    try:
        names = os.listdir(directory)
    except (FileNotFoundError, NotADirectoryError):
        return []
    found = {other for other in names if other.startswith(name) and _ROTATED.fullmatch(other[len(name) :])}
    # While a file is being compressed, both are there.
    paths = [os.path.join(directory, other) for other in found if other[: -len(".gz")] not in found]
    return sorted(paths, key=lambda path: (_modified(path), path))


def _modified(path: str) -> float:
    try:
        return os.stat(path).st_mtime
    except OSError:  # it has been removed meanwhile
        return 0.0


def _read_log(question: Question, log: str, warnings: list[str]) -> Iterator[dict[str, Any]]:
    # Members of a line as they are written, to pass over most lines quickly.
    needles = [encode({name: value})[1:-2] for name, value in question.equal.items()]
    if question.hook is not None:
        needles.append(encode({"hook": question.hook})[1 : -len('"}\n')])  # an id is only the beginning of the name
    with ExitStack() as stack:
        # The log itself is opened first: if it is rotated meanwhile, it is recognised among the others.
        current = _open([log], stack)
        for path, file in {**_open(rotated(log), stack), **current}.values():
            unreadable = 0
            try:
                for line in stack.enter_context(gzip.open(file)) if path.endswith(".gz") else file:
                    if not all(needle in line for needle in needles):
                        continue
                    record = decode(line)
                    if record is None:
                        unreadable += bool(line.strip())
                    elif question.matches(record):
                        yield record
            except (OSError, EOFError, zlib.error) as error:
                reason = reason_of(error) if isinstance(error, OSError) else str(error)
                warnings.append(f"{path}: {reason}; what follows in it is missing here")
            if unreadable:
                warnings.append(f"{path}: {unreadable} of its lines are no records, or were cut off")


def _open(paths: list[str], stack: ExitStack) -> dict[tuple[int, int], tuple[str, BinaryIO]]:
    """Open those of ``paths`` that exist; return them by device and inode."""
    files = {}
    for path in paths:
        try:
            file: BinaryIO = stack.enter_context(open(path, "rb", opener=open_without_waiting))  # noqa: SIM115
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise AuditError(f"{path}: {reason_of(error)}; the audit cannot be read") from None
        status = os.fstat(file.fileno())
        files[status.st_dev, status.st_ino] = path, file
    return files


# --- SQLite -----------------------------------------------------------------------------------------------------------


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


def _read_database(question: Question, path: str) -> list[dict[str, Any]]:
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
