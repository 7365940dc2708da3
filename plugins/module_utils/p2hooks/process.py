# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The processes of hooks: starting one, keeping the end of its output, and ending it when its time is over."""

from __future__ import annotations

import errno
import os
import select
import signal
from contextlib import suppress
from math import ceil
from time import monotonic

from .errors import HookError

#: How much of a hook's output is kept, in bytes; the rest is read and dropped.
OUTPUT_TAIL_BYTES = 8192

_CHUNK = 65536
#: A daemon that a hook left behind may write for ever; after the hook's end at most this much is still read, in chunks.
_CHUNKS_AFTER_THE_END = 16

#: No limit may be longer than a day, in seconds.
_LONGEST_LIMIT = 24 * 60 * 60

# Python itself ignores SIGPIPE and SIGXFSZ, and whoever started us may ignore others; an ignored signal stays ignored
# across exec, and a hook that cannot be terminated would be the result.
_ALL_SIGNALS = sorted(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP})

#: A session may fork while it is being killed; this often it is looked at again.
_KILL_ROUNDS = 10

#: Children of this process that it no longer watches: hooks that took too long, and those that see to their end.
_left_behind: set[int] = set()


class TimeLimits:
    """When a hook is told to end (SIGTERM), and when it is made to (SIGKILL), in seconds after its start."""

    __slots__ = ("kill_after", "term_after")

    def __init__(self, term_after: float = 30.0, kill_after: float = 60.0) -> None:
        """Check and keep the limits.

        Raises:
            HookError: they are not in order, or longer than a day.
        """
        if not 0 < term_after <= kill_after <= _LONGEST_LIMIT:
            raise HookError(
                f"term_after is {term_after:g} and kill_after {kill_after:g}; give seconds above 0, "
                f"kill_after not less than term_after, and neither more than {_LONGEST_LIMIT}"
            )
        self.term_after = term_after
        self.kill_after = kill_after


class HookProcess:
    """A hook that was started, in a session of its own, with its output in a pipe that we read."""

    def __init__(self, path: str, env: dict[str, str]) -> None:
        """Start ``path`` with nothing but ``env`` around it.

        Raises:
            OSError: the system cannot execute it, see posix_spawn(3) and execve(2).
        """
        _check_kernel()
        self.started = monotonic()
        read_end, write_end = os.pipe()
        try:
            self.pid = os.posix_spawn(
                path,
                [path],
                env,
                file_actions=[
                    (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
                    (os.POSIX_SPAWN_DUP2, write_end, 1),
                    (os.POSIX_SPAWN_DUP2, write_end, 2),
                ],
                setsid=True,
                setsigmask=[],
                setsigdef=_ALL_SIGNALS,
            )
            self._pidfd = _open_pidfd(self.pid)
        except BaseException:
            os.close(read_end)
            raise
        finally:
            os.close(write_end)
        os.set_blocking(read_end, False)
        self.ended: float | None = None
        #: As of os.waitstatus_to_exitcode: an exit code, or a negative signal; None while it runs.
        self.status: int | None = None
        #: Whether something still held the output open when the hook had ended: a process that it left behind.
        self.output_held_open = False
        self._output = read_end
        self._at_end_of_output = False
        self._tail = bytearray()
        self._dropped = False

    def wait(self, until: float) -> bool:
        """Read output until the hook has ended, or the monotonic clock shows ``until``; tell whether it has ended."""
        poller = select.poll()
        poller.register(self._pidfd, select.POLLIN)
        if not self._at_end_of_output:
            poller.register(self._output, select.POLLIN)
        while self.status is None:
            remaining = max(0.0, until - monotonic())
            for descriptor, dummy in poller.poll(ceil(remaining * 1000)):
                if descriptor == self._pidfd:
                    self._reap()
                    continue
                self._read_chunk()
                if self._at_end_of_output:
                    poller.unregister(self._output)
            if self.status is None and monotonic() >= until:
                return False
        return True

    def terminate(self) -> None:
        """Ask everything in the hook's session to end, also what is stopped."""
        self._signal_session(signal.SIGTERM)
        self._signal_session(signal.SIGCONT)

    def kill(self) -> None:
        """End everything in the hook's session."""
        for dummy in range(_KILL_ROUNDS):
            if not self._signal_session(signal.SIGKILL):
                return

    def is_alive(self) -> bool:
        """Tell whether anything of the hook's session still runs."""
        poller = select.poll()
        poller.register(self._pidfd, select.POLLIN)
        # The session is looked for only when the hook itself has ended, since that takes a walk through /proc.
        return not poller.poll(0) or bool(self._groups())

    def drain(self) -> None:
        """Take in the output that has come since, a bounded amount of it, so that the hook does not wait for us."""
        for dummy in range(_CHUNKS_AFTER_THE_END):
            if self._at_end_of_output or not self._read_chunk():
                return

    @property
    def output(self) -> tuple[str, bool]:
        """The end of the hook's output, and whether something was cut off before it."""
        return self._tail[-OUTPUT_TAIL_BYTES:].decode("utf-8", "replace"), self._dropped

    @property
    def descriptors(self) -> set[int]:
        """The descriptors that watching the hook needs."""
        return {self._pidfd, self._output}

    def close(self) -> None:
        """Let go of the hook: its output is no longer read."""
        os.close(self._pidfd)
        os.close(self._output)
        if self.status is None:
            _left_behind.add(self.pid)

    def _groups(self) -> set[int]:
        """Return the process groups of the hook's session, which its children share unless they call setsid(2)."""
        groups = set()
        for name in os.listdir("/proc"):
            if not name.isdigit():
                continue
            try:
                with open(f"/proc/{name}/stat", "rb") as file:
                    stat = file.read()
            except OSError:  # it has ended meanwhile
                continue
            # proc(5): the command is in parentheses and may hold any byte; then come state, ppid, pgrp and session.
            state, dummy, group, session = stat[stat.rindex(b")") + 2 :].split(b" ", 4)[:4]
            if int(session) == self.pid and state != b"Z":
                groups.add(int(group))
        return groups

    def _signal_session(self, number: int) -> bool:
        """Send a signal to everything in the hook's session; tell whether there was anything."""
        groups = self._groups()
        # Groups, since nothing slips out of one by forking; the hook's own in any case, since a process that forks and
        # ends, again and again, is hard to see.
        for group in {self.pid, *groups}:
            with suppress(OSError):  # it has ended meanwhile, or belongs to another user, and we are not root
                os.killpg(group, number)
        return bool(groups)

    def _reap(self) -> None:
        dummy, status = os.waitpid(self.pid, 0)
        self.ended = monotonic()
        self.status = os.waitstatus_to_exitcode(status)
        self.drain()
        self.output_held_open = not self._at_end_of_output

    def _read_chunk(self) -> bool:
        """Read once; tell whether there may be more at once."""
        try:
            chunk = os.read(self._output, _CHUNK)
        except BlockingIOError:
            return False
        if not chunk:
            self._at_end_of_output = True
            return False
        self._tail += chunk
        if len(self._tail) > OUTPUT_TAIL_BYTES:
            del self._tail[:-OUTPUT_TAIL_BYTES]
            self._dropped = True
        return True


def _check_kernel() -> None:
    """See whether a process can be watched before there is one: pidfd_open(2) came with Linux 5.3."""
    try:
        os.close(os.pidfd_open(os.getpid()))
    except AttributeError:
        raise OSError(errno.ENOSYS, "watching hooks needs a Python that was built for Linux 5.3 or newer") from None
    except OSError as error:
        if error.errno == errno.ENOSYS:
            raise OSError(errno.ENOSYS, "watching hooks needs Linux 5.3 or newer") from None
        raise


def _open_pidfd(pid: int) -> int:
    try:
        return os.pidfd_open(pid)
    except OSError:  # what cannot be watched may not run
        os.killpg(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise


def reap_left_behind() -> None:
    """Wait for what has ended of what earlier runs left behind, so that no zombies pile up."""
    for pid in list(_left_behind):
        try:
            ended, dummy = os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:  # somebody else has waited for it
            ended = pid
        if ended:
            _left_behind.remove(pid)


def fork_supervisor() -> int:
    """Fork, as os.fork() does; :func:`reap_left_behind` waits for the child.

    Raises:
        OSError: the system has no process left.
    """
    pid = os.fork()
    if pid:
        _left_behind.add(pid)
    return pid


def detach(keep: set[int]) -> None:
    """Let go of the terminal, the standard streams and every descriptor but ``keep``, so that nobody waits for us."""
    os.setsid()
    null = os.open("/dev/null", os.O_RDWR)
    for descriptor in {0, 1, 2} - keep:  # a caller without standard streams may have got one of them back as a pipe
        os.dup2(null, descriptor)
    for descriptor in sorted({int(name) for name in os.listdir("/proc/self/fd")} - keep - {0, 1, 2}):
        try:
            os.close(descriptor)
        except OSError:  # the descriptor of the listing itself, closed by now
            continue


class Surroundings:
    """What hooks inherit from the process that starts them, for the time of a ``with``: cwd ``/`` and umask 022.

    Descriptors that this process was itself given are kept from the hooks as well (POSIX_SPAWN_CLOEXEC_DEFAULT is not
    to be had on Linux); those stay so, since nothing here starts anything else. And where SIGCHLD is ignored, that is
    suspended, because the system would throw away how hooks ended.
    """

    def __enter__(self) -> None:
        for name in os.listdir("/proc/self/fd"):
            descriptor = int(name)
            try:
                if descriptor > 2 and os.get_inheritable(descriptor):
                    os.set_inheritable(descriptor, False)
            except OSError:  # the descriptor of the listing itself, closed by now
                continue
        self._ignores_children = signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN
        if self._ignores_children:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        try:
            self._directory: int | None = os.open(".", os.O_PATH | os.O_DIRECTORY)
        except PermissionError:  # the process was started in a directory that it may not enter, so nor may it go back
            self._directory = None
        self._umask = os.umask(0o022)
        os.chdir("/")

    def __exit__(self, *exception: object) -> None:
        os.umask(self._umask)
        if self._directory is not None:
            os.fchdir(self._directory)
            os.close(self._directory)
        if self._ignores_children:
            signal.signal(signal.SIGCHLD, signal.SIG_IGN)


def exit_of(status: int | None) -> tuple[int | None, str | None]:
    """Return the exit code, or the name of the signal, that ``HookProcess.status`` stands for."""
    if status is None or status >= 0:
        return status, None
    try:
        return None, signal.Signals(-status).name
    except ValueError:  # a real-time signal has no name
        return None, f"SIG{-status}"
