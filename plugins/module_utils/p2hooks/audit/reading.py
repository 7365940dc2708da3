# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Answering questions about what has run, from the database or from the log of JSON lines."""

from __future__ import annotations

import heapq
import os
from collections.abc import Iterable
from datetime import datetime, timezone
from typing import Any

from ..configuration import Settings
from ..outcomes import STARTED, TIMED_OUT
from .database_reader import read_database
from .log_reader import read_log, rotated
from .question import Question, moment
from .running import running


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
    missing = absence(kind, path)
    if missing is None:
        recorded = read_database(question, path) if database else read_log(question, log, answer.warnings)
    elif not executed:
        answer.missing = missing
        answer.warnings.append(explained(missing))
    if question.since and question.since > moment("0s", datetime.now(timezone.utc)):
        answer.warnings.append(
            f"since is {question.since}, which is in the future; nothing can have started since then"
        )
    now = [
        {**record, "outcome": STARTED, "duration": None}  # which is not known yet, and 0 in the file
        for record in executed
        if record.get("outcome") != TIMED_OUT
    ]
    found = enumerate([*recorded, *filter(question.matches, now)])
    if question.limit is None:
        newest = sorted(found, key=_age, reverse=True)
    else:
        newest = heapq.nlargest(question.limit, found, key=_age)
    answer.records = [record for dummy, record in newest]
    return answer


def absence(kind: str, path: str) -> str | None:
    """Return which ``kind`` of audit, ``log`` or ``database``, is not at ``path``; None where it is.

    Raises:
        OSError: that cannot be told; ``filename`` is the path.
    """
    path = os.path.abspath(path)
    if _exists(path) or (kind == "log" and rotated(path)):
        return None
    return f"no audit {kind} at {path}"


def explained(missing: str) -> str:
    """Return the warning of what :func:`absence` returned."""
    return f"{missing}; no hook has run here yet, or runs are recorded elsewhere"


def _exists(path: str) -> bool:
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def _age(found: tuple[int, dict[str, Any]]) -> tuple[str, int]:
    position, record = found
    return str(record.get("start", "")), position
