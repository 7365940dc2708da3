# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import sqlite3
import sys
import time
from datetime import datetime, timezone
from pathlib import Path

import pytest
from p2hooks.audit.json_lines import encode
from p2hooks.audit.log_reader import rotated
from p2hooks.audit.pruning import DEFAULT_RETENTION, PrunedLog, prune_database, prune_log, shrink_database
from p2hooks.audit.question import Question, moment
from p2hooks.audit.reading import read
from p2hooks.errors import AuditError
from support_audit import await_line, record, rows, start, store


def days_ago(days: float) -> str:
    return moment(f"{int(days * 24)}h", datetime.now(timezone.utc))


@pytest.fixture
def oldest() -> str:
    """Where the usual retention begins."""
    return moment(DEFAULT_RETENTION, datetime.now(timezone.utc))


# The database


def test_what_is_older_than_three_days_leaves_the_database(tmp_path: Path, oldest: str) -> None:
    path = tmp_path / "audit.sqlite"
    ages = [10, 4, 2, 0] * 300
    store(path, *[record(start=days_ago(age), hook=str(age)) for age in ages])
    assert prune_database(str(path), oldest, check=True) == 600
    assert len(rows(path)) == 1200
    assert prune_database(str(path), oldest) == 600
    assert sorted(rows(path, "hook")) == [("0",)] * 300 + [("2",)] * 300
    assert prune_database(str(path), oldest) == prune_database(str(path), oldest, check=True) == 0
    assert prune_database(str(path), days_ago(1)) == 300


def test_where_nothing_was_recorded_nothing_is_created(tmp_path: Path, oldest: str) -> None:
    path = str(tmp_path / "missing" / "audit")
    assert prune_database(path, oldest) == prune_database(path, oldest, check=True) == shrink_database(path) == 0
    assert prune_log(path, oldest) == PrunedLog(False, [])
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("kind", ["directory", "text", "of another program"])
def test_what_cannot_be_pruned_is_an_error(tmp_path: Path, oldest: str, kind: str) -> None:
    path = tmp_path / "audit.sqlite"
    if kind == "directory":
        path.mkdir()
    elif kind == "text":
        path.write_text("no database\n" * 1000)
    else:
        connection = sqlite3.connect(path)
        connection.execute("CREATE TABLE theirs (id)")
        connection.close()
    with pytest.raises(AuditError, match=rf"^{path}: [^\n]+; nothing more was removed$"):
        prune_database(str(path), oldest)
    with pytest.raises(AuditError, match=rf"^{path}: [^\n]+; nothing more was removed$"):
        prune_database(str(path), oldest, check=True)
    with pytest.raises(AuditError, match=rf"^{path}: [^\n]+; nothing more was given back$"):
        shrink_database(str(path))


def test_a_python_without_sqlite_is_an_error_and_the_log_is_pruned(
    tmp_path: Path, oldest: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = str(tmp_path / "audit")
    monkeypatch.setitem(sys.modules, "sqlite3", None)
    with pytest.raises(AuditError, match="this Python has no SQLite; install its module sqlite3"):
        prune_database(path, oldest)
    with pytest.raises(AuditError, match="this Python has no SQLite; install its module sqlite3"):
        shrink_database(path)
    assert prune_log(path, oldest) == PrunedLog(False, [])


def fill(path: Path) -> None:
    """Record much of ten days ago, and a little of today."""
    store(path, *[record(start=days_ago(10), output="x" * 1000)] * 5000, *[record(start=days_ago(0))] * 10)


def auto_vacuum_of(path: Path) -> int:
    connection = sqlite3.connect(path)
    try:
        return int(connection.execute("PRAGMA auto_vacuum").fetchone()[0])
    finally:
        connection.close()


@pytest.mark.parametrize("kind", ["as runs create it", "of before that was possible"])
def test_free_room_goes_back_to_the_file_system(tmp_path: Path, oldest: str, kind: str) -> None:
    path = tmp_path / "audit.sqlite"
    fill(path)
    if kind == "of before that was possible":
        connection = sqlite3.connect(path, isolation_level=None)
        connection.execute("PRAGMA auto_vacuum=NONE")
        connection.execute("VACUUM")
        connection.close()
        assert auto_vacuum_of(path) == 0
    size = path.stat().st_size
    assert prune_database(str(path), oldest) == 5000
    assert path.stat().st_size == size
    freed = shrink_database(str(path))
    assert auto_vacuum_of(path) == 2
    assert path.stat().st_size < 200_000 < 5_000_000 < size
    assert abs(size - freed - path.stat().st_size) < 100_000  # the other kind has some pages less to begin with
    assert len(rows(path)) == 10
    assert shrink_database(str(path)) == 0


def test_no_long_write_ahead_log_is_left_to_the_next_run(tmp_path: Path, oldest: str) -> None:
    path = tmp_path / "audit.sqlite"
    fill(path)
    witness = sqlite3.connect(path)  # or who closes the database last would remove the write-ahead log
    assert witness.execute("SELECT count(*) FROM hook_runs").fetchall() == [(5010,)]
    prune_database(str(path), oldest)
    shrink_database(str(path))
    # It does not shrink while it is in use, so this is how long it was at most.
    assert Path(f"{path}-wal").stat().st_size < 4_000_000
    witness.close()


WRITE = """
import time
from p2hooks.audit.sqlite import Database
from support_audit import record
warnings, slowest, until = [], 0.0, time.monotonic() + 60
print("ready", flush=True)
while not os.path.exists(sys.argv[2]) and time.monotonic() < until:
    database = Database(sys.argv[1])
    database.add(record(hook="meanwhile", start="2099-01-01T00:00:00.000Z"))
    began = time.monotonic()
    warnings += database.flush()
    slowest = max(slowest, time.monotonic() - began)
    database.close()
    time.sleep(0.002)
print(len(warnings), slowest)
"""


def test_runs_write_while_a_database_is_pruned_and_shrunk(tmp_path: Path, oldest: str) -> None:
    path, done = tmp_path / "audit.sqlite", tmp_path / "done"
    fill(path)
    support = f"import os\nsys.path.append({str(Path(__file__).parent)!r})\n"
    writer = start(support + WRITE, path, done)
    assert await_line(writer) == "ready"
    try:
        assert prune_database(str(path), oldest) == 5000
        assert shrink_database(str(path)) > 0
    finally:
        done.touch()
        warnings, slowest = writer.communicate(timeout=60)[0].split()
    assert warnings == "0"
    assert float(slowest) < 0.25
    assert ("meanwhile",) in rows(path, "hook")


# The log


def test_a_log_is_rotated_when_it_is_a_day_old_and_goes_when_it_is_three_days_older(
    tmp_path: Path, oldest: str
) -> None:
    log = tmp_path / "audit.jsonl"
    log.write_bytes(b"torn\n" + encode(record(start=days_ago(0.5))))
    assert prune_log(str(log), oldest) == PrunedLog(False, [])
    assert os.listdir(tmp_path) == [log.name]
    log.write_bytes(encode(record(start=days_ago(1.5))) + encode(record(start=days_ago(0))))
    assert prune_log(str(log), oldest, check=True) == PrunedLog(True, [])
    assert os.listdir(tmp_path) == [log.name]
    assert prune_log(str(log), oldest) == PrunedLog(True, [])
    (name,) = os.listdir(tmp_path)
    assert [str(tmp_path / name)] == rotated(str(log))
    assert len(read(Question(), str(log)).records) == 2
    three_days_ago = time.time() - 3 * 24 * 60 * 60
    os.utime(tmp_path / name, (three_days_ago + 100,) * 2)
    assert prune_log(str(log), oldest) == PrunedLog(False, [])
    os.utime(tmp_path / name, (three_days_ago - 100,) * 2)
    for check in (True, False):
        assert os.listdir(tmp_path) == [name]
        assert prune_log(str(log), oldest, check=check) == PrunedLog(False, [str(tmp_path / name)])
    assert os.listdir(tmp_path) == []


def test_a_log_that_somebody_else_rotates_is_left_to_them_but_not_what_it_was_rotated_to(
    tmp_path: Path, oldest: str
) -> None:
    log = tmp_path / "audit.jsonl"
    for name in (log.name, f"{log.name}.1", f"{log.name}.2.gz"):
        (tmp_path / name).write_bytes(encode(record(start=days_ago(9))))
        os.utime(tmp_path / name, (0, 0))
    removed = [f"{log}.1", f"{log}.2.gz"]
    assert prune_log(str(log), oldest, rotate=False, check=True) == PrunedLog(False, removed)
    assert prune_log(str(log), oldest, rotate=False) == PrunedLog(False, removed)
    assert os.listdir(tmp_path) == [log.name]


def test_a_log_that_nothing_was_written_to_for_long_goes_at_once(tmp_path: Path, oldest: str) -> None:
    log = tmp_path / "audit.jsonl"
    log.write_bytes(encode(record(start=days_ago(9))))
    os.utime(log, (0, 0))
    assert prune_log(str(log), oldest, check=True) == PrunedLog(True, [str(log)])
    assert log.exists()
    (removed,) = prune_log(str(log), oldest).removed
    assert removed.startswith(f"{log}-2")
    assert os.listdir(tmp_path) == []


def test_what_is_no_log_is_left_alone(tmp_path: Path, oldest: str) -> None:
    os.mkfifo(tmp_path / "fifo")
    assert prune_log(str(tmp_path / "fifo"), oldest) == PrunedLog(False, [])
    with pytest.raises(AuditError, match=rf"^{tmp_path}: Is a directory; nothing more was removed$"):
        prune_log(str(tmp_path), oldest)
