# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The audit: one record for every hook that ran or should have, as JSON lines."""

from __future__ import annotations

import json
import os
from typing import Any

from .errors import reason_of

DEFAULT_PATH = "/var/log/p2-hook/audit.jsonl"


class JSONLinesAudit:
    """Appends records to a file that many processes may share, and that may be renamed at any time."""

    def __init__(self, path: str) -> None:
        self.path = os.path.abspath(path)

    def write(self, record: dict[str, Any]) -> str | None:
        """Append ``record``; return None, or a warning that says why it could not be written, and never raise."""
        line = (json.dumps(record, ensure_ascii=False, separators=(",", ":")) + "\n").encode("utf-8", "replace")
        try:
            written = self._append(line)
        except OSError as error:
            return f"{self.path}: {reason_of(error)}; this run of {record['hook']} is not in the audit"
        if written < len(line):
            return f"{self.path}: no space left; the record of {record['hook']} in the audit is cut off"
        return None

    def _append(self, line: bytes) -> int:
        # O_NONBLOCK: a FIFO in the place of the file is an error, nothing to wait for.
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        try:
            descriptor = os.open(self.path, flags, 0o600)
        except FileNotFoundError:
            os.makedirs(os.path.dirname(self.path), 0o700, exist_ok=True)
            descriptor = os.open(self.path, flags, 0o600)
        try:
            # One write of a line is never torn by that of another process, see write(2) on O_APPEND.
            return os.write(descriptor, line)
        finally:
            os.close(descriptor)
