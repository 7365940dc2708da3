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
from pathlib import Path
from time import monotonic, process_time, sleep

import pytest
from p2hooks.errors import HookError
from p2hooks.process import OUTPUT_TAIL_BYTES, HookProcess, Surroundings, TimeLimits, exit_of, reap_left_behind
from support_run import eventually, is_running, own_children, own_zombies, write_script

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
        process.kill()
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
    process.terminate()
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


def test_draining_keeps_the_last_words_of_what_was_told_to_end(start: Starter) -> None:
    process = start("trap 'echo bye; exit' TERM; echo ready; while :; do sleep 0.01; done")
    assert eventually(lambda: not process.wait(0) and "ready" in output_of(process))
    process.terminate()
    assert eventually(lambda: not process.is_alive())
    process.drain()
    assert output_of(process).endswith("bye\n")


@pytest.mark.parametrize("body", ["exec sleep 20", "kill -STOP $$", "sleep 20 & sleep 20; exit"])
def test_terminate_reaches_the_whole_session(start: Starter, body: str) -> None:
    process = start(body)
    assert not process.wait(monotonic() + 0.2)
    assert process.is_alive()
    process.terminate()
    assert eventually(lambda: not process.is_alive())


def test_kill_reaches_children_that_ignore_sigterm_after_the_hook_has_ended(start: Starter) -> None:
    process = start("(trap '' TERM; sleep 20 & sleep 20) & echo $!; sleep 20")
    assert not process.wait(monotonic() + 0.2)
    child = int(output_of(process))
    process.terminate()
    assert process.wait(monotonic() + 5)
    assert exit_of(process.status) == (None, "SIGTERM")
    assert process.is_alive()
    assert is_running(child)
    process.kill()
    assert eventually(lambda: not process.is_alive())
    assert not is_running(child)


def test_kill_ends_a_session_that_keeps_forking(start: Starter) -> None:
    process = start("trap '' TERM; while :; do (trap '' TERM; sleep 0.02; sleep 20) & sleep 0.001; done")
    assert not process.wait(monotonic() + 0.3)
    process.kill()
    assert eventually(lambda: not process.is_alive(), 2)


def test_kill_ends_what_forks_and_ends_again_and_again(start: Starter) -> None:
    trace = start.directory / "trace"
    trace.touch()
    relay = f"relay() {{ n=$((n+1)); : >{trace}; sleep 0.005; [ $n = 400 ] || relay & }}"
    process = start(f"trap '' TERM; {relay}; relay; exit 0")
    assert process.wait(monotonic() + 5)
    process.kill()
    last = trace.stat().st_mtime_ns
    assert not eventually(lambda: trace.stat().st_mtime_ns != last, 0.2)


def test_the_command_line_cannot_hide_a_process(tmp_path: Path) -> None:
    script = write_script(tmp_path / "x) R 1 1 (", "exec sleep 20")
    process = HookProcess(str(script), PATH)
    odd = tmp_path / "a) Z 1 1 1"
    odd.symlink_to("/bin/sleep")
    assert not process.wait(monotonic() + 0.1)
    process.kill()
    assert process.wait(monotonic() + 5)
    process.close()
    process = HookProcess(str(write_script(tmp_path / "hook", f"exec '{odd}' 20")), PATH)
    assert not process.wait(monotonic() + 0.1)
    process.kill()
    assert process.wait(monotonic() + 5)
    process.close()


def test_a_hook_leads_a_session_of_its_own(start: Starter) -> None:
    process = start.run("cut -d' ' -f1,5,6 /proc/$$/stat; tty")
    assert output_of(process) == f"{process.pid} {process.pid} {process.pid}\nnot a tty\n"


def test_a_hook_reads_nothing_and_has_three_descriptors(start: Starter) -> None:
    inheritable = [os.open("/dev/null", os.O_RDONLY), *os.pipe()]
    for descriptor in inheritable:
        os.set_inheritable(descriptor, True)
    try:
        with Surroundings():
            process = start.run("readlink /proc/self/fd/0; cat; ls -x /proc/self/fd")
    finally:
        for descriptor in inheritable:
            os.close(descriptor)
    # The fourth is the one through which ls reads the directory.
    assert output_of(process).split() == ["/dev/null", "0", "1", "2", "3"]


def test_a_hook_gets_every_signal_as_if_it_were_the_first_process(start: Starter) -> None:
    numbers = {signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE, signal.SIGCHLD, signal.SIGRTMIN + 3}
    before = {number: signal.signal(number, signal.SIG_IGN) for number in numbers}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGUSR1, signal.SIGRTMIN + 5})
    try:
        with Surroundings():
            lines = output_of(start.run("exec grep -E '^Sig(Blk|Ign):' /proc/self/status")).splitlines()
        own = Path("/proc/self/status").read_text().splitlines()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for number, handler in before.items():
            signal.signal(number, handler)
    # The C library keeps two signals below the first real-time one to itself, and has its own ways with them.
    assert [signals_of(line) - {32, 33} for line in lines] == [set(), set()]
    assert [numbers < signals_of(line) for line in own if line.startswith("SigIgn")] == [True]


def test_surroundings_are_restored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    before = os.umask(0o077)
    handler = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    descriptors = os.listdir("/proc/self/fd")
    try:
        with Surroundings():
            assert os.getcwd() == "/"
            assert signal.getsignal(signal.SIGCHLD) is signal.SIG_DFL
            (tmp_path / "file").touch(0o666)
        assert os.getcwd() == str(tmp_path)
        assert signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGCHLD, handler)
        umask = os.umask(before)
    assert umask == 0o077
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o644
    assert os.listdir("/proc/self/fd") == descriptors


def test_surroundings_need_no_directory_that_is_still_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "gone").mkdir()
    os.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with Surroundings():
        assert os.getcwd() == "/"
    with pytest.raises(FileNotFoundError):
        os.getcwd()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_surroundings_need_no_directory_that_may_be_entered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    tmp_path.chmod(0o700)
    os.seteuid(65534)
    try:
        with Surroundings():
            assert os.getcwd() == "/"
    finally:
        os.seteuid(0)


def test_a_hook_that_was_let_go_leaves_no_zombie(start: Starter) -> None:
    process = HookProcess(str(write_script(start.directory / "slow", "sleep 0.1")), PATH)
    process.close()
    reap_left_behind()
    assert eventually(lambda: process.pid in own_zombies())
    reap_left_behind()
    assert process.pid not in own_zombies()


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
