# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of the audit have in common."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import p2hooks
from p2hooks.audit.sqlite import Database

ENGINE = str(Path(p2hooks.__file__).parent.parent)


def record(**fields: object) -> dict[str, Any]:
    return {
        "run_id": "0123456789abcdef",
        "host": "node1",
        "event": "before_install",
        "hook": "a_b_launch",
        "hook_id": "a",
        "manifest_sha": "5b0c",
        "artifact_version": "1f",
        "pod_id": "hello",
        "pod_unique_key": "",
        "outcome": "succeeded",
        "reason": None,
        "exit_code": 0,
        "signal": None,
        "start": "2026-01-31T12:00:00.000Z",
        "duration": 0.5,
        "output": "hello\n",
        "output_truncated": False,
        "output_held_open": True,
        **fields,
    }


def store(path: Path, *records: dict[str, Any]) -> None:
    """Put records into a database."""
    database = Database(str(path), patience=10)
    for each in records:
        database.add(each)
    assert database.flush() == []
    database.close()


def rows(path: Path, columns: str = "hook, outcome") -> list[tuple[Any, ...]]:
    connection = sqlite3.connect(path)
    try:
        return connection.execute(f"SELECT {columns} FROM hook_runs ORDER BY id").fetchall()
    finally:
        connection.close()


def start(code: str, *arguments: object) -> subprocess.Popen[str]:
    """Run Python code on the engine in another process."""
    command = [sys.executable, "-c", f"import sys\nsys.path.insert(0, {ENGINE!r})\n{code}", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def await_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    return process.stdout.readline().strip()


def kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()
