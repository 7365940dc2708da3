# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Adding up the outcomes of hooks for a process that lives long: each line of the log is read once."""

from __future__ import annotations

import gzip
import os
import stat
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO, NamedTuple

from ..outcomes import SUCCEEDED
from .json_lines import decode
from .log_reader import rotated


class Counted(NamedTuple):
    """A version of a hook whose outcomes are counted, from a moment on."""

    #: The event that it is installed for, None for a global hook.
    event: str | None
    hook_id: str
    manifest_sha: str
    #: ISO 8601 in UTC with milliseconds, as records have it.
    since: str


#: What is kept of the record of a failure; of texts only the last characters.
_KEPT = (
    "run_id", "event", "hook", "pod_id", "outcome", "reason", "exit_code", "signal", "start", "duration", "output",
)  # fmt: skip
_MAX_TEXT = 1000


@dataclass
class Tally:
    """What became of one version of a hook."""

    #: Outcome to number of runs.
    outcomes: dict[str, int] = field(default_factory=dict)
    #: The newest run that did not succeed: some of the keys of its record, the output cut to its last 1000 characters.
    last_failure: dict[str, Any] | None = None

    def add(self, record: Mapping[str, Any]) -> None:
        """Take in a record of the audit."""
        outcome = str(record.get("outcome"))
        self.outcomes[outcome] = self.outcomes.get(outcome, 0) + 1
        # The second record of a hook that timed out has the same start as the first one.
        is_newest = self.last_failure is None or str(record.get("start")) >= str(self.last_failure["start"])
        if outcome != SUCCEEDED and is_newest:
            self.last_failure = {name: _cut(record.get(name)) for name in _KEPT}


class OutcomeCounter:
    """Counts what the log of JSON lines says, and follows it when it is rotated.

    The log says what the database says, and sooner. What was removed before the first look is not counted.

    Args:
        log: the path of the log, which need not exist yet.
    """

    def __init__(self, log: str) -> None:
        self._log = os.path.abspath(log)
        self._file: BinaryIO | None = None
        #: The file before the last rotation, which a run may have opened before it.
        self._last: BinaryIO | None = None
        self._is_first_look = True
        self._tallies: dict[Counted, Tally] = {}

    def has_news(self) -> bool:
        """Tell, at the price of looking at two files, whether :meth:`count` would find anything new."""
        return self._is_first_look or any(map(_has_more, (self._last, self._file))) or self._is_rotated()

    def count(self, hooks: Iterable[Counted]) -> Mapping[Counted, Tally]:
        """Return what became of each of ``hooks``; those that are not asked for are forgotten.

        A hook that was not asked for before is counted from here on: ask as soon as it is installed. Only the first
        call looks at what was written before.
        """
        self._tallies = {hook: self._tallies.get(hook) or Tally() for hook in hooks}
        by_id: dict[tuple[str | None, str], Counted] = {(hook.event, hook.hook_id): hook for hook in self._tallies}
        if self._is_first_look:
            self._file = _open(self._log)
            for path in rotated(self._log):
                self._count_old(path, by_id)
            self._is_first_look = False
        for file in (self._last, self._file):
            self._count_lines(file, by_id)
        if self._is_rotated():
            if self._last:
                self._last.close()
            self._last, self._file = self._file, _open(self._log)
            # The first of them may have got lines until it was renamed.
            for file in (self._last, self._file):
                self._count_lines(file, by_id)
        return self._tallies

    def close(self) -> None:
        """Let go of the log."""
        for file in filter(None, (self._last, self._file)):
            file.close()

    def _is_rotated(self) -> bool:
        """Tell whether the log is another file than the one that is being followed."""
        try:
            status = os.stat(self._log)
        except OSError:  # renamed, and no run since; or it cannot be read, as nothing can
            return False
        if self._file is None:
            return True
        followed = os.fstat(self._file.fileno())
        return (status.st_dev, status.st_ino) != (followed.st_dev, followed.st_ino)

    def _count_old(self, path: str, by_id: Mapping[tuple[str | None, str], Counted]) -> None:
        file = _open(path)
        if file is None:
            return
        with file:
            if self._file and os.path.sameopenfile(file.fileno(), self._file.fileno()):  # rotated a moment ago
                return
            try:
                lines = gzip.GzipFile(fileobj=file) if path.endswith(".gz") else file
                for line in lines:
                    self._count_line(line, by_id)
            except (OSError, EOFError, zlib.error):  # what is damaged is lost
                return

    def _count_lines(self, file: BinaryIO | None, by_id: Mapping[tuple[str | None, str], Counted]) -> None:
        if file is None:
            return
        if os.fstat(file.fileno()).st_size < file.tell():  # it was emptied (copytruncate)
            file.seek(0)
        while line := file.readline():
            if not line.endswith(b"\n"):  # it is being written
                file.seek(-len(line), os.SEEK_CUR)
                return
            self._count_line(line, by_id)

    def _count_line(self, line: bytes, by_id: Mapping[tuple[str | None, str], Counted]) -> None:
        record = decode(line)
        if record is None:
            return
        for event in (record.get("event"), None):
            hook = by_id.get((event, str(record.get("hook_id"))))
            if hook and _is_of(record, hook):
                self._tallies[hook].add(record)
                return


def _is_of(record: Mapping[str, Any], hook: Counted) -> bool:
    return record.get("manifest_sha") == hook.manifest_sha and str(record.get("start")) >= hook.since


def _cut(value: object) -> object:
    return value[-_MAX_TEXT:] if isinstance(value, str) else value


def _has_more(file: BinaryIO | None) -> bool:
    return file is not None and os.fstat(file.fileno()).st_size != file.tell()


def _open(path: str) -> BinaryIO | None:
    try:
        file = open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK))  # noqa: SIM115
    except OSError:
        return None
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        return None
    return file
