# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Daemons that a hook left behind in time, and that start more only while another hook is overdue."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from support_zoo import KILL, TERM, Zoo, eventually, kill, outcomes, parent_of, report_of, runner_of

STUCK = "trap '' TERM; (setsid sh -c 'trap \"\" TERM; note $$; sleep 60' &); sleep 60"

#: How a daemon starts what loses its parent at once. What has a session of its own is known by its environment.
LATE = {
    "in its session": "sleep 60 & note $!",
    "in a session of its own": "setsid sh -c 'note $$; exec sleep 60' &",
    "in its session, with another environment": "env -i PATH=$PATH sh -c 'note $$; exec sleep 60' &",
}


def put(zoo: Zoo, start: str, rest: str = "exec sleep 60") -> None:
    """Put a hook there that leaves a daemon behind, which does ``start`` when the file ``go`` is there."""
    body = f"""
    cat >$0.daemon <<'END'
    exec >/dev/null 2>&1
    note $$
    until [ -e {zoo.path}/go ]; do sleep 0.02; done
    ({start})
    {rest}
END
    setsid sh $0.daemon &
    until [ $(wc -l <{zoo.pids_file}) -ge 2 ]; do sleep 0.01; done
    rm $0.daemon
    """
    zoo.hook("1-daemon", body)


@pytest.mark.parametrize("rest", ["exec sleep 60", "exit"])
@pytest.mark.parametrize("way", LATE)
def test_what_a_daemon_starts_while_another_hook_is_overdue_lives_on(zoo: Zoo, way: str, rest: str) -> None:
    put(zoo, LATE[way], rest)
    zoo.hook("2-stuck", STUCK)
    report = report_of(zoo.start())
    assert outcomes(report["hooks"]) == [("1-daemon", "succeeded"), ("2-stuck", "timed_out")]
    left = zoo.pids()[1]
    (zoo.path / "go").touch()
    assert eventually(lambda: len(zoo.pids()) == 5)
    late = zoo.pids()[4]
    assert eventually(lambda: ("2-stuck", "killed") in zoo.outcomes())
    time.sleep(0.05)
    assert zoo.alive() == ([late] if rest == "exit" else [left, late])
    # Nobody waited for those, nor did they make the end of the hook look late.
    assert eventually(lambda: zoo.debris() == [])
    assert zoo.records()[-1]["duration"] < KILL + 0.5


@pytest.mark.parametrize("way", LATE)
def test_it_does_not_keep_a_hook_that_ends_by_itself_from_being_closed(zoo: Zoo, way: str) -> None:
    put(zoo, LATE[way])
    zoo.hook("2-stuck", f"trap 'touch {zoo.path}/go; exit 7' TERM; while :; do sleep 0.02; done")
    report_of(zoo.start())
    assert eventually(lambda: zoo.outcomes()[2:] == [("2-stuck", "terminated")])
    assert eventually(lambda: len(zoo.pids()) == 4)
    assert zoo.records()[-1]["duration"] < KILL - 0.2
    dummy, left, dummy, late = zoo.pids()
    time.sleep(0.05)
    assert zoo.alive() == [left, late]


@pytest.mark.parametrize("way", LATE)
def test_what_a_daemon_has_started_lives_on_when_the_runner_is_killed(zoo: Zoo, way: str) -> None:
    put(zoo, LATE[way])
    zoo.hook("2-stuck", f"touch {zoo.path}/go; {STUCK}")
    caller = zoo.start("command", "--term-after", "20", "--kill-after", "30")
    runner = runner_of(caller)
    assert eventually(lambda: len(zoo.pids()) == 5)
    dummy, left, *others = zoo.pids()

    def late() -> list[int]:
        """Return what the daemon has started: the hook's own two run a shell."""
        return [pid for pid in others if Path(f"/proc/{pid}/comm").read_text() == "sleep\n"]

    assert eventually(lambda: len(late()) == 1 and parent_of(late()[0]) == runner)
    expected = sorted([left, *late()])
    kill(runner)
    assert outcomes(report_of(caller)["hooks"]) == [("1-daemon", "succeeded"), ("2-stuck", "interrupted")]
    time.sleep(0.05)
    assert sorted(zoo.alive()) == expected


def test_what_an_overdue_hook_started_is_ended_although_the_daemon_of_another_one_has_its_name(zoo: Zoo) -> None:
    everywhere = zoo.root / "exec" / "same"
    everywhere.write_text(zoo.script("(exec >/dev/null 2>&1; setsid sleep 60 & note $!)"))
    everywhere.chmod(0o755)
    zoo.hook("same", STUCK)
    report = report_of(zoo.start())
    assert outcomes(report["hooks"]) == [("same", "succeeded"), ("same", "timed_out")]
    assert eventually(lambda: ("same", "killed") in zoo.outcomes())
    assert zoo.alive() == [zoo.pids()[1]]
    assert TERM < zoo.records()[-1]["duration"] < KILL + 0.5
