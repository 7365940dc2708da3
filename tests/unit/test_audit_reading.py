# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import gzip
import os
import sqlite3
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from p2hooks.audit import Audit
from p2hooks.audit.database_reader import names_with_id, query
from p2hooks.audit.json_lines import JSONLines, encode
from p2hooks.audit.log_reader import rotated
from p2hooks.audit.question import Question, moment
from p2hooks.audit.reading import Answer, read
from p2hooks.audit.summary import summarise
from p2hooks.errors import AuditError
from support_audit import record, store

NOW = datetime(2026, 1, 31, 12, 0, 0, tzinfo=timezone.utc)

RECORDS = [
    record(start="2026-01-31T12:00:01.000Z", hook='odd "name" \u20ac', hook_id=None),
    record(start="2026-01-31T12:00:02.000Z", pod_id="other"),
    record(start="2026-01-31T12:00:04.000Z", outcome="failed", exit_code=3, run_id="4"),
    record(start="2026-01-31T12:00:03.000Z", event="after_launch", outcome="timed_out"),
]


class Sink:
    """Records in one of the two sinks."""

    def __init__(self, kind: str, directory: Path) -> None:
        self.log = directory / "audit.jsonl"
        self.database = directory / "audit.sqlite" if kind == "database" else None

    def write(self, *records: dict[str, object]) -> None:
        if self.database:
            store(self.database, *records)
        else:
            for each in records:
                assert JSONLines(str(self.log)).write(each) is None

    def read(self, **question: object) -> list[dict[str, object]]:
        answer = read(Question(**question), str(self.log), str(self.database) if self.database else None)  # type: ignore[arg-type]
        assert answer.warnings == []
        return answer.records


@pytest.fixture(params=["log", "database"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def sink(kind: str, tmp_path: Path) -> Sink:
    return Sink(kind, tmp_path)


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ({}, [2, 3, 1, 0]),
        ({"limit": 2}, [2, 3]),
        ({"hook": 'odd "name" \u20ac'}, [0]),
        ({"hook": "odd"}, []),
        ({"hook": "a_b_launch"}, [2, 3, 1]),
        ({"hook": "a"}, [2, 3, 1]),
        ({"hook": "a_b"}, []),
        ({"hook": "b"}, []),
        ({"hook": "before_install/a", "limit": 1}, [2]),
        ({"hook": "after_launch/a"}, [3]),
        ({"hook": "after_launch/a", "event": "after_launch"}, [3]),
        ({"hook": "after_launch/a_b_launch"}, [3]),
        ({"hook": "after_install/a"}, []),
        ({"hook_id": "a"}, [2, 3, 1]),
        ({"pod_id": "other"}, [1]),
        ({"event": "after_launch"}, [3]),
        ({"outcome": "failed"}, [2]),
        ({"run_id": "4"}, [2]),
        ({"event": "before_install", "outcome": "succeeded"}, [1, 0]),
        ({"since": "2026-01-31T12:00:03.000Z"}, [2, 3]),
        ({"until": "2026-01-31T12:00:02.000Z"}, [1, 0]),
        ({"since": "2026-01-31T12:00:02.000Z", "until": "2026-01-31T12:00:03.000Z", "limit": 1}, [3]),
    ],
)
def test_questions(sink: Sink, question: dict[str, object], expected: list[int]) -> None:
    sink.write(*RECORDS)
    assert sink.read(**question) == [RECORDS[number] for number in expected]


def asked(sink: Sink, **question: Any) -> Answer:
    return read(Question(**question), str(sink.log), str(sink.database) if sink.database else None)


@pytest.mark.parametrize("directory", [".", "absent", "file"])
def test_an_audit_that_is_not_there_is_warned_of(tmp_path: Path, kind: str, directory: str) -> None:
    (tmp_path / "file").touch()
    sink = Sink(kind, tmp_path / directory)
    answer = asked(sink)
    assert (answer.records, answer.missing) == ([], f"no audit {kind} at {sink.database or sink.log}")
    assert answer.warnings == [f"{answer.missing}; no hook has run here yet, or runs are recorded elsewhere"]


def test_an_audit_that_is_there_without_such_records_is_not_missing(sink: Sink) -> None:
    sink.write(*RECORDS)
    assert sink.read(hook="other") == []
    assert asked(sink).missing is None


def test_an_audit_that_has_its_first_run_is_not_missing(sink: Sink) -> None:
    audit = Audit(str(sink.log))
    audit.begin("5")
    overdue = record(run_id="5", outcome="timed_out")
    audit.mark(overdue, "exec")
    assert sink.read() == []
    assert asked(sink).missing is None
    audit.end()


def test_a_log_that_has_just_been_rotated_is_not_missing(tmp_path: Path) -> None:
    sink = Sink("log", tmp_path)
    sink.write(RECORDS[0])
    sink.log.rename(tmp_path / "audit.jsonl.1")
    assert sink.read() == [RECORDS[0]]
    assert asked(sink).missing is None


def test_an_audit_that_cannot_be_looked_for_is_not_called_missing(tmp_path: Path, kind: str) -> None:
    (tmp_path / "loop").symlink_to("loop")
    sink = Sink(kind, tmp_path / "loop")
    with pytest.raises(OSError, match="symbolic links") as error:
        asked(sink)
    assert error.value.filename == str(sink.database or sink.log)


def test_what_is_being_executed_is_part_of_the_answer(sink: Sink) -> None:
    sink.write(*RECORDS)
    audit = Audit(str(sink.log))
    audit.begin("5")
    now = record(run_id="5", start="2026-01-31T13:00:00.000Z", outcome="skipped")
    audit.mark(now, "exec")
    shown = {**now, "outcome": "started", "duration": None}
    assert sink.read(limit=1) == [shown]
    assert sink.read(outcome="started") == [shown]
    assert sink.read(outcome="failed") == [RECORDS[2]]
    audit.end()
    assert sink.read(outcome="started") == []


def test_a_moment_to_come_since_when_nothing_can_have_started_is_a_warning(sink: Sink) -> None:
    sink.write(*RECORDS)
    assert asked(sink, since="2999-01-01T00:00:00.000Z").warnings == [
        "since is 2999-01-01T00:00:00.000Z, which is in the future; nothing can have started since then"
    ]
    assert asked(sink, until="2999-01-01T00:00:00.000Z").warnings == []


def test_a_time_that_ends_before_it_begins_is_refused() -> None:
    moments = ("2026-01-31T12:00:00.000Z", "2026-01-30T12:00:00.000Z")
    with pytest.raises(AuditError, match=f"^since is {moments[0]}, which is after until, {moments[1]}; exchange them$"):
        Question(since=moments[0], until=moments[1])
    for since, until in (moments[::-1], moments[:1] * 2):
        assert Question(since=since, until=until).matches(record(start=since))


def test_a_hook_that_has_timed_out_is_not_counted_as_started(sink: Sink) -> None:
    sink.write(*RECORDS)
    audit = Audit(str(sink.log))
    overdue = record(run_id="5", start="2026-01-31T13:00:00.000Z", outcome="timed_out")
    apart = audit.apart(overdue, "exec")
    assert sink.read(outcome="started") == []
    apart.end()


def test_a_database_can_be_read_while_a_run_has_it_open(tmp_path: Path) -> None:
    audit = Audit(str(tmp_path / "audit.jsonl"), str(tmp_path / "audit.sqlite"))
    audit.write(RECORDS[0])
    audit.end()
    assert Sink("database", tmp_path).read() == [RECORDS[0]]
    audit.close()


@pytest.mark.parametrize("hook", ["a", "after_launch/a"])
@pytest.mark.parametrize("limit", [None, 10])
def test_the_database_answers_for_an_id_from_the_index_of_names(tmp_path: Path, hook: str, limit: int | None) -> None:
    others = [record(hook=name, hook_id="a") for name in ("a_b_other", "a_c_launch")]
    store(tmp_path / "audit.sqlite", *RECORDS, *others, record(hook="a_b_c_launch", hook_id="a_b"))
    connection = sqlite3.connect(tmp_path / "audit.sqlite")
    names = names_with_id(connection, "a")
    assert names == ["a_b_c_launch", "a_b_launch", "a_b_other", "a_c_launch"]
    sql, parameters = query(Question(hook=hook, limit=limit), names)
    plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", parameters)]
    connection.close()
    looks = [step for step in plan if "hook_runs" in step]
    assert len(looks) == 5
    assert all("USING INDEX hook_runs_by_hook (hook=?" in step for step in looks)
    assert not any("TEMP B-TREE" in step for step in plan)


def test_any_number_of_names_may_begin_with_an_id(tmp_path: Path) -> None:
    many = [record(hook=f"a_{number}_launch", hook_id=f"a_{number}") for number in range(600)]
    sink = Sink("database", tmp_path)
    sink.write(*RECORDS, *many)
    assert sink.read(hook="a") == [RECORDS[number] for number in (2, 3, 1)]


@pytest.mark.parametrize("hook", ["elsewhere/a", "before_install/", "/a", "after_launch/a"])
def test_a_hook_of_no_event_or_of_two_is_refused(hook: str) -> None:
    with pytest.raises(AuditError, match=f"^hook is '{hook}'; give its name in exec/, its id, or one of these behind "):
        Question(hook=hook, event="before_install")


@pytest.mark.parametrize("name", ["hook", "pod_id", "event", "outcome", "run_id", "since", "until"])
def test_the_database_answers_from_an_index_without_sorting(tmp_path: Path, name: str) -> None:
    store(tmp_path / "audit.sqlite", *RECORDS)
    connection = sqlite3.connect(tmp_path / "audit.sqlite")
    sql, parameters = query(Question(**{name: "x"}, limit=10))
    plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", parameters)]
    connection.close()
    index = {"pod_id": "pod", "run_id": "run", "since": "start", "until": "start"}.get(name, name)
    assert len(plan) == 1
    assert f"USING INDEX hook_runs_by_{index} (" in plan[0]


@pytest.mark.parametrize("kind", ["text", "directory", "newer"])
def test_what_cannot_be_read_is_an_error_in_one_line(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "audit.sqlite"
    if kind == "text":
        path.write_text("no database\n" * 1000)
    elif kind == "directory":
        path.mkdir()
    else:
        store(path, *RECORDS)
        connection = sqlite3.connect(path)
        connection.execute("PRAGMA user_version=99")
        connection.close()
    with pytest.raises(AuditError, match=rf"^{path}: [^\n]*$"):
        Sink("database", tmp_path).read()


# The log


def test_rotated_files_are_read_too(tmp_path: Path) -> None:
    sink = Sink("log", tmp_path)
    names = ["audit.jsonl.2.gz", "audit.jsonl.1", "audit.jsonl-20260131", "audit.jsonl"]
    for age, (name, each) in enumerate(zip(names, RECORDS)):
        line = encode(each)
        (tmp_path / name).write_bytes(gzip.compress(line) if name.endswith(".gz") else line)
        os.utime(tmp_path / name, (age, age))
    for name in ("audit.jsonl.bak", "audit.jsonl~", "audit.jsonl.1.running", "audit.jsonl.1.gz", "other.jsonl.1"):
        (tmp_path / name).write_bytes(b"no records\n")
    assert rotated(str(sink.log)) == [str(tmp_path / name) for name in names[:3]]
    assert sink.read() == [RECORDS[number] for number in (2, 3, 1, 0)]
    sink.log.unlink()
    assert len(sink.read()) == 3


def test_lines_that_are_no_records_are_said(tmp_path: Path) -> None:
    log = tmp_path / "audit.jsonl"
    log.write_bytes(
        b'\n{"run_id":"1","out\n' + encode(RECORDS[0])[:90] + encode(RECORDS[1]) + b"\n" + encode(RECORDS[2])
    )
    answer = read(Question(), str(log))
    assert answer.records == [RECORDS[2], RECORDS[1]]
    assert answer.warnings == [f"{log}: 1 of its lines are no records, or were cut off"]


@pytest.mark.parametrize("content", [b"no gzip", gzip.compress(encode(RECORDS[0]) * 100)[:-30]])
def test_a_damaged_rotated_file_is_said_and_the_rest_read(tmp_path: Path, content: bytes) -> None:
    log = tmp_path / "audit.jsonl"
    (tmp_path / "audit.jsonl.1.gz").write_bytes(content)
    log.write_bytes(encode(RECORDS[2]))
    answer = read(Question(), str(log))
    assert answer.records[0] == RECORDS[2]
    assert len(answer.warnings) == 1
    assert answer.warnings[0].startswith(f"{log}.1.gz: ")
    assert answer.warnings[0].endswith("; what follows in it is missing here")


def test_a_directory_in_place_of_the_log_is_said(tmp_path: Path) -> None:
    with pytest.raises(AuditError, match="Is a directory"):
        read(Question(), str(tmp_path))


# Moments and summaries


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90m", "2026-01-31T10:30:00.000Z"),
        ("3d", "2026-01-28T12:00:00.000Z"),
        ("0s", "2026-01-31T12:00:00.000Z"),
        ("2026-01-31", "2026-01-31T00:00:00.000Z"),
        ("2026-01-31 12:30", "2026-01-31T12:30:00.000Z"),
        ("2026-01-31T12:30:00.5Z", "2026-01-31T12:30:00.500Z"),
        ("2026-01-31T12:30:00+02:00", "2026-01-31T10:30:00.000Z"),
    ],
)
def test_moments(text: str, expected: str) -> None:
    if text.endswith(".5Z"):
        text = text.replace(".5Z", ".500Z")  # Python before 3.11 wants three digits
    assert moment(text, NOW) == expected


@pytest.mark.parametrize("text", ["", "yesterday", "3", "-1d", "1.5h", "999999w", "2026-02-30", "12:00", "9999-99"])
def test_what_is_no_moment_is_an_error(text: str) -> None:
    with pytest.raises(AuditError, match="is no moment; give an age such as 90m"):
        moment(text, NOW)


def test_a_summary_counts_runs_and_outcomes_of_each_hook_of_each_event(sink: Sink) -> None:
    sink.write(
        record(duration=1.0, start="2026-01-31T12:00:01.000Z"),
        record(duration=2.0, start="2026-01-31T12:00:04.000Z", outcome="timed_out"),
        record(duration=9.0, start="2026-01-31T12:00:04.000Z", outcome="killed"),
        record(duration=6.0, start="2026-01-31T11:59:59.999Z", outcome="failed"),
        record(duration=0.0, start="2026-01-31T12:00:03.000Z", outcome="skipped"),
        record(duration=None, start="2026-01-31T12:00:03.000Z", outcome="interrupted", event="after_launch"),
    )
    common = {"hook": "a_b_launch", "hook_id": "a", "host": "node1", "manifest_sha": "5b0c", "artifact_version": "1f"}
    summaries = summarise(sink.read())
    assert [summary.pop("last_failure")["outcome"] for summary in summaries] == ["interrupted", "timed_out"]
    assert [[each["count"] for each in summary.pop("failures")] for summary in summaries] == [[1], [3]]
    assert summaries == [
        {
            **common,
            "event": "after_launch",
            "runs": 1,
            "skipped": 0,
            "outcomes": {"interrupted": 1},
            "hours": {"2026-01-31T12": {"interrupted": 1}},
            "last_start": "2026-01-31T12:00:03.000Z",
            "last_outcome": "interrupted",
            "median_duration": None,
            "max_duration": None,
        },
        {
            **common,
            "event": "before_install",
            "runs": 3,
            "skipped": 1,
            "outcomes": {"succeeded": 1, "timed_out": 1, "killed": 1, "failed": 1, "skipped": 1},
            "hours": {
                "2026-01-31T11": {"failed": 1},
                "2026-01-31T12": {"succeeded": 1, "timed_out": 1, "skipped": 1},
            },
            "last_start": "2026-01-31T12:00:04.000Z",
            "last_outcome": "timed_out",
            "median_duration": 2.0,
            "max_duration": 6.0,
        },
    ]


def test_a_summary_tells_of_each_version_that_failed_the_newest_first() -> None:
    records = [
        record(manifest_sha=f"sha{version}", artifact_version=f"v{version}", outcome="failed", start=start)
        for version, start in [(1, "2026-01-01"), (1, "2026-01-05"), (1, "2026-01-02"), (2, "2026-01-04")]
    ]
    records.append(record(manifest_sha="sha3", outcome="succeeded", start="2026-01-06"))
    by_hand = {"manifest_sha": None, "artifact_version": None}
    records.append(record(**by_hand, outcome="skipped", start="2026-01-03", output="x" * 3000))
    [summary] = summarise(records)
    assert [
        (each["manifest_sha"], each["artifact_version"], each["count"], each["last_failure"]["start"])
        for each in summary["failures"]
    ] == [("sha1", "v1", 3, "2026-01-05"), ("sha2", "v2", 1, "2026-01-04"), (None, None, 1, "2026-01-03")]
    assert summary["last_failure"] == summary["failures"][0]["last_failure"]
    assert summary["failures"][2]["last_failure"]["output"] == "x" * 2000


def test_a_summary_tells_of_eight_versions_that_failed_at_most() -> None:
    [summary] = summarise([record(manifest_sha=f"sha{number}", outcome="failed") for number in range(100)])
    assert len(summary["failures"]) == 8
