# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hooks that misbehave, looked at from outside: what must be dead is dead on time, and what may live lives.

Each is run in peace, and with the process that runs it killed at a random moment.
"""

from __future__ import annotations

import os
import random
import re
import sqlite3
import sys
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from support_zoo import KILL, TERM, Watch, Zoo, eventually, kill, outcomes, parent_of, report_of, runner_of, seconds

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")

#: Leaves a daemon behind, which is noted, and has nothing to do with the run any more.
DAEMON = "(exec >/dev/null 2>&1; setsid sleep 60 & note $!)"

#: Is another process every 20 ms, the child of the one before, each in a session of its own. It ends after a minute, as
#: nobody catches it if the run does not, and all that is measured on the machine would suffer.
HOPPER = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
for dummy in range(3000):
    if os.fork():
        os._exit(0)
    os.setsid()
    time.sleep(0.02)
"""

#: What would go on for a long time, and how it ends. Each notes the ids of all processes that forget their environment.
STUCK = {
    "has nothing against SIGTERM": ("exec sleep 60", "terminated"),
    "ignores SIGTERM": ("trap '' TERM; sleep 60", "killed"),
    "leaves it to a child": ("sleep 60 & note $!; wait", "terminated"),
    "double fork with setsid": ("(setsid sh -c 'trap \"\" TERM; note $$; sleep 60' &); sleep 60", "killed"),
    "double fork that outlives it": (
        f"(setsid sh -c 'trap \"\" TERM; note $$; sleep 60' &); sleep {TERM + 0.2}",
        "killed",
    ),
    "chain of sessions": (
        "setsid sh -c 'note $$; setsid sh -c \"note \\$\\$; trap true TERM; sleep 60; sleep 60\" & wait'",
        "killed",
    ),
    "process group of its own": (
        "exec python3 -c 'import os, time; os.fork() or os.setpgid(0, 0); time.sleep(60)'",
        "terminated",
    ),
    "stops itself": ("kill -STOP $$", "terminated"),
    "stopped child that ignores SIGTERM": (
        "sh -c 'trap \"\" TERM; note $$; kill -STOP $$; sleep 60' & wait",
        "killed",
    ),
    "starts more when told to end": (
        "trap \"setsid sh -c 'note \\$\\$; sleep 60' & sleep 60\" TERM; sleep 60 & wait; wait",
        "killed",
    ),
    "forks in a loop": (
        """
        trap '' TERM; i=0
        while [ $i -lt 150 ]; do setsid sh -c 'trap "" TERM; note $$; sleep 60' & i=$((i+1)); done; wait
        """,
        "killed",
    ),
    "hops on and on": (f"trap '' TERM; setsid {sys.executable} -IS -c '{HOPPER}' & sleep 60", "killed"),
    "holds the pipe": ("(trap '' TERM; note $$; sleep 60) & exec >&- 2>&-; trap '' TERM; sleep 60", "killed"),
    "writes without end": ("trap '' TERM; exec yes", "killed"),
    "forgets its environment": ("exec env -i sh -c 'trap \"\" TERM; sleep 60'", "killed"),
}
#: Those of them that go through the command as well, while the engine's own interface sees all of them.
SAMPLE = ("has nothing against SIGTERM", "double fork with setsid", "holds the pipe", "writes without end")
#: Where the kernel lists no children, what is hard to find.
HARD_TO_FIND = (
    "ignores SIGTERM", "double fork with setsid", "double fork that outlives it", "chain of sessions",
    "stopped child that ignores SIGTERM", "starts more when told to end", "forks in a loop", "forgets its environment",
)  # fmt: skip
#: By how many seconds an end may be late; where all processes of a busy machine have to be looked at, that takes time.
LATE = {"api": 0.5, "command": 0.5, "without lists": 4.0}
WAYS = [
    *(("api", name) for name in STUCK),
    *(("command", name) for name in SAMPLE),
    *(("without lists", name) for name in HARD_TO_FIND),
]


@pytest.mark.parametrize(("way", "name"), WAYS)
def test_what_a_stuck_hook_started_is_dead_on_time_and_the_run_goes_on(zoo: Zoo, way: str, name: str) -> None:
    body, end = STUCK[name]
    zoo.hook("1-daemon", DAEMON)
    zoo.hook("2-stuck", body)
    zoo.hook("3-next", "true")
    with Watch(zoo) as watch:
        report = report_of(zoo.start(way))
        returned = time.time()
        daemon = zoo.pids()[1]
        assert eventually(lambda: zoo.strangers() == {daemon})
    hooks = report["hooks"]
    assert outcomes(hooks) == [("1-daemon", "succeeded"), ("2-stuck", "timed_out"), ("3-next", "succeeded")]
    assert report["warnings"] == []
    assert hooks[1]["reason"] == f"still running after {TERM} s, so it was sent SIGTERM"
    assert (hooks[1]["exit_code"], hooks[1]["signal"]) == (None, None)
    assert hooks[1]["output_truncated"] == (name == "writes without end")

    # The run took as long as the hook was given, and did not wait for its end.
    start = seconds(hooks[1]["start"])
    assert TERM <= hooks[1]["duration"] < TERM + 0.4
    assert TERM <= returned - start < KILL
    # What did not end by itself was alive until it was killed, as far as a look every now and then can tell.
    last = max(seen for pid, seen in watch.seen.items() if pid != daemon) - start
    if end == "killed":
        assert KILL - 0.2 < last < KILL + LATE[way]
    else:
        assert TERM - 0.2 < last < TERM + LATE[way]

    # The audit: what was reported, and one record more.
    assert eventually(lambda: len(zoo.records()) == 4)
    records = zoo.records()
    assert all(hook in records for hook in hooks)
    (closing,) = (record for record in records if record not in hooks)
    assert outcomes([closing]) == [("2-stuck", end)]
    assert (closing["start"], closing["run_id"], closing["reason"]) == (hooks[1]["start"], hooks[1]["run_id"], None)
    at_least = KILL if end == "killed" else TERM
    assert at_least <= closing["duration"] < at_least + LATE[way]
    if name == "has nothing against SIGTERM":
        assert closing["signal"] == "SIGTERM"
    assert eventually(lambda: zoo.debris() == [])


@pytest.mark.parametrize(("way", "name"), WAYS)
def test_a_runner_that_is_killed_takes_what_it_was_running_with_it(zoo: Zoo, way: str, name: str) -> None:
    zoo.hook("1-daemon", DAEMON)
    zoo.hook("2-stuck", STUCK[name][0])
    zoo.hook("3-next", "true")
    caller = zoo.start(way)
    assert eventually(lambda: len(zoo.pids()) >= 3)
    runner = parent_of(zoo.pids()[2])
    assert runner != caller.pid
    time.sleep(random.uniform(0, TERM * 0.7))
    kill(runner)
    killed = time.monotonic()
    report = report_of(caller)
    assert time.monotonic() - killed < 0.5 + LATE[way]
    assert outcomes(report["hooks"]) == [("1-daemon", "succeeded"), ("2-stuck", "interrupted")]
    (warning,) = report["warnings"]
    assert "the process that runs hooks was killed" in warning
    assert zoo.outcomes() == [("1-daemon", "succeeded"), ("2-stuck", "interrupted")]
    assert zoo.strangers() == {zoo.pids()[1]}
    assert zoo.debris() == []


@pytest.mark.parametrize(("way", "name"), WAYS)
def test_a_caller_that_is_killed_changes_nothing(zoo: Zoo, way: str, name: str) -> None:
    body, end = STUCK[name]
    zoo.hook("1-stuck", body)
    zoo.hook("2-next", "true")
    caller = zoo.start(way)
    assert eventually(lambda: len(zoo.pids()) >= 1)
    time.sleep(random.uniform(0, TERM * 0.7))
    kill(caller.pid)
    caller.communicate()
    assert eventually(lambda: len(zoo.records()) == 3)
    assert zoo.outcomes()[0] == ("1-stuck", "timed_out")
    assert sorted(zoo.outcomes()[1:]) == [("1-stuck", end), ("2-next", "succeeded")]
    assert eventually(lambda: zoo.strangers() == set(), 5)
    assert eventually(lambda: zoo.debris() == [])


def test_sigterm_comes_at_the_first_limit_and_sigkill_at_the_second(zoo: Zoo) -> None:
    zoo.hook(
        "stuck",
        f"trap 'date +%s.%N >>{zoo.path}/told' TERM; while :; do sleep 0.01; date +%s.%N >{zoo.path}/last; done",
    )
    (hook,) = zoo.run()["hooks"]
    start = seconds(hook["start"])
    assert eventually(lambda: zoo.outcomes() == [("stuck", "timed_out"), ("stuck", "killed")])
    (told,) = (zoo.path / "told").read_text().split()
    assert TERM <= float(told) - start < TERM + 0.3
    # It may have been killed just after it had emptied the file.
    last = float((zoo.path / "last").read_text() or start + KILL)
    assert KILL - 0.3 < last - start < KILL + 0.3


# --- those that end in time ------------------------------------------------------------------------------------------

#: What each does, and what its record says of that.
QUICK: dict[str, tuple[str, dict[str, Any]]] = {
    "exits at once leaving a daemon": (DAEMON, {"outcome": "succeeded", "output_held_open": False}),
    "leaves a daemon that holds its output": (
        "echo out; sleep 60 & note $!",
        {"outcome": "succeeded", "output": "out\n", "output_held_open": True},
    ),
    "fails leaving a daemon": (
        "(exec >&- 2>&-; setsid sleep 60 & note $!); exit 3",
        {"outcome": "failed", "exit_code": 3, "output_held_open": False},
    ),
    "dies by a signal": (
        "kill -SEGV $$",
        {"outcome": "failed", "exit_code": None, "signal": "SIGSEGV"},
    ),
    "kills its process group": ("kill -KILL 0", {"outcome": "failed", "exit_code": None, "signal": "SIGKILL"}),
    "writes binary": (
        r"printf '\377\376ok\000\033[2J\n'",
        {"outcome": "succeeded", "output": "\ufffd\ufffdok\0\033[2J\n", "output_truncated": False},
    ),
    "writes much binary": (
        "head -c 1000000 /dev/zero | tr '\\0' '\\377'; printf end",
        {"outcome": "succeeded", "output": "\ufffd" * 8189 + "end", "output_truncated": True},
    ),
    "has a reader that goes away": (
        "{ yes; echo $? >&2; } | head -n 1 >/dev/null",
        {"outcome": "succeeded", "output": "141\n"},
    ),
    "removes itself": ('rm -- "$0"; echo gone', {"outcome": "succeeded", "output": "gone\n"}),
}


@pytest.mark.parametrize("name", QUICK)
def test_what_a_hook_leaves_that_ends_in_time_lives_on(zoo: Zoo, name: str) -> None:
    body, expected = QUICK[name]
    zoo.hook("hook", body)
    report = zoo.run()
    (hook,) = report["hooks"]
    assert {field: hook[field] for field in expected} == expected
    assert hook["duration"] < TERM
    assert (report["warnings"], hook["reason"]) == ([], None)
    assert zoo.records() == [hook]
    left = zoo.pids()[1:]
    assert len(left) == ("daemon" in name)
    time.sleep(0.05)
    assert zoo.strangers() == set(left)
    assert zoo.debris() == []


def in_database(zoo: Zoo) -> list[tuple[str, str]]:
    path = zoo.path / "audit.sqlite"
    if not path.exists():  # nothing had begun
        return []
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("SELECT hook, outcome FROM hook_runs ORDER BY id").fetchall()


@pytest.mark.parametrize("seed", range(15))
def test_the_audit_tells_the_truth_of_a_runner_that_is_killed_at_any_moment(zoo: Zoo, seed: int) -> None:
    """Every hook says when it begins and when it has done its work, so what the audit should say is known."""
    chance = random.Random(seed)
    names = chance.sample(sorted(QUICK), 5)
    for position, name in enumerate(names):
        body = QUICK[name][0]
        mark = zoo.path / f"{position}"
        zoo.hook(f"{position}", f"echo $$ >{mark}.begun; sleep 0.02; touch {mark}.done\n{body}")
    caller = zoo.start("command", "--audit-database", str(zoo.path / "audit.sqlite"))
    runner = runner_of(caller)
    time.sleep(chance.uniform(0, 0.3))
    with suppress(ProcessLookupError):  # it was faster
        kill(runner)
    report = report_of(caller)

    def is_there(position: int, mark: str) -> bool:
        return (zoo.path / f"{position}.{mark}").exists()

    records = zoo.records()
    assert [record["hook"] for record in records] == [str(position) for position in range(len(records))]
    assert outcomes(report["hooks"]) == outcomes(records) == in_database(zoo)
    for position, record in enumerate(records):
        expected = QUICK[names[position]][1]["outcome"]
        assert record["outcome"] == expected or (record["outcome"] == "interrupted" and position == len(records) - 1)
        assert is_there(position, "done") or record["outcome"] == "interrupted"
    # Nothing began of which there is no record.
    assert not any(is_there(position, "begun") for position in range(len(records), 5))
    ended = [record for record in records if record["outcome"] != "interrupted"]
    if len(ended) < 5:
        assert "the process that runs hooks was killed" in report["warnings"][0]
    # What hooks left that ended lives, and of the one that was interrupted nothing does.
    begun = {int((zoo.path / f"{position}.begun").read_text()) for position in range(5) if is_there(position, "begun")}
    daemons = sum("daemon" in names[position] for position in range(len(ended)))
    assert eventually(lambda: len(zoo.strangers()) <= daemons, 2)
    assert len(zoo.strangers()) == daemons
    assert not zoo.strangers() & begun
    assert zoo.debris() == []


def test_a_hook_that_kills_the_process_that_runs_it_is_interrupted_and_ended(zoo: Zoo) -> None:
    zoo.hook("1-daemon", DAEMON)
    zoo.hook("2-hook", "(setsid sh -c 'trap \"\" TERM; note $$; sleep 60' &) ; sleep 0.1; kill -KILL $PPID; sleep 60")
    zoo.hook("3-next", "true")
    report = zoo.run()
    assert outcomes(report["hooks"]) == zoo.outcomes() == [("1-daemon", "succeeded"), ("2-hook", "interrupted")]
    assert zoo.strangers() == {zoo.pids()[1]}
    assert outcomes(zoo.run()["hooks"])[0] == ("1-daemon", "succeeded")


# --- those that are replaced while they run --------------------------------------------------------------------------

ONE = "echo one; while [ ! -e {go} ]; do sleep 0.02; done; echo still one"


@pytest.mark.parametrize("fate", ["lives", "runner is killed"])
@pytest.mark.parametrize("kind", ["script", "installed"])
def test_a_hook_that_is_replaced_while_it_runs_ends_as_what_it_was(zoo: Zoo, kind: str, fate: str) -> None:
    go = zoo.path / "go"
    if kind == "script":
        name = "hook"
        zoo.hook(name, ONE.format(go=go))
    else:
        name = "hook_main_launch"
        zoo.installed_hook("hook", "1", ONE.format(go=go))
    caller = zoo.start()
    assert eventually(lambda: len(zoo.pids()) == 1)
    if kind == "script":
        zoo.hook(".new", "echo two").rename(zoo.exec_dir / name)
    else:
        zoo.installed_hook("hook", "2", "echo two")
    if fate == "lives":
        go.touch()
    else:
        kill(parent_of(zoo.pids()[0]))
    (first,) = report_of(caller)["hooks"]
    (second,) = zoo.run()["hooks"]
    if fate == "lives":
        assert (first["outcome"], first["output"]) == ("succeeded", "one\nstill one\n")
    else:
        assert first["outcome"] == "interrupted"
    assert (second["outcome"], second["output"]) == ("succeeded", "two\n")
    versions = [(hook["manifest_sha"], hook["artifact_version"]) for hook in (first, second)]
    assert versions == ([(None, None)] * 2 if kind == "script" else [("sha of 1", "1"), ("sha of 2", "2")])
    assert zoo.outcomes() == [(name, first["outcome"]), (name, "succeeded")]
    assert zoo.strangers() == set()


# --- those that cannot run -------------------------------------------------------------------------------------------


def chown(path: Path) -> None:
    os.chown(path, 65534, 65534, follow_symlinks=False)


def write(content: str, mode: int = 0o755) -> Callable[[Zoo, Path], object]:
    return lambda zoo, path: zoo.put(path.name, content, mode)


def link(target: str) -> Callable[[Zoo, Path], object]:
    return lambda zoo, path: path.symlink_to(target)


def installed_in_a_writable_directory(zoo: Zoo, path: Path) -> None:
    install = zoo.installed_hook("writable", "1", "echo ran")
    (install / "bin").chmod(0o775)
    path.symlink_to(f"../../{(install / 'bin' / 'launch').relative_to(zoo.root)}")
    (zoo.exec_dir / "writable_main_launch").unlink()


def of_another_user(zoo: Zoo, path: Path) -> None:
    zoo.put(path.name, "#!/bin/sh\necho ran\n")
    chown(path)


def link_of_another_user(zoo: Zoo, path: Path) -> None:
    path.symlink_to("9-last")
    chown(path)


CANNOT_RUN: dict[str, tuple[Callable[[Zoo, Path], object], str]] = {
    "no first line": (write("echo ran\n"), r"cannot be executed; a script needs a first line such as #!/bin/sh"),
    "no program": (write("\x7fELF and more"), r"cannot be executed; a script needs a first line such as #!/bin/sh"),
    "missing interpreter": (
        write("#!/nowhere/sh\necho ran\n"),
        r"cannot be executed: the interpreter named in its first line does not exist",
    ),
    "interpreter that is a directory": (write("#!/usr\necho ran\n"), r"cannot be executed: Permission denied"),
    "empty": (write(""), r"\S+ is empty; write a script into it, or remove it"),
    "not executable": (write("#!/bin/sh\necho ran\n", 0o644), r"not executable; chmod \+x it"),
    "group-writable": (write("#!/bin/sh\necho ran\n", 0o775), r"\S+ is writable by group or others; chmod go-w it"),
    "set-uid": (write("#!/bin/sh\necho ran\n", 0o4755), r"\S+ is set-uid or set-gid; chmod ug-s it"),
    "fifo": (lambda zoo, path: os.mkfifo(path, 0o755), r"\S+ is no regular file; remove it"),
    "dangling link": (link("nowhere"), r"the link points nowhere; install the hook again, or remove the link"),
    "link to itself": (link("link-to-itself"), r"\S+: too many links one after the other; remove it"),
    "link to elsewhere": (link("/bin/true"), r"\S+ leads out of \S+; put the file itself there, or remove the link"),
    "group-writable parent": (
        installed_in_a_writable_directory,
        r"\S+/installs/1/bin is writable by group or others; chmod go-w it",
    ),
    "owned by another user": (of_another_user, r"\S+ belongs to user 65534; chown it to root"),
    "link of another user": (link_of_another_user, r"\S+ belongs to user 65534; chown -h it to root"),
}


@pytest.fixture
def cage(zoo: Zoo) -> dict[str, str]:
    """Add all hooks that cannot run, and what is none; return the names of the hooks with the reasons."""
    reasons = {}
    for animal, (make, reason) in CANNOT_RUN.items():
        name = animal.replace(" ", "-")
        make(zoo, zoo.exec_dir / name)
        reasons[name] = reason
    (zoo.exec_dir / "directory").mkdir()
    (zoo.exec_dir / "directory" / "hook").write_text("#!/bin/sh\n")
    (zoo.exec_dir / "link-to-directory").symlink_to("directory")
    zoo.hook("9-last", "echo last")
    return reasons


def check_skipped(records: list[dict[str, Any]], reasons: dict[str, str]) -> None:
    assert [record["hook"] for record in records] == sorted(reasons)
    for record in records:
        assert re.fullmatch(reasons[record["hook"]], record["reason"]), record
        assert (record["outcome"], record["exit_code"], record["signal"]) == ("skipped", None, None)
        assert (record["output"], record["duration"]) == ("", 0.0)


@needs_root
def test_what_cannot_run_is_skipped_and_the_run_goes_on(zoo: Zoo, cage: dict[str, str]) -> None:
    zoo.hook("z-last", "echo last")
    hooks = zoo.run()["hooks"]
    assert zoo.records() == hooks
    assert outcomes([hooks[0], hooks[-1]]) == [("9-last", "succeeded"), ("z-last", "succeeded")]
    check_skipped(hooks[1:-1], cage)
    assert len(zoo.pids()) == 2


@needs_root
def test_what_cannot_run_is_on_record_when_the_runner_is_killed_while_another_hook_runs(
    zoo: Zoo, cage: dict[str, str]
) -> None:
    zoo.hook("y-stuck", "trap '' TERM; sleep 60")
    zoo.hook("z-last", "echo last")
    caller = zoo.start()
    assert eventually(lambda: len(zoo.pids()) == 2)
    time.sleep(random.uniform(0, TERM * 0.7))
    kill(parent_of(zoo.pids()[1]))
    hooks = report_of(caller)["hooks"]
    assert outcomes(hooks) == zoo.outcomes()
    assert outcomes([hooks[0], hooks[-1]]) == [("9-last", "succeeded"), ("y-stuck", "interrupted")]
    check_skipped(zoo.records()[1:-1], cage)
    assert zoo.strangers() == set()
