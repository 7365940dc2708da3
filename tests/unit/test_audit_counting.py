# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import gzip
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from p2hooks.audit.counting import Counted, OutcomeCounter, Tally
from p2hooks.audit.json_lines import JSONLines, encode
from support_audit import record

A = Counted("before_install", "a", "5b0c", "2026-01-31T00:00:00.000Z")


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "audit.jsonl"


@pytest.fixture
def counter(log: Path) -> Iterator[OutcomeCounter]:
    with closing(OutcomeCounter(str(log))) as counter:
        yield counter


def ran(log: Path, outcome: str = "succeeded", **fields: object) -> None:
    assert JSONLines(str(log)).write(record(outcome=outcome, **fields)) is None


def count(counter: OutcomeCounter, *hooks: Counted) -> Mapping[str, int]:
    return counter.count(hooks or [A])[A].outcomes


def test_what_was_written_before_and_after_the_first_look(log: Path, counter: OutcomeCounter) -> None:
    assert counter.has_news()
    assert count(counter) == {}
    assert not counter.has_news()
    for number in range(1, 4):
        ran(log)
        assert counter.has_news()
        assert count(counter) == {"succeeded": number}
        assert not counter.has_news()
    ran(log, "timed_out")
    ran(log, "killed")
    assert count(counter) == {"succeeded": 3, "timed_out": 1, "killed": 1}
    with closing(OutcomeCounter(str(log))) as other:
        assert count(other) == count(counter)


@pytest.mark.parametrize(
    "fields",
    [
        {"hook_id": "b"},
        {"hook_id": None, "manifest_sha": None},
        {"event": "after_install"},
        {"manifest_sha": "0000"},
        {"start": "2026-01-30T23:59:59.999Z"},
    ],
)
def test_other_hooks_versions_and_times_do_not_count(
    log: Path, counter: OutcomeCounter, fields: dict[str, object]
) -> None:
    ran(log)
    assert JSONLines(str(log)).write(record(**fields)) is None
    assert count(counter) == {"succeeded": 1}


def test_a_global_hook_counts_on_all_events_and_one_of_an_event_first(log: Path, counter: OutcomeCounter) -> None:
    everywhere = Counted(None, "a", "5b0c", A.since)
    for event in ("before_install", "after_install"):
        ran(log, event=event)
    assert counter.count([everywhere]) == {everywhere: Tally({"succeeded": 2})}
    ran(log)
    assert counter.count([everywhere, A]) == {everywhere: Tally({"succeeded": 2}), A: Tally({"succeeded": 1})}


def test_another_version_begins_at_nothing(log: Path, counter: OutcomeCounter) -> None:
    ran(log)
    assert count(counter) == {"succeeded": 1}
    again = A._replace(since="2026-01-31T13:00:00.000Z")
    assert counter.count([again]) == {again: Tally({})}
    ran(log, start="2026-01-31T14:00:00.000Z")
    assert counter.count([again]) == {again: Tally({"succeeded": 1})}


def test_lines_that_are_being_written_count_once_they_are_whole(log: Path, counter: OutcomeCounter) -> None:
    line = encode(record())
    with open(log, "ab", buffering=0) as file:
        file.write(line + line[:50])
        assert count(counter) == {"succeeded": 1}
        file.write(line[50:] + b"no record\n")
        assert count(counter) == {"succeeded": 2}


def test_rotation_loses_nothing(log: Path, counter: OutcomeCounter) -> None:
    ran(log)
    assert count(counter) == {"succeeded": 1}
    with open(log, "ab") as late:  # opened before the rotation, written after it
        ran(log)
        log.rename(f"{log}.1")
        ran(log)
        assert counter.has_news()
        assert count(counter) == {"succeeded": 3}
        late.write(encode(record()))
    assert counter.has_news()
    assert count(counter) == {"succeeded": 4}
    Path(f"{log}.1").rename(f"{log}.2")
    log.rename(f"{log}.1")
    assert count(counter) == {"succeeded": 4}  # and no log at all for a while
    ran(log)
    assert count(counter) == {"succeeded": 5}


def test_many_rotations_while_nobody_looks_cost_only_what_they_took_away(log: Path, counter: OutcomeCounter) -> None:
    ran(log)
    count(counter)
    for number in range(3):
        ran(log)
        log.rename(f"{log}.{number}")
    ran(log)
    assert count(counter)["succeeded"] == 3  # two files came and went between two looks


def test_the_first_look_reads_rotated_files_as_well(log: Path, counter: OutcomeCounter) -> None:
    ran(log)
    content = log.read_bytes()
    Path(f"{log}.3.gz").write_bytes(gzip.compress(content * 2))
    Path(f"{log}.4.gz").write_bytes(gzip.compress(content)[:-10])
    Path(f"{log}-20260130").write_bytes(content)
    Path(f"{log}.2").mkdir()
    assert count(counter)["succeeded"] >= 4


def test_a_log_that_was_emptied_is_read_from_its_beginning(log: Path, counter: OutcomeCounter) -> None:
    for dummy in range(3):
        ran(log)
    assert count(counter) == {"succeeded": 3}
    log.write_bytes(b"")
    ran(log)
    assert count(counter) == {"succeeded": 4}


def test_something_else_in_the_place_of_the_log_is_no_log(log: Path, counter: OutcomeCounter) -> None:
    os.mkfifo(log)
    assert count(counter) == {}
    log.unlink()
    log.mkdir()
    assert count(counter) == {}


def test_looking_without_news_costs_next_to_nothing(log: Path, counter: OutcomeCounter) -> None:
    for dummy in range(1000):
        ran(log)
    count(counter)
    before = time.thread_time()
    for dummy in range(1000):
        assert not counter.has_news()
    assert time.thread_time() - before < 0.5


def last_failure(counter: OutcomeCounter) -> dict[str, Any]:
    failure = counter.count([A])[A].last_failure
    assert failure is not None
    return failure


def test_the_last_failure_is_the_newest_run_that_did_not_succeed(log: Path, counter: OutcomeCounter) -> None:
    ran(log)
    assert counter.count([A])[A].last_failure is None
    ran(log, "failed", exit_code=7, start="2026-01-31T12:00:03.000Z", run_id="third")
    ran(log, "failed", start="2026-01-31T12:00:02.000Z", run_id="second")  # a slow run is recorded late
    ran(log, start="2026-01-31T12:00:04.000Z")
    ran(log, "failed", start="2026-01-31T12:00:05.000Z", manifest_sha="0000")
    assert last_failure(counter) == {
        "run_id": "third",
        "event": "before_install",
        "hook": "a_b_launch",
        "pod_id": "hello",
        "outcome": "failed",
        "reason": None,
        "exit_code": 7,
        "signal": None,
        "start": "2026-01-31T12:00:03.000Z",
        "duration": 0.5,
        "output": "hello\n",
    }


def test_how_a_hook_that_timed_out_came_to_its_end_is_in_its_last_failure(log: Path, counter: OutcomeCounter) -> None:
    ran(log, "timed_out")
    assert last_failure(counter)["outcome"] == "timed_out"
    ran(log, "killed", signal="SIGKILL")
    assert (last_failure(counter)["outcome"], last_failure(counter)["signal"]) == ("killed", "SIGKILL")


def test_a_last_failure_keeps_the_end_of_a_long_output(log: Path, counter: OutcomeCounter) -> None:
    ran(log, "failed", output="x" * 5000 + "the reason\n")
    assert last_failure(counter)["output"] == "x" * 989 + "the reason\n"


def test_a_last_failure_survives_rotation_and_a_restart(log: Path, counter: OutcomeCounter) -> None:
    ran(log, "skipped", reason="not executable")
    assert last_failure(counter)["reason"] == "not executable"
    log.rename(f"{log}.1")
    ran(log)
    assert last_failure(counter)["reason"] == "not executable"
    with closing(OutcomeCounter(str(log))) as other:
        assert last_failure(other) == last_failure(counter)
