# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The audit: one record for every hook that ran or should have, in JSON lines and, if wanted, in SQLite.

Running hooks goes through here, so this package imports next to nothing until it needs it.
"""

from __future__ import annotations

from .json_lines import JSONLines
from .running import RunningMark, end_of_dead_runs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .sqlite import Database

#: The outcome of a hook that is being executed, and of one whose run died meanwhile.
STARTED, INTERRUPTED = "started", "interrupted"


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

    def begin(self, run_id: str) -> list[str]:
        """Prepare for the run ``run_id``, and close what runs that died have left; return warnings."""
        self._mark = RunningMark(self._log.path, run_id)
        return self.close_dead_runs()

    def close_dead_runs(self) -> list[str]:
        """Close what runs that died have left; return warnings."""
        warnings: list[str] = []
        for record in end_of_dead_runs(self._log.path):
            warnings += self._interrupt(record)
        return warnings

    def mark(self, record: dict[str, Any]) -> list[str]:
        """Note that the hook of ``record`` is about to be executed; :meth:`write` with this record ends that."""
        warning = self._mark.set(record) if self._mark else None
        return [warning] if warning else []

    def write(self, record: dict[str, Any]) -> list[str]:
        """Append ``record``; return warnings that say why it could not be written."""
        warning = self._log.write(record)
        if self._database:
            self._database.add(record)
        if self._mark:
            self._mark.clear(record)
        return [warning] if warning else []

    def end(self) -> list[str]:
        """Complete what a run has recorded; return warnings.

        The database stays open until :meth:`close`, since closing it costs as much as all the rest: who exits at once
        need not close it.
        """
        if self._mark:
            self._mark.remove()
            self._mark = None
        return self._database.flush() if self._database else []

    def close(self) -> None:
        """Let go of the database."""
        if self._database:
            self._database.close()

    def before_fork(self) -> list[str]:
        """Let go of what a forked child must not share with this process, an open database; return warnings."""
        warnings = self._database.flush() if self._database else []
        self.close()
        return warnings

    def in_child(self) -> Audit:
        """Return an audit for one of two processes after a fork, the other of which goes on with the run."""
        if self._mark:
            self._mark.leave()
        return Audit(self._log.path, self._database.path if self._database else None)

    def _interrupt(self, record: dict[str, Any]) -> list[str]:
        """Close the books on a run that died while the hook of ``record`` was running, or between two hooks."""
        written = self._log.recent(record["run_id"])
        is_open = "hook" in record and not any(_is_same(record, other) for other in written)
        warnings: list[str] = []
        if is_open:
            ending = {"outcome": INTERRUPTED, "reason": "the run died while this hook was running", "duration": None}
            written.append({**record, **ending})
            warning = self._log.write(written[-1])
            warnings += [warning] if warning else []
        if self._database:  # it gets its records late, so the run may have died with some
            for each in written:
                self._database.add(each, unless_there=True)
        return warnings


def _is_same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return (one["hook"], one["start"]) == (other["hook"], other["start"])
