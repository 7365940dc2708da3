# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``p2-hook audit``: what ran, for which pod, with which outcome, since when; and the upkeep of that."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

from ..audit import p2_import, pruning, reading
from ..audit.question import Question, moment
from ..audit.summary import summarise
from ..configuration import Settings
from ..console import Answer, UsageError, abbreviated, printable
from ..errors import AuditError
from ..run import describe
from ..run_command import output_of
from . import output

#: Where records are: each of the two is changed only where it is meant.
_SINKS = ("audit_log", "audit_database")

_FILTERS = ("hook", "hook_id", "pod_id", "event", "outcome", "run_id")


def answer(options: argparse.Namespace) -> Answer:
    """Return the records, or the summary of them, that ``options`` ask for.

    Raises:
        AuditError: a moment is unreadable, or the audit is.
    """
    now = datetime.now(timezone.utc)
    question = Question(
        **{name: getattr(options, name) for name in _FILTERS},
        since=options.since and moment(options.since, now),
        until=options.until and moment(options.until, now),
        limit=None if options.summary else options.limit or None,
    )
    found = reading.read(question, options.audit_log, options.audit_database)
    if options.summary:
        summary = summarise(found.records)
        data: dict[str, Any] = {"summary": summary}
        columns = ["event", "hook", "ran", "skipped", "outcomes", "last", "median", "longest"]
        rows = [_summary_row(each) for each in summary]
    else:
        data = {"records": found.records}
        columns = ["start", "event", "pod", "hook", "version", "seconds", "outcome"]
        rows = [_row(record) for record in found.records]
    lines = output.table(columns, rows) if rows else ["nothing of that kind is on record"]
    if rows and not options.summary:
        lines = lines[:1] + [
            each for line, record in zip(lines[1:], found.records) for each in (line, *output_of(record))
        ]
    return Answer({**data, "missing": found.missing}, lines, warnings=found.warnings)


def complete_sinks(settings: Settings, options: dict[str, Any]) -> None:
    """Fill ``options``; but where the log or the database is given, the other one is not meant, and stays None."""
    given = {name: options[name] for name in _SINKS}
    settings.fill(options)
    if any(given.values()):
        options.update(given)


def prune(options: argparse.Namespace) -> Answer:
    """Remove from the log and the database that ``options`` name what is older than they say.

    Raises:
        AuditError: a moment is unreadable, or something cannot be removed.
    """
    log, database = options.audit_log, options.audit_database
    if options.vacuum and database is None:
        raise UsageError("--vacuum needs --audit-database; see p2-hook audit-prune --help")
    now = datetime.now(timezone.utc)
    oldest = moment(options.older_than, now)
    if oldest > moment("0s", now):
        raise AuditError(f"older_than is {oldest}, which is in the future; give a moment that has passed, or an age")
    missing = [log and reading.absence("log", log), database and reading.absence("database", database)]
    rotated, files = pruning.prune_log(log, oldest, rotate=options.rotate, check=options.check) if log else (False, [])
    records = pruning.prune_database(database, oldest, check=options.check) if database else 0
    freed = pruning.shrink_database(database) if database and options.vacuum and not options.check else 0
    data = {
        "changed": bool(rotated or files or records or freed),
        "rotated": rotated,
        "removed_files": files,
        "removed_records": records,
        "freed_bytes": freed,
    }
    rotate, remove = ("would rotate", "would remove") if options.check else ("rotated", "removed")
    lines = [f"{rotate} {log}"] if rotated else []
    lines += [f"{remove} {file}" for file in files]
    lines += [f"{remove} {_records(records)} from {database}"] if records else []
    lines += [f"freed {freed} bytes of {database}"] if freed else []
    warnings = [reading.explained(each) for each in missing if each]
    return Answer(data, [printable(line) for line in lines] or ["nothing to remove"], warnings=warnings)


def import_p2(options: argparse.Namespace) -> Answer:
    """Add what p2 recorded to the log and the database that ``options`` name.

    Raises:
        AuditError: something cannot be read or written.
    """
    log, database = options.audit_log, options.audit_database
    node = options.node or os.uname().nodename
    imported = p2_import.import_p2(options.source, node, log=log, database=database, check=options.check)
    count, skipped = imported.records, sum(imported.skipped.values())
    done, left = ("would import", "would skip") if options.check else ("imported", "skipped")
    lines = [f"{done} {_records(count)}" if count else "nothing to import"]
    lines += [f"  {_records(number)} with {what}" for what, number in imported.defaults.items()]
    lines += [f"{left} {_records(skipped)}"] if skipped else []
    lines += [f"  {_records(number)}: {reason}" for reason, number in imported.skipped.items()]
    data = {
        "changed": count > 0,
        "imported_records": count,
        "defaults": dict(imported.defaults),
        "skipped_records": dict(imported.skipped),
    }
    return Answer(data, lines)


def _records(count: int) -> str:
    return "1 record" if count == 1 else f"{count} records"


def _row(record: Mapping[str, Any]) -> list[str]:
    fields = [str(record.get(name) or "") for name in ("start", "event", "pod_id", "hook")]
    version = abbreviated(str(record.get("artifact_version") or ""))
    return [*fields, version, _seconds(record.get("duration")), describe({"reason": None, "signal": None, **record})]


def _summary_row(summary: Mapping[str, Any]) -> list[str]:
    return [
        str(summary["event"]),
        str(summary["hook"]),
        str(summary["runs"]),
        str(summary["skipped"]),
        " ".join(f"{outcome}={count}" for outcome, count in sorted(summary["outcomes"].items())),
        f"{summary['last_start']} {summary['last_outcome']}",
        _seconds(summary["median_duration"]),
        _seconds(summary["max_duration"]),
    ]


def _seconds(duration: object) -> str:
    return f"{duration:.3f}" if isinstance(duration, (int, float)) else ""
