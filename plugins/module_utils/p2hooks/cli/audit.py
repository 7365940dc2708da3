# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``p2-hook audit``: what ran, for which pod, with which outcome, since when."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

from ..audit import reading
from ..console import Answer
from ..run import describe
from . import output

_FILTERS = ("hook", "hook_id", "pod_id", "event", "outcome", "run_id")


def answer(options: argparse.Namespace) -> Answer:
    """Return the records, or the summary of them, that ``options`` ask for.

    Raises:
        AuditError: a moment is unreadable, or the audit is.
    """
    now = datetime.now(timezone.utc)
    question = reading.Question(
        **{name: getattr(options, name) for name in _FILTERS},
        since=options.since and reading.moment(options.since, now),
        until=options.until and reading.moment(options.until, now),
        limit=None if options.summary else options.limit or None,
    )
    found = reading.read(question, options.audit_log, options.audit_database)
    if options.summary:
        summary = reading.summarise(found.records)
        data: dict[str, Any] = {"summary": summary}
        columns = ["event", "hook", "runs", "outcomes", "last", "median", "longest"]
        rows = [_summary_row(each) for each in summary]
    else:
        data = {"records": found.records}
        columns = ["start", "event", "pod", "hook", "seconds", "outcome"]
        rows = [_row(record) for record in found.records]
    lines = output.table(columns, rows) if rows else ["nothing of that kind is on record"]
    return Answer(data, lines, warnings=found.warnings)


def _row(record: Mapping[str, Any]) -> list[str]:
    fields = [str(record.get(name) or "") for name in ("start", "event", "pod_id", "hook")]
    return [*fields, _seconds(record.get("duration")), describe({"reason": None, "signal": None, **record})]


def _summary_row(summary: Mapping[str, Any]) -> list[str]:
    return [
        str(summary["event"]),
        str(summary["hook"]),
        str(summary["runs"]),
        " ".join(f"{outcome}={count}" for outcome, count in sorted(summary["outcomes"].items())),
        f"{summary['last_start']} {summary['last_outcome']}",
        _seconds(summary["median_duration"]),
        _seconds(summary["max_duration"]),
    ]


def _seconds(duration: object) -> str:
    return f"{duration:.3f}" if isinstance(duration, (int, float)) else ""
