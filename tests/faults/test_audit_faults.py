# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``p2-hook run`` where the audit cannot be written: the hooks run, the caller hears of it, and the other place has it.

The audit consists of a log and a database; each in turn is what fails.
"""

from __future__ import annotations

import json
import os
import resource
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from support_zoo import Zoo, eventually, kill, outcomes, parent_of, report_of

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount")

#: How long a run waits for a database that others use, in seconds, and what a busy machine may add to that.
PATIENCE, SLACK = 0.25, 0.5


class Place:
    """The log and the database of a run, each in a directory of its own."""

    def __init__(self, zoo: Zoo) -> None:
        self.zoo = zoo
        self.log = zoo.path / "log" / "audit.jsonl"
        self.database = zoo.path / "database" / "audit.sqlite"
        zoo.log = self.log
        for name in "ab":
            zoo.put(name, f"#!/bin/sh\necho {name}\n: >>{zoo.path}/ran-{name}\n")

    def run(self, **options: Any) -> tuple[dict[str, Any], list[str]]:
        """Run two hooks; return what the command said, and its lines on standard error. The hooks always succeed."""
        command = self.zoo.command("--audit-database", str(self.database))
        process = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30, **options)
        report = json.loads(process.stdout)
        assert process.returncode == 0
        assert [(hook["hook"], hook["outcome"]) for hook in report["hooks"]] == [("a", "succeeded"), ("b", "succeeded")]
        assert all((self.zoo.path / f"ran-{name}").exists() for name in "ab")
        lines = process.stderr.splitlines()
        assert lines == [f"p2-hook: warning: {warning}" for warning in report["warnings"]]
        return report, report["warnings"]

    def in_log(self) -> list[tuple[str, str]]:
        return [(record["run_id"], record["hook"]) for record in self.zoo.records()]

    def in_database(self, columns: str = "run_id, hook") -> list[tuple[str, str]]:
        with closing(sqlite3.connect(self.database)) as connection:
            return connection.execute(f"SELECT {columns} FROM hook_runs ORDER BY id").fetchall()


@pytest.fixture
def place(zoo: Zoo) -> Place:
    return Place(zoo)


@contextmanager
def mounted(path: Path, options: str) -> Iterator[None]:
    path.mkdir(exist_ok=True)
    subprocess.run(["/bin/mount", "-t", "tmpfs", "-o", options, "tmpfs", path], check=True)
    try:
        yield
    finally:
        subprocess.run(["/bin/umount", "-l", path], check=True)


def fill_up(directory: Path) -> None:
    """Write until there is no room left."""
    with open(directory / "ballast", "wb", buffering=0) as file:
        for size in (4096, 1):
            try:
                while file.write(b"x" * size):
                    pass
            except OSError:
                continue


def check_records(found: list[tuple[str, str]], report: dict[str, Any]) -> None:
    assert found[-2:] == [(report["run_id"], "a"), (report["run_id"], "b")]


def test_without_a_fault_both_have_it(place: Place) -> None:
    report, warnings = place.run()
    assert warnings == []
    check_records(place.in_log(), report)
    check_records(place.in_database(), report)


# The log


@needs_root
def test_a_full_disk_below_the_log(place: Place) -> None:
    with mounted(place.log.parent, "size=64k"):
        report, warnings = place.run()
        fill_up(place.log.parent)
        # What is left of the last page takes some of them.
        for dummy in range(10):
            report, warnings = place.run()
            if len(warnings) == 3:
                break
        assert [warning.rpartition("; ")[2] for warning in warnings] == [
            "if this run dies, the audit will not say so",
            "this run of a is not in the audit",
            "this run of b is not in the audit",
        ]
        assert all(": No space left on device; " in warning for warning in warnings)
        check_records(place.in_database(), report)
        (place.log.parent / "ballast").unlink()
        report, warnings = place.run()
        assert warnings == []
        assert place.log.read_text().splitlines()[-1].startswith(f'{{"run_id":"{report["run_id"]}"')


@needs_root
def test_a_read_only_file_system_below_the_log(place: Place) -> None:
    with mounted(place.log.parent, "ro"):
        report, warnings = place.run()
    assert len(warnings) == 3
    assert all(": Read-only file system; " in warning for warning in warnings)
    check_records(place.in_database(), report)


def test_a_limit_on_the_size_of_files_below_the_log(place: Place) -> None:
    """What a full disk is to those who cannot mount one."""
    place.run()
    with open(place.log, "ab") as file:
        file.truncate(file.tell() + (10 << 20))
    limit = 8 << 20  # the database, which is not that long, has to fit
    report, warnings = place.run(preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)))
    assert [warning.partition(": ")[2] for warning in warnings] == [
        f"File too large; this run of {name} is not in the audit" for name in "ab"
    ]
    check_records(place.in_database(), report)


def test_a_log_that_is_a_directory(place: Place) -> None:
    place.log.mkdir(parents=True)
    report, warnings = place.run()
    assert warnings == [f"{place.log}: Is a directory; this run of {name} is not in the audit" for name in "ab"]
    check_records(place.in_database(), report)


# The database


def check_database_warning(place: Place, report: dict[str, Any], warnings: list[str], reason: str) -> None:
    (warning,) = warnings
    assert warning.startswith(f"{place.database}: ")
    assert reason in warning
    assert warning.endswith("; this run of a, b is not in the database")
    check_records(place.in_log(), report)


@needs_root
def test_a_full_disk_below_the_database(place: Place) -> None:
    with mounted(place.database.parent, "size=200k"):
        place.run()
        fill_up(place.database.parent)
        for dummy in range(10):  # what is left in the write-ahead log takes some
            report, warnings = place.run()
            if warnings:
                break
        # Which of the two it is depends on the file that found no room.
        reason = "full" if "full" in warnings[0] else "disk I/O error"
        check_database_warning(place, report, warnings, reason)
        (place.database.parent / "ballast").unlink()
        report, warnings = place.run()
        assert warnings == []
        check_records(place.in_database(), report)


@needs_root
def test_a_read_only_file_system_below_the_database(place: Place) -> None:
    with mounted(place.database.parent, "ro"):
        report, warnings = place.run()
    check_database_warning(place, report, warnings, "Read-only file system")


@pytest.mark.parametrize("lock", ["BEGIN IMMEDIATE", "BEGIN EXCLUSIVE"])
def test_a_database_that_others_have_locked_holds_a_run_up_for_little(place: Place, lock: str) -> None:
    place.run()
    start = time.monotonic()
    place.run()
    usual = time.monotonic() - start
    with closing(sqlite3.connect(place.database, isolation_level=None)) as other:
        other.execute(lock)
        start = time.monotonic()
        report, warnings = place.run()
        took = time.monotonic() - start
    assert PATIENCE <= took < usual + PATIENCE + SLACK
    check_database_warning(place, report, warnings, "database is locked")
    report, warnings = place.run()
    assert warnings == []
    check_records(place.in_database(), report)


def damaged(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    path.write_bytes(content)


CORRUPT: dict[str, tuple[Callable[[Path], object], str]] = {
    "damaged": (damaged, "malformed"),
    "cut off": (lambda path: os.truncate(path, path.stat().st_size // 2), "malformed"),
    "no database": (lambda path: path.write_bytes(b"no database\n" * 1000), "file is not a database"),
}


@pytest.mark.parametrize("kind", CORRUPT)
def test_a_corrupt_database(place: Place, kind: str) -> None:
    spoil, reason = CORRUPT[kind]
    place.run()
    with ExitStack() as stack:
        connection = stack.enter_context(closing(sqlite3.connect(place.database)))
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    for path in place.database.parent.glob("*-*"):
        path.unlink()
    spoil(place.database)
    content = place.database.read_bytes()
    report, warnings = place.run()
    check_database_warning(place, report, warnings, reason)
    assert place.database.read_bytes() == content


@needs_root
def test_neither_can_be_written(place: Place) -> None:
    with mounted(place.log.parent, "ro"), mounted(place.database.parent, "ro"):
        dummy, warnings = place.run()
    assert [warning.partition(": ")[0] for warning in warnings[1:]] == [str(place.log)] * 2 + [str(place.database)]
    assert all("Read-only file system" in warning for warning in warnings)


def test_what_a_killed_runner_recorded_is_in_both_at_once(place: Place) -> None:
    zoo = place.zoo
    zoo.hook("b", "sleep 60")
    caller = zoo.start("command", "--audit-database", str(place.database))
    assert eventually(lambda: len(zoo.pids()) == 1)
    kill(parent_of(zoo.pids()[0]))
    report = report_of(caller)
    assert outcomes(report["hooks"]) == zoo.outcomes() == [("a", "succeeded"), ("b", "interrupted")]
    assert place.in_database("hook, outcome") == zoo.outcomes()
    zoo.put("b", "#!/bin/sh\n: >>" + f"{zoo.path}/ran-b\n")
    place.run()
    assert place.in_database("hook, outcome") == zoo.outcomes()
