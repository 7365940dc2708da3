# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Records as lines of JSON in a file that many processes may share, and that may be renamed at any time."""

from __future__ import annotations

import os
from time import sleep

from ..errors import reason_of
from ..files import open_without_waiting

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: What every record begins with. It cannot be part of a string in JSON, since there each quote has a backslash.
RECORD_START = b'{"run_id":'

# JSON's own, and what may move the cursor of a terminal or count as the end of a line.
_ESCAPES = {code: f"\\u{code:04x}" for code in (*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029)}
_ESCAPES.update({ord('"'): '\\"', ord("\\"): "\\\\", ord("\n"): "\\n", ord("\r"): "\\r", ord("\t"): "\\t"})

#: See :func:`_new_template`.
_templates: dict[tuple[str, ...], str] = {}

#: How often to look whether a line at the end of the file is still being written, and seconds between.
_LOOKS = 5
_BETWEEN_LOOKS = 0.0005

#: How far back a record of a run that has just died is looked for, in bytes.
_RECENT_BYTES = 1 << 20


def encode(record: dict[str, Any]) -> bytes:
    """Return a flat record as one line of JSON; lone surrogates become question marks, NaN and infinities null."""
    # By hand, since importing json costs as much as starting the interpreter.
    names = tuple(record)
    template = _templates.get(names) or _new_template(names)
    values = tuple([_string(value) if value.__class__ is str else _value(value) for value in record.values()])
    return (template % values).encode("utf-8", "replace")


def _new_template(names: tuple[str, ...]) -> str:
    """Return what a record with these names is formatted with; a run has few sorts of records, and many of each."""
    members = ",".join([f"{_string(name)}:".replace("%", "%%") + "%s" for name in names])
    template = _templates[names] = f"{{{members}}}\n"
    return template


def _value(value: object) -> str:
    if isinstance(value, str):
        return _string(value)
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return repr(value) if value - value == 0 else "null"
    return _string(str(value))


def _string(text: str) -> str:
    # Most strings need nothing, which is quick to see.
    plain = text.isprintable() and '"' not in text and "\\" not in text
    return f'"{text if plain else text.translate(_ESCAPES)}"'


def decode(line: bytes) -> dict[str, Any] | None:
    """Return the record in ``line``; None if there is none.

    Where a full disk cut off a record, the next one may be glued to what is left of it: that next one is returned.
    """
    import json  # not on the way of running hooks

    for start in (0, max(0, line.rfind(RECORD_START))):
        try:
            record = json.loads(line[start:])
        except (ValueError, RecursionError):
            continue
        if isinstance(record, dict) and isinstance(record.get("run_id"), str):
            return record
    return None


class JSONLines:
    """Appends records to a file."""

    def __init__(self, path: str) -> None:
        self.path = os.path.abspath(path)

    def write(self, record: dict[str, Any]) -> str | None:
        """Append ``record``; return None, or a warning that says why it could not be written, and never raise."""
        line = encode(record)
        try:
            missing = self._append(line)
        except OSError as error:
            return f"{self.path}: {reason_of(error)}; this run of {record['hook']} is not in the audit"
        if missing > 0:
            return f"{self.path}: no space left; the record of {record['hook']} in the audit is cut off"
        return None

    def recent(self, run_id: str) -> list[dict[str, Any]]:
        """Return what the file's end has of the run ``run_id``."""
        try:
            with open(self.path, "rb", opener=open_without_waiting) as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - _RECENT_BYTES))
                lines = file.read().split(b"\n")
        except OSError:
            return []
        records = [decode(line) for line in lines if run_id.encode() in line]
        return [record for record in records if record and record["run_id"] == run_id]

    def _append(self, line: bytes) -> int:
        """Append, and return how many bytes found no room."""
        # O_NONBLOCK: a FIFO in the place of the file is an error, nothing to wait for.
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        try:
            descriptor = os.open(self.path, flags, 0o600)
        except FileNotFoundError:
            os.makedirs(os.path.dirname(self.path), 0o700, exist_ok=True)
            descriptor = os.open(self.path, flags, 0o600)
        try:
            # What a full disk left of a record must not swallow ours. No lock is held, for which a run could wait in
            # vain, so another writer may be cut off after this look: readers find a record behind such a rest, see
            # decode(). Or it takes very long for its line: then there is an empty one, which readers skip.
            if not _ends_with_newline(descriptor):
                line = b"\n" + line
            # One write of a line is never torn by that of another process, see write(2) on O_APPEND.
            return len(line) - os.write(descriptor, line)
        finally:
            os.close(descriptor)


def _ends_with_newline(descriptor: int) -> bool:
    """Tell whether a file ends with a whole line, or is empty; one that is just being written may need some looks."""
    for dummy in range(_LOOKS):
        end = os.lseek(descriptor, 0, os.SEEK_END)
        if end == 0 or os.pread(descriptor, 1, end - 1) == b"\n":
            return True
        sleep(_BETWEEN_LOOKS)
    return False
