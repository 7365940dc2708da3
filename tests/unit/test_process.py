# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import errno
import os
import resource
import signal
import tracemalloc
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from time import monotonic, process_time, sleep

import pytest
from p2hooks.errors import HookError
from p2hooks.process import OUTPUT_TAIL_BYTES, HookProcess, exit_of
from p2hooks.time_limits import TimeLimits
from support_run import eventually, own_children, own_zombies, write_script

PATH = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}


class Starter:
    """Starts scripts, and ends what is left of them after the test."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.processes: list[HookProcess] = []

    def __call__(self, body: str, **env: str) -> HookProcess:
        script = write_script(self.directory / f"hook{len(self.processes)}", body)
        self.processes.append(HookProcess(str(script), {**PATH, **env}))
        return self.processes[-1]

    def run(self, body: str, **env: str) -> HookProcess:
        process = self(body, **env)
        assert process.wait(monotonic() + 20)
        return process


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Starter]:
    starter = Starter(tmp_path)
    yield starter
    for process in starter.processes:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(monotonic() + 5)
        process.close()


def output_of(process: HookProcess) -> str:
    return process.output[0]


def signals_of(line: str) -> set[int]:
    mask = int(line.split()[1], 16)
    return {bit + 1 for bit in range(64) if mask >> bit & 1}


def test_every_exit_code_is_told(tmp_path: Path) -> None:
    script = str(write_script(tmp_path / "hook", "exit $CODE"))
    codes = []
    for code in range(256):
        process = HookProcess(script, {"CODE": str(code)})
        assert process.wait(monotonic() + 20)
        codes.append(exit_of(process.status))
        process.close()
    assert codes == [(code, None) for code in range(256)]


@pytest.mark.parametrize(("number", "name"), [(9, "SIGKILL"), (11, "SIGSEGV"), (13, "SIGPIPE"), (36, "SIG36")])
def test_death_by_signal_is_told_by_name(start: Starter, number: int, name: str) -> None:
    assert exit_of(start.run(f"kill -{number} $$").status) == (None, name)


def test_what_still_runs_has_no_exit_code_yet(start: Starter) -> None:
    process = start("exec sleep 20")
    assert not process.wait(monotonic() + 0.05)
    assert exit_of(process.status) == (None, None)


def test_what_has_ended_by_the_limit_counts_as_ended(start: Starter) -> None:
    process = start("exit 0")
    assert eventually(lambda: process.pid in own_zombies())
    assert process.wait(monotonic() - 1)


@pytest.mark.parametrize(
    ("content", "error"),
    [("echo no first line", errno.ENOEXEC), ("#!/nonexistent/interpreter\n", errno.ENOENT), ("", errno.ENOEXEC)],
)
def test_what_cannot_be_executed_raises_and_leaves_nothing_open(tmp_path: Path, content: str, error: int) -> None:
    script = tmp_path / "hook"
    script.write_text(content)
    script.chmod(0o755)
    before = os.listdir("/proc/self/fd")
    with pytest.raises(OSError, match="hook") as caught:
        HookProcess(str(script), PATH)
    assert caught.value.errno == error
    assert os.listdir("/proc/self/fd") == before


def test_what_cannot_be_watched_does_not_run(tmp_path: Path) -> None:
    script = write_script(tmp_path / "hook", f"sleep 0.3; touch {tmp_path}/ran")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.dup(0)
    os.close(free)
    before, children = os.listdir("/proc/self/fd"), own_children()
    resource.setrlimit(resource.RLIMIT_NOFILE, (free + 2, hard))  # enough for the pipe, too little for a pidfd
    blocker = None
    try:
        with pytest.raises(OSError, match="Too many open files"):
            blocker = HookProcess(str(script), PATH)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        if blocker:
            blocker.close()
    assert os.listdir("/proc/self/fd") == before
    assert not own_children() - children
    assert not eventually((tmp_path / "ran").exists, 0.6)


@pytest.mark.parametrize("excess", [-1, 0, 1])
def test_the_tail_of_the_output_is_kept(start: Starter, excess: int) -> None:
    size = OUTPUT_TAIL_BYTES + excess
    process = start.run(f"printf A; head -c {size - 2} /dev/zero | tr '\\0' x; printf Z")
    text, truncated = process.output
    assert text == ("A" + "x" * (size - 2) + "Z")[-OUTPUT_TAIL_BYTES:]
    assert truncated is (excess > 0)


def test_stdout_and_stderr_are_kept_in_the_order_of_writing(start: Starter) -> None:
    assert output_of(start.run("echo one; echo two >&2; echo three")) == "one\ntwo\nthree\n"


def test_bytes_that_are_no_utf8_are_replaced(start: Starter) -> None:
    assert output_of(start.run(r"printf 'a\377\000\303\251\303'")) == "a\ufffd\0\u00e9\ufffd"


def test_a_character_may_come_in_two_writes(start: Starter) -> None:
    assert output_of(start.run(r"printf '\342\202'; sleep 0.1; printf '\254'")) == "\u20ac"


def test_a_character_cut_in_two_by_the_limit_is_replaced(start: Starter) -> None:
    process = start.run(rf"printf '\303\251'; head -c {OUTPUT_TAIL_BYTES - 1} /dev/zero | tr '\0' x")
    assert process.output == ("\ufffd" + "x" * (OUTPUT_TAIL_BYTES - 1), True)


def test_much_output_takes_little_memory(start: Starter) -> None:
    process = start("head -c 50000000 /dev/zero; echo end")
    tracemalloc.start()
    try:
        assert process.wait(monotonic() + 30)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    text, truncated = process.output
    assert text.endswith("\0end\n")
    assert truncated
    assert peak < 1_000_000


def test_an_endless_writer_does_not_stretch_the_limit(start: Starter) -> None:
    process = start("exec yes")
    assert not process.wait(monotonic() + 0.3)
    assert monotonic() - process.started < 1
    os.kill(process.pid, signal.SIGTERM)
    assert process.wait(monotonic() + 5)
    assert exit_of(process.status) == (None, "SIGTERM")


@pytest.mark.parametrize("child", ["sleep 5", "yes", "while :; do echo x; sleep 0.01; done"])
def test_a_child_that_holds_the_output_open_does_not_delay(start: Starter, child: str) -> None:
    process = start.run(f"echo hello; {child} & exit 3")
    assert monotonic() - process.started < 1
    assert process.status == 3
    assert process.output_held_open
    assert "hello" in output_of(process) or child == "yes"


def test_output_that_nobody_holds_is_not_held_open(start: Starter) -> None:
    assert not start.run("echo hello; sleep 5 >/dev/null 2>&1 & sleep 0.1").output_held_open


def test_a_hook_that_closes_its_output_is_waited_for_without_spinning(start: Starter) -> None:
    process = start("echo before; exec >&- 2>&-; sleep 0.5; exit 4")
    before = process_time()
    assert process.wait(monotonic() + 20)
    assert process_time() - before < 0.2
    assert process.status == 4
    assert output_of(process) == "before\n"
    assert not process.output_held_open


def test_output_is_read_on_after_a_wait_that_was_too_short(start: Starter) -> None:
    process = start("sleep 0.2; head -c 300000 /dev/zero; echo end")
    while not process.wait(monotonic() + 0.05):
        assert monotonic() - process.started < 20
    assert output_of(process).endswith("end\n")


def test_a_hook_leads_a_session_of_its_own(start: Starter) -> None:
    process = start.run("cut -d' ' -f1,5,6 /proc/$$/stat; tty")
    assert output_of(process) == f"{process.pid} {process.pid} {process.pid}\nnot a tty\n"


def test_a_hook_gets_every_signal_as_if_it_were_the_first_process(start: Starter) -> None:
    numbers = {signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE, signal.SIGRTMIN + 3}
    before = {number: signal.signal(number, signal.SIG_IGN) for number in numbers}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGUSR1, signal.SIGRTMIN + 5})
    try:
        process = start("exec grep -E '^Sig(Blk|Ign):' /proc/self/status")
        assert process.wait(monotonic() + 20)
        lines = output_of(process).splitlines()
        own = Path("/proc/self/status").read_text().splitlines()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for number, handler in before.items():
            signal.signal(number, handler)
    # The C library keeps two signals below the first real-time one to itself, and has its own ways with them.
    assert [signals_of(line) - {32, 33} for line in lines] == [set(), set()]
    assert [numbers < signals_of(line) for line in own if line.startswith("SigIgn")] == [True]


@pytest.mark.parametrize(
    ("term", "kill"), [(0, 1), (-1, 1), (2, 1), (1, 86401), (float("nan"), 1), (1, float("nan")), (1, float("inf"))]
)
def test_limits_that_make_no_sense_are_refused(term: float, kill: float) -> None:
    with pytest.raises(HookError, match=r"^term_after is \S+ and kill_after \S+; give seconds above 0"):
        TimeLimits(term, kill)


def test_both_limits_may_be_the_same() -> None:
    assert TimeLimits(86400, 86400).kill_after == 86400
    assert (TimeLimits().term_after, TimeLimits().kill_after) == (30, 60)


def test_nothing_is_started_where_it_could_not_be_watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def pidfd_open(pid: int) -> int:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(os, "pidfd_open", pidfd_open)
    script = write_script(tmp_path / "a", f"touch {tmp_path}/started")
    with pytest.raises(OSError, match="watching hooks needs Linux"):
        HookProcess(str(script), {})
    sleep(0.05)
    assert not (tmp_path / "started").exists()
