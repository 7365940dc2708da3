# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from p2hooks.audit import Audit
from p2hooks.audit.json_lines import encode
from p2hooks.audit.running import running
from support_audit import await_line, kill, record, rows, start, store
from support_run import Host, eventually, is_running

RUNNER = """
import time
from p2hooks.audit import Audit
from support_audit import record
log, database, step = sys.argv[1:]
audit = Audit(log, database or None)
audit.begin("1")
done, current = record(run_id="1", hook="done"), record(run_id="1", hook="current")
audit.mark(done, "exec")
audit.write(done)
if step != "between":
    audit.mark(current, "exec")
if step == "recorded":
    audit._log.write(current)
if step == "ending":
    audit.write(current)
    audit._database.flush = lambda: print("ready", flush=True) or time.sleep(60)
    audit.end()
print("ready", flush=True)
time.sleep(60)
"""

NEXT_RUNNER = """
import time
from p2hooks.audit import Audit
Audit(*sys.argv[1:]).begin("2")
print("ready", flush=True)
time.sleep(60)
"""


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "audit.jsonl"


def written(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_bytes().split(b"\n")[:-1]]


def outcomes(log: Path) -> list[tuple[str, str]]:
    return [(each["hook"], each["outcome"]) for each in written(log)]


def start_run(log: Path, database: Path | None = None, step: str = "executing") -> Any:
    code = f"sys.path.insert(0, {str(Path(__file__).parent)!r})\n{RUNNER}"
    process = start(code, log, database or "", step)
    assert await_line(process) == "ready"
    return process


def next_run(log: Path, database: Path | None = None) -> None:
    audit = Audit(str(log), str(database) if database else None)
    assert audit.begin("2") + audit.end() == []
    audit.close()


def test_a_run_that_died_is_closed_by_the_next_once(log: Path) -> None:
    process = start_run(log)
    next_run(log)
    assert outcomes(log) == [("done", "succeeded")]
    kill(process)
    assert [(each["hook"], each["run_id"]) for each in running(str(log))] == [("current", "1")]
    for dummy in range(2):
        next_run(log)
        assert outcomes(log) == [("done", "succeeded"), ("current", "interrupted")]
    assert written(log)[1] == record(
        run_id="1",
        hook="current",
        outcome="interrupted",
        reason="the run died while this hook was running",
        duration=None,
    )
    assert os.listdir(log.parent) == [log.name]


@pytest.mark.parametrize("step", ["between", "recorded"])
def test_a_hook_whose_record_was_written_is_not_interrupted(log: Path, step: str) -> None:
    kill(start_run(log, step=step))
    before = written(log)
    next_run(log)
    assert written(log) == before
    assert os.listdir(log.parent) == [log.name]


@pytest.mark.parametrize("step", ["executing", "between", "recorded", "ending"])
def test_the_database_gets_what_a_run_that_died_had_not_written(log: Path, tmp_path: Path, step: str) -> None:
    database = tmp_path / "audit.sqlite"
    kill(start_run(log, database, step))
    assert not database.exists()
    next_run(log, database)
    assert rows(database) == outcomes(log)
    assert len(rows(database)) == (1 if step == "between" else 2)


def test_the_database_gets_it_although_the_next_run_is_killed_too(log: Path, tmp_path: Path) -> None:
    database = tmp_path / "audit.sqlite"
    kill(start_run(log, database))
    process = start(NEXT_RUNNER, log, database)
    assert await_line(process) == "ready"
    kill(process)
    assert rows(database) == outcomes(log) == [("done", "succeeded"), ("current", "interrupted")]


def test_the_database_gets_nothing_twice(log: Path, tmp_path: Path) -> None:
    database = tmp_path / "audit.sqlite"
    kill(start_run(log, database))
    store(database, record(run_id="1", hook="done"))
    next_run(log, database)
    assert rows(database) == [("done", "succeeded"), ("current", "interrupted")]


def test_an_ordinary_run_leaves_nothing_but_its_records(log: Path) -> None:
    audit = Audit(str(log))
    audit.begin("1")
    for hook in ("a_long_name", "b"):
        each = record(run_id="1", hook=hook)
        assert audit.mark(each, "exec") == []
        assert [now["hook"] for now in running(str(log))] == [hook]
        assert audit.write(each) == []
        assert list(running(str(log))) == []
    assert audit.end() == []
    assert os.listdir(log.parent) == [log.name]


def test_the_end_of_an_earlier_hook_does_not_end_the_current_one(log: Path) -> None:
    audit = Audit(str(log))
    audit.begin("1")
    audit.mark(record(hook="current"), "exec")
    audit.write(record(hook="earlier", outcome="killed"))
    assert [now["hook"] for now in running(str(log))] == ["current"]
    audit.end()


def test_a_run_that_has_just_begun_is_not_taken_for_dead(log: Path) -> None:
    young, dead = log.with_name(f"{log.name}.1.running"), log.with_name(f"{log.name}.2.running")
    young.write_text("")
    dead.write_text("")
    os.utime(dead, (0, 0))
    next_run(log)
    assert young.exists()
    assert not dead.exists()


@pytest.mark.parametrize(
    "content", [b"\xff\n", b"{}\n", b'{"run_id":"1"}\n', b"[" * 9999, encode({"run_id": "", "hook": "a"})]
)
def test_a_damaged_mark_is_cleared_away(log: Path, content: bytes) -> None:
    log.with_name(f"{log.name}.1.running").write_bytes(content)
    next_run(log)
    assert os.listdir(log.parent) == []


def test_what_is_no_mark_stands_in_nobodys_way(log: Path, tmp_path: Path) -> None:
    os.mkfifo(f"{log}.1.running")
    os.mkdir(f"{log}.2.running")
    os.symlink("nowhere", f"{log}.3.running")
    host = Host(tmp_path / "host")
    host.audit = log
    host.script("a", "")
    assert host.run().warnings == []
    assert outcomes(log) == [("a", "succeeded")]


def test_a_killed_runner_leaves_word_of_the_hook_it_was_executing(tmp_path: Path) -> None:
    host = Host(tmp_path)
    host.script("a", "")
    host.script("b", f"echo $$ >{tmp_path}/pid; exec sleep 60")
    process = start(
        f"sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from pathlib import Path\nfrom support_run import Host\nHost(Path(sys.argv[1])).run()",
        tmp_path,
    )
    assert eventually(lambda: (tmp_path / "pid").exists() and bool((tmp_path / "pid").read_text()))
    hook = int((tmp_path / "pid").read_text())
    runner = int(Path(f"/proc/{hook}/stat").read_text().rpartition(") ")[2].split()[1])
    kill(process)
    os.kill(runner, 9)
    os.kill(hook, 9)
    assert eventually(lambda: not is_running(runner))  # or its mark would still be locked
    host.script("b", "")
    host.run()
    assert host.outcomes() == [("a", "succeeded"), ("b", "interrupted"), ("a", "succeeded"), ("b", "succeeded")]


def test_a_hook_that_is_killed_after_the_run_is_in_the_database(tmp_path: Path) -> None:
    database = tmp_path / "audit.sqlite"
    host = Host(tmp_path, database=database)
    host.script("a", "sleep 60")
    host.run(term=0.2, kill=0.6)
    assert rows(database)[0] == ("a", "timed_out")
    assert eventually(lambda: len(rows(database)) == 2)
    assert rows(database)[1] in [("a", "terminated"), ("a", "killed")]
