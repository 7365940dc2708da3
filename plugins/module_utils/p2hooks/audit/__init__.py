# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The audit: one record for every hook that ran or should have, in JSON lines and, if wanted, in SQLite.

Running hooks goes through here, so this package imports next to nothing until it needs it.
"""

from __future__ import annotations

import os

from ..outcomes import INTERRUPTED, KILLED, TERMINATED, TIMED_OUT
from .json_lines import JSONLines
from .running import RunningMark, end_of_dead_runs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .sqlite import Database


def _leave(record: dict[str, Any], stage: str) -> None:
    """Leave a hook as it is."""


class Audit:
    """Where a run records what it does: a log of JSON lines, and a database if there is one.

    Nothing here raises: what cannot be recorded is a warning, and the other of the two still gets it.
    """

    def __init__(self, log: str, database: str | None = None) -> None:
        self._log = JSONLines(log)
        self._database: Database | None = None
        if database:
            from .sqlite import Database  # not on the way of those who do without it

            self._database = Database(database)
        self._mark: RunningMark | None = None

    def begin(self, run_id: str, end_what_is_left: Callable[[dict[str, Any], str], None] = _leave) -> list[str]:
        """Prepare for the run ``run_id``, and do :meth:`close_dead_runs`; return warnings."""
        self._mark = RunningMark(self._log.path, run_id)
        return self.close_dead_runs(end_what_is_left)

    def close_dead_runs(self, end_what_is_left: Callable[[dict[str, Any], str], None] = _leave) -> list[str]:
        """Close what runs that died have left; return warnings.

        Args:
            end_what_is_left: kills what is left of the hook of a record and a stage, before the record is closed.
        """
        warnings: list[str] = []
        for record, stage in end_of_dead_runs(self._log.path):
            if "hook" in record:
                end_what_is_left(record, stage)
            warnings += self._close(record)
        return warnings

    def mark(self, record: dict[str, Any], stage: str) -> list[str]:
        """Note that the hook of ``record`` is about to be executed; :meth:`write` with this record ends that.

        Args:
            stage: what tells it from another hook of that name: the event, or ``exec`` for a global hook.
        """
        warning = self._mark.set(record, stage) if self._mark else None
        return [warning] if warning else []

    def write(self, record: dict[str, Any]) -> list[str]:
        """Append ``record``; return warnings that say why it could not be written."""
        warning = self._log.write(record)
        if self._database:
            self._database.add(record)
        if self._mark and record["outcome"] != TIMED_OUT:  # that one is not over: see apart()
            self._mark.clear(record)
        return [warning] if warning else []

    def end(self) -> list[str]:
        """Complete what a run has recorded; return warnings.

        The database stays open until :meth:`close`, since closing it costs as much as all the rest: who exits at once
        need not close it.
        """
        warnings = self._database.flush() if self._database else []
        if self._mark:  # until now the next run would have taken what the database lacks from the log
            self._mark.remove()
            self._mark = None
        return warnings

    def close(self) -> None:
        """Let go of the database."""
        if self._database:
            self._database.close()

    def before_fork(self) -> list[str]:
        """Let go of what a forked child must not share with this process, an open database; return warnings."""
        warnings = self._database.flush() if self._database else []
        self.close()
        return warnings

    def apart(self, record: dict[str, Any], stage: str) -> Audit:
        """Return an audit for seeing to the end of a hook, as of :meth:`mark`; this one then has nothing to do with it.

        Before this process divides in two: each of the two has to :meth:`leave` the audit of the other.
        """
        audit = Audit(self._log.path, self._database.path if self._database else None)
        audit._mark = RunningMark(self._log.path, f"{record['run_id']}-{os.getpid()}")
        audit._mark.set(record, stage)
        if self._mark:
            self._mark.clear(record)
        return audit

    def leave(self) -> None:
        """Leave the mark to whoever has got it by a fork, or, where nobody has, to the next run."""
        if self._mark:
            self._mark.leave()
            self._mark = None

    def records_of(self, run_id: str) -> list[dict[str, Any]]:
        """Return what the log has of the run ``run_id``, a record a hook; nothing if it could not be written."""
        return [record for record in self._log.recent(run_id) if record["outcome"] not in (TERMINATED, KILLED)]

    def _close(self, record: dict[str, Any]) -> list[str]:
        """Close the books on a process that died while it saw to the hook of ``record``, or between two hooks."""
        written = self._log.recent(record["run_id"])
        same = [other["outcome"] for other in written if _is_same(record, other)]
        ending: dict[str, Any] | None = None
        if same == [TIMED_OUT]:
            ending = {
                "outcome": KILLED,
                "reason": "the process that waited for its end died, so the next run killed it",
            }
        elif "hook" in record and not same:
            ending = {"outcome": INTERRUPTED, "reason": "the run died while this hook was running"}
        warnings: list[str] = []
        if ending:
            written.append({**record, **ending, "duration": None})
            warning = self._log.write(written[-1])
            warnings += [warning] if warning else []
        if self._database:  # it gets its records late, so the run may have died with some
            for each in written:
                self._database.add(each, unless_there=True)
            warnings += self._database.flush()  # now: that run is forgotten after this
        return warnings


def _is_same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return (one.get("hook"), one.get("start")) == (other["hook"], other["start"])
