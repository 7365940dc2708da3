# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from p2hooks.audit.p2_import import import_p2, p2_rows
from p2hooks.audit.question import Question
from p2hooks.audit.reading import read
from p2hooks.errors import AuditError
from support_audit import record, rows, store

#: As p2 creates it.
SCHEMA = """
    CREATE TABLE hook_results (
        id integer not null primary key autoincrement, date datetime default current_timestamp,
        pod_id text, pod_unique_key text, hook_name text, hook_stage text, success integer
    );
    CREATE INDEX hook_name_index ON hook_results (hook_name);
    INSERT INTO hook_results (date, pod_id, pod_unique_key, hook_name, hook_stage, success) VALUES
        ('2016-03-01 12:00:00', 'hello', '', 'ensure_user', 'before_install', 0),
        ('2016-03-01 12:00:00', 'hello', NULL, 'ensure_user', 'before_install', 1),
        ('2016-03-01T12:00:02Z', 'hello', 'a-key', 'ensure_user', 'after_launch', 0);
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "p2.sqlite"
    connection = sqlite3.connect(path)
    connection.executescript(SCHEMA)
    connection.close()
    return path


def test_what_p2_called_0_is_a_success(source: Path) -> None:
    records = [row.record for row in p2_rows(str(source), "node1")]
    assert [each["outcome"] for each in records] == ["succeeded", "failed", "succeeded"]
    assert [each["start"] for each in records] == [f"2016-03-01T12:00:0{second}.000Z" for second in (0, 0, 2)]
    assert [each["pod_unique_key"] for each in records] == ["", "", "a-key"]
    assert records[2]["event"] == "after_launch"
    assert set(records[0]) == set(record())


def test_importing_twice_is_importing_once(source: Path, tmp_path: Path) -> None:
    log, database = str(tmp_path / "audit.jsonl"), str(tmp_path / "audit.sqlite")
    store(tmp_path / "audit.sqlite", record())
    assert import_p2(str(source), "node1", log=log, check=True).records == 3
    assert not Path(log).exists()
    assert import_p2(str(source), "node1", log=log).records == 3
    assert import_p2(str(source), "node1", log=log, database=database, check=True).records == 3
    assert len(rows(tmp_path / "audit.sqlite")) == 1
    assert import_p2(str(source), "node1", log=log, database=database).records == 3
    assert import_p2(str(source), "node1", log=log, database=database).records == 0
    imported = read(Question(), log).records
    assert len(imported) == 3
    assert read(Question(), log, database).records == [record(), *imported]
    connection = sqlite3.connect(source)
    connection.execute("INSERT INTO hook_results (pod_id, hook_name, hook_stage, success) VALUES ('a', 'b', 'c', 0)")
    connection.commit()
    connection.close()
    assert import_p2(str(source), "node1", log=log, database=database).records == 1


@pytest.mark.parametrize("content", [None, b"", b"no database" * 1000])
def test_what_is_no_database_of_p2_is_an_error(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "p2.sqlite"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(AuditError, match=rf"^{path}: .*; give a database that p2 has recorded hooks in$"):
        import_p2(str(path), "node1", log=str(tmp_path / "audit.jsonl"))


def test_what_cannot_be_written_is_an_error(source: Path, tmp_path: Path) -> None:
    (tmp_path / "audit.sqlite").write_bytes(b"no database" * 1000)
    with pytest.raises(AuditError, match="file is not a database"):
        import_p2(str(source), "node1", database=str(tmp_path / "audit.sqlite"))


def test_what_lacks_something_has_a_default_and_what_is_no_record_is_skipped_and_both_are_told(
    source: Path, tmp_path: Path
) -> None:
    log = str(tmp_path / "audit.jsonl")
    import_p2(str(source), "node1", log=log)
    connection = sqlite3.connect(source)
    connection.executemany(
        "INSERT INTO hook_results (date, pod_id, hook_name, hook_stage, success) VALUES (?, ?, ?, ?, ?)",
        [
            ("yesterday", "hello", "", "before_install", 0),
            (None, "hello", None, None, None),
            ("2016-03-01", None, "a", "before_install", 1),
            ("2016-03-01", b"hello", "a", "before_install", 0),
        ],
    )
    connection.execute("UPDATE hook_results SET hook_name = CAST(x'61FF' AS TEXT) WHERE pod_id IS NULL")
    connection.commit()
    connection.close()
    for check in (True, False):
        imported = import_p2(str(source), "node1", log=log, check=check)
        assert imported.records == 3
        assert imported.defaults == {
            "no name of the hook: its number stands for it": 2,
            "no readable date: it is dated 1970-01-01": 2,
            "no event: it is empty": 1,
            "no pod: it is empty": 1,
            "no result: it is taken as failed": 1,
        }
        assert imported.skipped == {"there already": 3, "a column holds what is no text": 1}
    records = read(Question(), log).records
    assert [(each["event"], each["hook"], each["pod_id"], each["outcome"]) for each in records[-2:]] == [
        ("", "hook 5", "hello", "failed"),
        ("before_install", "hook 4", "hello", "succeeded"),
    ]
    assert [each["hook"] for each in records if not each["pod_id"]] == ["a\ufffd"]
    again = import_p2(str(source), "node1", log=log)
    assert (again.records, dict(again.defaults), again.skipped["there already"]) == (0, {}, 6)
