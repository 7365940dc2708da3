# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hooks that misbehave, looked at from outside: what must be dead is dead on time, and what may live lives."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import p2hooks
import pytest

TERM, KILL = 0.4, 1.0

#: Each script notes the ids of its processes with ``note``, and would go on for a long time.
STUCK = {
    "ignores SIGTERM": "trap '' TERM; sleep 60",
    "leaves it to a child": "sleep 60 & note $!; wait",
    "double fork with setsid": "(setsid sh -c 'trap \"\" TERM; note $$; sleep 60' &); sleep 60",
    "double fork that outlives it": "(setsid sh -c 'trap \"\" TERM; note $$; sleep 60' &); sleep 0.5",
    "chain of sessions": (
        "setsid sh -c 'note $$; setsid sh -c \"note \\$\\$; trap true TERM; sleep 60; sleep 60\" & wait'"
    ),
    "process group of its own": "exec python3 -c 'import os, time; os.fork() or os.setpgid(0, 0); time.sleep(60)'",
    "stops itself": "kill -STOP $$",
    "stopped child that ignores SIGTERM": "sh -c 'trap \"\" TERM; note $$; kill -STOP $$; sleep 60' & wait",
    "starts more when told to end": (
        "trap \"setsid sh -c 'note \\$\\$; sleep 60' & sleep 60\" TERM; sleep 60 & wait; wait"
    ),
    "forks in a loop": (
        "trap '' TERM; i=0; "
        "while [ $i -lt 150 ]; do setsid sh -c 'trap \"\" TERM; note $$; sleep 60' & i=$((i+1)); done; wait"
    ),
    "holds the pipe": "(trap '' TERM; note $$; sleep 60) & exec >&- 2>&-; trap '' TERM; sleep 60",
    "writes without end": "trap '' TERM; exec yes",
    "forgets its environment": "exec env -i sh -c 'trap \"\" TERM; sleep 60'",
}

CALLER = """if True:
    import json, sys
    from p2hooks import run
    from p2hooks.audit import Audit
    from p2hooks.hooked_pod import HookedPod
    from p2hooks.layout import Layout
    from p2hooks.process import TimeLimits
    root, log, term, kill = sys.argv[1:]
    limits = TimeLimits(float(term), float(kill))
    report = run.run(Layout(root), "before_install", HookedPod("hello"), Audit(log), node="n", limits=limits)
    print(json.dumps({"hooks": report.hooks, "warnings": report.warnings}))
"""


class Zoo:
    """A hooks' root, and the processes that its hooks told of."""

    def __init__(self, path: Path) -> None:
        self.root = path / "hooks"
        self.log = path / "audit.jsonl"
        self.pids_file = path / "pids"
        self.pids_file.touch()

    def hook(self, name: str, body: str) -> None:
        """Add a hook; in what it says, ``note`` notes a process id."""
        directory = self.root / "exec" / "before_install"
        directory.mkdir(parents=True, exist_ok=True)
        tool = self.root / "note"
        tool.write_text(f"#!/bin/sh\necho $1 >>{self.pids_file}\n")
        tool.chmod(0o755)
        (directory / name).write_text(f"#!/bin/sh\nPATH={self.root}:$PATH\nexport PATH\nnote $$\n{body}\n")
        (directory / name).chmod(0o755)

    def start(self) -> subprocess.Popen[str]:
        arguments = [str(self.root), str(self.log), str(TERM), str(KILL)]
        environment = {**os.environ, "PYTHONPATH": str(Path(p2hooks.__file__).parents[1])}
        command = [sys.executable, "-c", CALLER, *arguments]
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)

    def pids(self) -> list[int]:
        return [int(pid) for pid in self.pids_file.read_text().split()]

    def alive(self) -> list[int]:
        return [pid for pid in self.pids() if state_of(pid) not in ("Z", "X", "")]

    def outcomes(self) -> list[tuple[str, str]]:
        records = [json.loads(line) for line in self.log.read_text().splitlines() if line]
        return [(record["hook"], record["outcome"]) for record in records]


def state_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]
    except (FileNotFoundError, ProcessLookupError):
        return ""


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()[1])


def eventually(condition: Callable[[], bool], seconds: float = 10) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


@pytest.fixture
def zoo(tmp_path: Path) -> Iterator[Zoo]:
    zoo = Zoo(tmp_path)
    yield zoo
    for pid in zoo.alive():
        os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("name", STUCK)
def test_what_a_stuck_hook_started_is_dead_on_time_and_the_run_goes_on(zoo: Zoo, name: str) -> None:
    zoo.hook("1-daemon", "(setsid sh -c 'exec sleep 60' >/dev/null 2>&1 & note $!)")
    zoo.hook("2-stuck", STUCK[name])
    zoo.hook("3-next", "true")
    start = time.monotonic()
    caller = zoo.start()
    output, dummy = caller.communicate(timeout=20)
    assert time.monotonic() - start < KILL + 5  # the machine may be slow to start Python, and that is all
    hooks = json.loads(output)["hooks"]
    assert [(hook["hook"], hook["outcome"]) for hook in hooks] == [
        ("1-daemon", "succeeded"),
        ("2-stuck", "timed_out"),
        ("3-next", "succeeded"),
    ]
    assert TERM <= hooks[1]["duration"] < TERM + 1
    assert eventually(lambda: len(zoo.outcomes()) == 4)
    assert zoo.outcomes()[-1][0] == "2-stuck" or zoo.outcomes()[-2][0] == "2-stuck"
    assert {outcome for hook, outcome in zoo.outcomes() if hook == "2-stuck"} & {"terminated", "killed"}
    daemon = zoo.pids()[1]
    assert eventually(lambda: zoo.alive() == [daemon], 5)


@pytest.mark.parametrize("name", STUCK)
def test_a_runner_that_is_killed_takes_what_it_was_running_with_it(zoo: Zoo, name: str) -> None:
    zoo.hook("1-daemon", "(setsid sh -c 'exec sleep 60' >/dev/null 2>&1 & note $!)")
    zoo.hook("2-stuck", STUCK[name])
    caller = zoo.start()
    assert eventually(lambda: len(zoo.pids()) >= 3)
    stuck = zoo.pids()[2]
    runner = parent_of(stuck)
    assert runner != caller.pid
    time.sleep(random.uniform(0, TERM * 0.7))
    os.kill(runner, signal.SIGKILL)
    report = json.loads(caller.communicate(timeout=20)[0])
    assert [(hook["hook"], hook["outcome"]) for hook in report["hooks"]] == [
        ("1-daemon", "succeeded"),
        ("2-stuck", "interrupted"),
    ]
    assert "the process that runs hooks was killed" in report["warnings"][0]
    assert zoo.outcomes() == [("1-daemon", "succeeded"), ("2-stuck", "interrupted")]
    assert zoo.alive() == [zoo.pids()[1]]


@pytest.mark.parametrize("name", STUCK)
def test_a_caller_that_is_killed_changes_nothing(zoo: Zoo, name: str) -> None:
    zoo.hook("1-stuck", STUCK[name])
    zoo.hook("2-next", "true")
    caller = zoo.start()
    assert eventually(lambda: len(zoo.pids()) >= 1)
    time.sleep(random.uniform(0, TERM * 0.7))
    caller.kill()
    caller.wait()
    caller.communicate()
    assert eventually(lambda: zoo.log.exists() and len(zoo.outcomes()) == 3)
    assert zoo.outcomes()[:1] == [("1-stuck", "timed_out")]
    assert ("2-next", "succeeded") in zoo.outcomes()
    assert eventually(lambda: zoo.alive() == [], 5)
