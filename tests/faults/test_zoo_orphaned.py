# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hooks that nobody looks after any more: whoever ran them was killed, and so was who would have noticed.

The next run ends them, and closes their records. It knows them by their environment, so one that has got rid of that
lives on, and so does everything that belongs to a run that lives, or to a hook that had ended.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time

import pytest
from support_zoo import EVENT, TERM, Zoo, eventually, is_alive, kill, outcomes, parent_of, report_of, runner_of
from test_zoo import DAEMON, STUCK, in_database

#: One of the others cannot be recognised, and one comes to its end when nobody reads what it writes.
LASTING = [name for name in STUCK if name not in ("forgets its environment", "writes without end")]


def kill_both(caller: subprocess.Popen[str], runner: int) -> None:
    """Kill a run with its caller as if at the same moment."""
    os.kill(caller.pid, signal.SIGSTOP)  # so that it does not notice the end of the other
    kill(runner)
    kill(caller.pid)
    caller.communicate()


def run_next(zoo: Zoo, way: str = "command") -> list[tuple[str, str]]:
    """Run again, with hooks of the same names that do nothing; return the outcomes."""
    for path in list(zoo.exec_dir.iterdir()):
        zoo.put(".new", "#!/bin/sh\n:\n").rename(path)
    return outcomes(report_of(zoo.start(way))["hooks"])


@pytest.mark.parametrize("name", LASTING)
def test_the_next_run_ends_what_a_run_left_that_was_killed_with_its_caller(zoo: Zoo, name: str) -> None:
    zoo.hook("1-daemon", DAEMON)
    zoo.hook("2-stuck", STUCK[name][0])
    caller = zoo.start()
    assert eventually(lambda: len(zoo.pids()) >= 3)
    time.sleep(random.uniform(0, TERM * 0.7))
    kill_both(caller, parent_of(zoo.pids()[2]))
    daemon = zoo.pids()[1]
    assert zoo.strangers() > {daemon}
    before = [("1-daemon", "succeeded")]
    assert zoo.outcomes() == before
    next_ones = run_next(zoo)
    assert next_ones == [("1-daemon", "succeeded"), ("2-stuck", "succeeded")]
    assert eventually(lambda: zoo.strangers() == {daemon}, 2)
    assert zoo.outcomes() == [*before, ("2-stuck", "interrupted"), *next_ones]
    assert zoo.debris() == []
    # Once is enough.
    assert run_next(zoo, "api") == next_ones
    assert zoo.outcomes() == [*before, ("2-stuck", "interrupted"), *next_ones, *next_ones]


def test_the_next_run_ends_it_also_where_it_has_no_hooks(zoo: Zoo) -> None:
    zoo.hook("stuck", "sleep 60 & note $!; wait")
    caller = zoo.start("command", "--audit-database", str(zoo.path / "audit.sqlite"))
    assert eventually(lambda: len(zoo.pids()) == 2)
    kill_both(caller, parent_of(zoo.pids()[0]))
    (zoo.exec_dir / "stuck").unlink()
    report = zoo.run("--audit-database", str(zoo.path / "audit.sqlite"))
    assert (report["hooks"], report["warnings"]) == ([], [])
    assert eventually(lambda: zoo.strangers() == set(), 2)
    assert zoo.outcomes() == in_database(zoo) == [("stuck", "interrupted")]
    assert zoo.debris() == []


def test_the_next_run_leaves_a_run_that_lives_alone(zoo: Zoo) -> None:
    zoo.hook("hook", f"sleep 60 & note $!; until [ -e {zoo.path}/go ]; do sleep 0.02; done; kill $!; echo done")
    limits = ("--term-after", "20", "--kill-after", "30")
    lives = zoo.start("command", *limits)
    assert eventually(lambda: len(zoo.pids()) == 2)
    alive = zoo.pids()
    dies = zoo.start("command", *limits)
    assert eventually(lambda: len(zoo.pids()) == 4)
    kill_both(dies, runner_of(dies))
    assert len(zoo.alive()) == 4
    assert run_next(zoo) == [("hook", "succeeded")]
    assert eventually(lambda: zoo.alive() != zoo.pids(), 2)
    assert zoo.alive() == alive
    (zoo.path / "go").touch()
    (hook,) = report_of(lives)["hooks"]
    assert (hook["outcome"], hook["output"]) == ("succeeded", "done\n")
    assert zoo.outcomes() == [("hook", "interrupted"), ("hook", "succeeded"), ("hook", "succeeded")]
    assert zoo.strangers() == set()


# A run that goes on without an overdue hook consists of two processes: one goes on, the other sees to the hook's end.


def start_with_an_overdue_hook(zoo: Zoo) -> tuple[subprocess.Popen[str], int, int]:
    """Start a run whose first hook is overdue; return it, who sees to the hook's end, and who goes on."""
    zoo.hook("1-stuck", "trap '' TERM; (setsid sh -c 'trap \"\" TERM; sleep 60' &); sleep 60")
    zoo.hook("2-long", "sleep 0.4")
    caller = zoo.start()
    assert eventually(lambda: len(zoo.pids()) == 2)
    guardian, successor = map(parent_of, zoo.pids())
    assert guardian != successor
    return caller, guardian, successor


def check_that_it_is_closed(zoo: Zoo) -> None:
    closing = [outcome for hook, outcome in zoo.outcomes() if hook == "1-stuck" and outcome != "succeeded"]
    assert closing in (["timed_out", "killed"], ["timed_out", "interrupted"])


def test_an_overdue_hook_ends_although_who_sees_to_that_is_killed(zoo: Zoo) -> None:
    caller, guardian, dummy = start_with_an_overdue_hook(zoo)
    time.sleep(random.uniform(0, 0.2))
    kill(guardian)
    assert outcomes(report_of(caller)["hooks"]) == [("1-stuck", "timed_out"), ("2-long", "succeeded")]
    assert run_next(zoo) == [("1-stuck", "succeeded"), ("2-long", "succeeded")]
    assert eventually(lambda: zoo.strangers() == set(), 2)
    check_that_it_is_closed(zoo)
    assert zoo.debris() == []


def test_the_record_of_an_overdue_hook_is_closed_although_the_run_is_killed_after_it(zoo: Zoo) -> None:
    caller, dummy, successor = start_with_an_overdue_hook(zoo)
    time.sleep(random.uniform(0, 0.2))
    kill(successor)
    assert outcomes(report_of(caller)["hooks"]) == [("1-stuck", "timed_out"), ("2-long", "interrupted")]
    assert eventually(lambda: zoo.strangers() == set(), 2)
    assert not is_alive(successor)
    run_next(zoo)
    check_that_it_is_closed(zoo)
    assert zoo.debris() == []


# What the next run must not take for theirs


def test_of_two_hooks_with_the_same_name_only_the_one_that_was_running_is_ended(zoo: Zoo) -> None:
    everywhere = zoo.root / "exec" / "same"
    everywhere.write_text(zoo.script(DAEMON))
    everywhere.chmod(0o755)
    zoo.hook("same", "sleep 60")
    caller = zoo.start()
    assert eventually(lambda: len(zoo.pids()) == 3)
    kill_both(caller, parent_of(zoo.pids()[2]))
    everywhere.unlink()
    assert run_next(zoo) == [("same", "succeeded")]
    assert zoo.outcomes() == [("same", "succeeded"), ("same", "interrupted"), ("same", "succeeded")]
    assert zoo.alive() == [zoo.pids()[1]]


def test_a_run_that_a_hook_of_a_dead_run_starts_is_not_ended_by_itself(zoo: Zoo) -> None:
    command = " ".join(zoo.command()).replace(f" {EVENT} ", " after_install ")
    inner = zoo.root / "exec" / "after_install"
    inner.mkdir()
    (inner / "inner").write_text(zoo.script("echo ran"))
    (inner / "inner").chmod(0o755)
    until_go = f"until [ -e {zoo.path}/go ]; do sleep 0.02; done"
    zoo.hook("outer", f"sleep 60 & note $!\n{until_go}\n{command} >{zoo.path}/said; mv {zoo.path}/said {zoo.path}/all")
    caller = zoo.start()
    assert eventually(lambda: len(zoo.pids()) == 2)
    outer, sibling = zoo.pids()
    kill_both(caller, parent_of(outer))
    began = time.monotonic()
    (zoo.path / "go").touch()
    assert eventually((zoo.path / "all").exists)
    assert time.monotonic() - began < 3, "it waited for the end of its own ancestors"
    (hook,) = json.loads((zoo.path / "all").read_text())["hooks"]
    assert (hook["outcome"], hook["output"]) == ("succeeded", "ran\n")
    assert zoo.outcomes() == [("outer", "interrupted"), ("inner", "succeeded")]
    assert not is_alive(sibling)
