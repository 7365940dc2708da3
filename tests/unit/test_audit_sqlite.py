# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import re
import sqlite3
import subprocess
import time
from pathlib import Path

import pytest
from p2hooks.audit import Audit
from p2hooks.audit.sqlite import FIELDS, MIGRATIONS, PATIENCE, Database
from support_audit import await_line, kill, record, rows, start, store

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount")

#: The first version of the schema as a database of that time has it.
VERSION_1 = """
    PRAGMA journal_mode=WAL;
    CREATE TABLE hook_runs (
        id INTEGER PRIMARY KEY, run_id TEXT NOT NULL, host TEXT, event TEXT, hook TEXT NOT NULL, hook_id TEXT,
        manifest_sha TEXT, artifact_version TEXT, pod_id TEXT, pod_unique_key TEXT, outcome TEXT NOT NULL, reason TEXT,
        exit_code INTEGER, signal TEXT, start TEXT NOT NULL, duration REAL, output TEXT, output_truncated INTEGER,
        output_held_open INTEGER
    );
    INSERT INTO hook_runs (run_id, hook, outcome, start) VALUES ('1', 'old', 'failed', '2026-01-30T12:00:00.000Z');
    PRAGMA user_version=1;
"""

WRITER = """
import os, sys
from p2hooks.audit.sqlite import Database
from support_audit import record
path, writer = sys.argv[1:]
for run in range(10**9):
    database = Database(path, patience=20)
    for hook in range(3):
        database.add(record(run_id=writer, hook=f"{run}.{hook}"))
    assert database.flush() == []
    print(run, flush=True)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log" / "audit.sqlite"


def test_a_record_has_a_row_with_all_its_fields(path: Path) -> None:
    given = record(output="two\nlines \u20ac \0", exit_code=None, signal="SIGKILL")
    store(path, given)
    (row,) = rows(path, ", ".join(FIELDS))
    assert dict(zip(FIELDS, row)) == given


def test_a_lone_surrogate_is_replaced(path: Path) -> None:
    store(path, record(output="\udcff"))
    assert rows(path, "output") == [("?",)]


def test_only_the_owner_can_read_it(path: Path) -> None:
    before = os.umask(0)
    try:
        database = Database(str(path))
        database.add(record())
        assert database.flush() == []
    finally:
        os.umask(before)
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert {file.name: file.stat().st_mode & 0o777 for file in path.parent.iterdir()} == {
        "audit.sqlite": 0o600,
        "audit.sqlite-wal": 0o600,
        "audit.sqlite-shm": 0o600,
    }
    database.close()


def test_records_of_a_long_run_do_not_wait_for_its_end(path: Path) -> None:
    database = Database(str(path))
    database.add(record(hook="a"))
    assert not path.exists()
    time.sleep(1)
    database.add(record(hook="b"))
    assert rows(path, "hook") == [("a",), ("b",)]
    database.close()


def test_many_writers_lose_nothing_they_have_confirmed_when_killed(path: Path) -> None:
    code = f"sys.path.insert(0, {str(Path(__file__).parent)!r})\n{WRITER}"
    confirmed: dict[str, int] = {}
    for generation in range(3):
        writers = {f"{generation}.{number}": start(code, path, f"{generation}.{number}") for number in range(8)}
        for process in writers.values():
            assert await_line(process) == "0"
        time.sleep(0.4)
        for process in writers.values():
            process.kill()
        for name, process in writers.items():
            output = process.communicate()[0].split("\n")
            confirmed[name] = max(int(line) for line in ["0", *output[:-1]])
    found = set(rows(path, "run_id, hook"))
    expected = {
        (name, f"{run}.{hook}") for name, last in confirmed.items() for run in range(last + 1) for hook in "012"
    }
    assert len(expected) > 100
    assert expected <= found
    assert len(rows(path, "run_id, hook")) == len(found)
    assert len(found) % 3 == 0  # a transaction is there wholly or not at all
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()


def test_a_locked_database_delays_a_run_by_no_more_than_the_limit(tmp_path: Path, path: Path) -> None:
    store(path, record())
    log = tmp_path / "audit.jsonl"
    locker = start(
        """
import sqlite3
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN EXCLUSIVE")
print("locked", flush=True)
sys.stdin.read()
import time; time.sleep(60)
""",
        path,
    )
    try:
        assert await_line(locker) == "locked"
        audit = Audit(str(log), str(path))
        began = time.monotonic()
        warnings = audit.begin("1")
        for hook in "abc":
            warnings += audit.write(record(run_id="1", hook=hook))
        warnings += audit.end()
        took = time.monotonic() - began
        again = audit.write(record(run_id="1", hook="d")) + audit.end()
        took_again = time.monotonic() - began - took
    finally:
        kill(locker)
    assert warnings == [f"{path}: database is locked; this run of a, b, c is not in the database"]
    assert again == [f"{path}: database is locked; this run of d is not in the database"]
    assert PATIENCE <= took < PATIENCE + 0.25  # room for a machine that is busy
    assert took_again < 0.2
    assert log.read_text().count("\n") == 4
    assert audit.write(record(run_id="1", hook="e")) + audit.end() == []
    assert rows(path, "hook") == [("a_b_launch",), ("e",)]
    audit.close()


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("text", "file is not a database"),
        ("damaged", "malformed"),
        ("directory", "is no regular file"),
        ("link", "is no regular file"),
        ("fifo", "is no regular file"),
        ("below a file", "File exists|Not a directory"),
        ("of another program", "is the database of another program; give another file"),
        ("newer", "a newer version of this collection has written it"),
    ],
)
def test_what_cannot_be_written_is_a_warning_and_the_log_has_the_record(
    tmp_path: Path, path: Path, kind: str, reason: str
) -> None:
    if kind == "below a file":
        path.parent.write_text("")
    else:
        path.parent.mkdir()
    if kind == "text":
        path.write_text("no database\n" * 1000)
    elif kind == "damaged":
        store(path, *[record(output="x" * 5000)] * 20)
        content = path.read_bytes()
        path.write_bytes(content[:4096] + b"\xff" * 16384 + content[20480:])
    elif kind == "directory":
        path.mkdir()
    elif kind == "link":
        path.symlink_to(tmp_path / "elsewhere")
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "of another program":
        execute(path, "CREATE TABLE theirs (id)")
    elif kind == "newer":
        store(path, record())
        execute(path, f"PRAGMA user_version={len(MIGRATIONS) + 1}")
    audit = Audit(str(tmp_path / "audit.jsonl"), str(path))
    (warning,) = audit.begin("1") + audit.write(record()) + audit.end()
    assert re.search(reason, warning)
    assert warning.startswith(f"{path}: ")
    assert warning.endswith("; this run of a_b_launch is not in the database")
    assert (tmp_path / "audit.jsonl").read_text().count("\n") == 1
    assert not (tmp_path / "elsewhere").exists()


@needs_root
def test_a_full_disk_is_a_warning_and_the_log_has_the_record(tmp_path: Path) -> None:
    mount = tmp_path / "mount"
    mount.mkdir()
    subprocess.run(["/bin/mount", "-t", "tmpfs", "-o", "size=160k", "tmpfs", mount], check=True)
    try:
        store(mount / "audit.sqlite", record())
        (mount / "ballast").write_bytes(b"x" * 40960)
        audit = Audit(str(tmp_path / "audit.jsonl"), str(mount / "audit.sqlite"))
        (warning,) = audit.write(record(output="x" * 100000)) + audit.end()
        (mount / "ballast").unlink()
        assert audit.write(record(hook="later")) + audit.end() == []
        audit.close()
        assert rows(mount / "audit.sqlite", "hook") == [("a_b_launch",), ("later",)]
    finally:
        subprocess.run(["/bin/umount", "-l", mount], check=True)
    assert "full" in warning or "disk I/O error" in warning
    assert (tmp_path / "audit.jsonl").read_text().count("\n") == 2


@needs_root
def test_a_read_only_file_system_is_a_warning_of_each(tmp_path: Path) -> None:
    subprocess.run(["/bin/mount", "-t", "tmpfs", "-o", "ro", "tmpfs", tmp_path], check=True)
    try:
        audit = Audit(str(tmp_path / "log" / "audit.jsonl"), str(tmp_path / "log" / "audit.sqlite"))
        warnings = audit.begin("1")
        for hook in "ab":
            running = record(hook=hook)
            warnings += audit.mark(running, "exec") + audit.write(running)
        warnings += audit.end()
    finally:
        subprocess.run(["/bin/umount", "-l", tmp_path], check=True)
    assert [warning.rpartition("; ")[2] for warning in warnings] == [
        "if this run dies, the audit will not say so",
        "this run of a is not in the audit",
        "this run of b is not in the audit",
        "this run of a, b is not in the database",
    ]
    assert all(": Read-only file system; " in warning for warning in warnings)


def test_a_database_of_the_first_version_is_brought_up_to_date(path: Path) -> None:
    path.parent.mkdir()
    execute(path, VERSION_1)
    assert schema(path)[0] == 1
    store(path, record())
    store(path.with_name("new.sqlite"), record())
    assert schema(path)[0] == len(MIGRATIONS)
    assert schema(path)[1] == schema(path.with_name("new.sqlite"))[1]
    assert rows(path, "hook") == [("old",), ("a_b_launch",)]


def test_a_migration_that_fails_changes_nothing(path: Path) -> None:
    path.parent.mkdir()
    execute(path, VERSION_1)
    execute(path, "CREATE INDEX hook_runs_by_run ON hook_runs (run_id)")  # in the way of the last statement
    before = schema(path)
    database = Database(str(path))
    database.add(record())
    assert "hook_runs_by_run already exists" in database.flush()[0]
    assert schema(path) == before


def execute(path: Path, script: str) -> None:
    connection = sqlite3.connect(path)
    connection.executescript(script)
    connection.close()


def schema(path: Path) -> tuple[int, set[str]]:
    """Return the version, and the names of columns and indexes."""
    connection = sqlite3.connect(path)
    try:
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        names = {row[1] for row in connection.execute("PRAGMA table_info(hook_runs)")}
        names |= {row[0] for row in connection.execute("SELECT sql FROM sqlite_master WHERE type = 'index'")}
        return version, names
    finally:
        connection.close()
