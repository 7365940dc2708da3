# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The file with the hooked pod's manifest: it is there for as long as a hook goes on, and then it is gone."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest
from support_zoo import Zoo, eventually, kill, outcomes, parent_of, report_of, runner_of

MANIFEST = "id: hello\n"


@pytest.fixture
def temporary(zoo: Zoo, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = zoo.path / "tmp"
    path.mkdir()
    monkeypatch.setenv("TMPDIR", str(path))
    (zoo.path / "manifest.yaml").write_text(MANIFEST)
    return path


def start(zoo: Zoo, *options: str) -> subprocess.Popen[str]:
    return zoo.start("command", "--pod-manifest", str(zoo.path / "manifest.yaml"), *options)


def reads_late(zoo: Zoo) -> str:
    """Return the body of a hook that reads its manifest only when the file ``go`` is there."""
    return f"""
    trap '' TERM
    until [ -e {zoo.path}/go ]; do sleep 0.02; done
    cat "$HOOKED_POD_MANIFEST" >{zoo.path}/read || echo missing >{zoo.path}/read
    """


def has_read(zoo: Zoo) -> bool:
    return (zoo.path / "read").exists() and (zoo.path / "read").read_text() == MANIFEST


def test_an_overdue_hook_can_read_it_after_the_caller_has_heard_the_result(zoo: Zoo, temporary: Path) -> None:
    zoo.hook("1-late", reads_late(zoo))
    zoo.hook("2-late", "trap '' TERM; sleep 60")
    zoo.hook("3-next", "true")
    report = report_of(start(zoo, "--term-after", "0.2", "--kill-after", "2"))
    assert outcomes(report["hooks"]) == [("1-late", "timed_out"), ("2-late", "timed_out"), ("3-next", "succeeded")]
    (zoo.path / "go").touch()
    assert eventually(lambda: has_read(zoo))
    assert eventually(lambda: ("1-late", "terminated") in zoo.outcomes())
    assert len(os.listdir(temporary)) == 1, "the second hook goes on"
    assert eventually(lambda: ("2-late", "killed") in zoo.outcomes())
    assert eventually(lambda: os.listdir(temporary) == [])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGKILL])
def test_a_hook_can_read_it_after_the_caller_has_been_ended(zoo: Zoo, temporary: Path, number: int) -> None:
    zoo.hook("1-late", reads_late(zoo))
    caller = start(zoo, "--term-after", "20", "--kill-after", "30")
    assert eventually(lambda: len(zoo.pids()) == 1)
    caller.send_signal(number)
    caller.communicate()
    (zoo.path / "go").touch()
    assert eventually(lambda: zoo.outcomes() == [("1-late", "succeeded")])
    assert has_read(zoo)
    assert eventually(lambda: os.listdir(temporary) == [])


def test_nothing_is_left_of_it_when_the_caller_hears_that_all_has_ended(zoo: Zoo, temporary: Path) -> None:
    zoo.hook("1", f"cat $HOOKED_POD_MANIFEST >{zoo.path}/read")
    report_of(start(zoo))
    assert has_read(zoo)
    assert os.listdir(temporary) == []


def test_the_caller_removes_it_when_the_runner_was_killed(zoo: Zoo, temporary: Path) -> None:
    zoo.hook("1-stuck", "sleep 60")
    caller = start(zoo)
    runner = runner_of(caller)
    assert eventually(lambda: len(zoo.pids()) == 1)
    assert len(os.listdir(temporary)) == 1
    kill(runner)
    report_of(caller)
    assert os.listdir(temporary) == []


def test_it_is_removed_although_who_sees_to_the_end_of_an_overdue_hook_is_killed(zoo: Zoo, temporary: Path) -> None:
    zoo.hook("1-stuck", "trap '' TERM; sleep 60")
    zoo.hook("2-long", "sleep 0.4")
    caller = start(zoo)
    assert eventually(lambda: len(zoo.pids()) == 2)
    guardian, successor = map(parent_of, zoo.pids())
    assert guardian != successor
    kill(guardian)
    assert len(os.listdir(temporary)) == 1
    report_of(caller)
    assert eventually(lambda: os.listdir(temporary) == [])
