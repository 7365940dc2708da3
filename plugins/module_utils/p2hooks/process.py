# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The process of a hook: starting it, reading its output while it runs, and noticing its end."""

from __future__ import annotations

import _signal
import os
import select
from time import monotonic

#: How much of a hook's output is kept, in bytes; the rest is read and dropped.
OUTPUT_TAIL_BYTES = 8192

_CHUNK = 65536
#: A daemon that a hook left behind may write for ever; after the hook's end at most this much is still read, in chunks.
_CHUNKS_AFTER_THE_END = 16

# Python itself ignores SIGPIPE and SIGXFSZ, and whoever started us may ignore others; an ignored signal stays ignored
# across exec, and a hook that cannot be terminated would be the result. The C library keeps 32 and 33 to itself.
_ALL_SIGNALS = sorted(set(range(1, _signal.NSIG)) - {_signal.SIGKILL, _signal.SIGSTOP, 32, 33})


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
            os.close(write_end)
            raise
        os.set_blocking(read_end, False)
        self.ended: float | None = None
        #: As of os.waitstatus_to_exitcode: an exit code, or a negative signal; None while it runs.
        self.status: int | None = None
        #: Whether something still held the output open when the hook had ended: a process that it left behind.
        self.output_held_open = False
        self._output = read_end
        # Kept for as long as the hook runs, or its end would wake us twice: once for its output and once for itself.
        self._write_end: int | None = write_end
        self._at_end_of_output = False
        self._tail = bytearray()
        self._dropped = False

    def wait(self, until: float) -> bool:
        """Read output until the hook has ended, or the monotonic clock shows ``until``; tell whether it has ended."""
        poller = select.poll()
        poller.register(self._pidfd, select.POLLIN)
        poller.register(self._output, select.POLLIN)
        while self.status is None:
            remaining = max(0.0, until - monotonic())
            for descriptor, dummy in poller.poll(int(remaining * 1000) + 1):
                if descriptor == self._pidfd:
                    self._reap()
                else:
                    self._read_chunk()
            if self.status is None and monotonic() >= until:
                return False
        return True

    @property
    def output(self) -> tuple[str, bool]:
        """The end of the hook's output, and whether something was cut off before it."""
        return self._tail[-OUTPUT_TAIL_BYTES:].decode("utf-8", "replace"), self._dropped

    def close(self) -> None:
        """Let go of the hook: its output is no longer read."""
        os.close(self._pidfd)
        os.close(self._output)
        self._close_write_end()

    def _close_write_end(self) -> None:
        if self._write_end is not None:
            os.close(self._write_end)
            self._write_end = None

    def _reap(self) -> None:
        dummy, status = os.waitpid(self.pid, 0)
        self.ended = monotonic()
        self.status = os.waitstatus_to_exitcode(status)
        self._close_write_end()
        self._drain()
        self.output_held_open = not self._at_end_of_output

    def _drain(self) -> None:
        """Read what is there, a bounded amount of it, for it may go on for ever."""
        for dummy in range(_CHUNKS_AFTER_THE_END):
            if not self._read_chunk():
                return

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


def exit_of(status: int | None) -> tuple[int | None, str | None]:
    """Return the exit code, or the name of the signal, that ``HookProcess.status`` stands for."""
    if status is None or status >= 0:
        return status, None
    names = [name for name in dir(_signal) if name.startswith("SIG") and getattr(_signal, name) == -status]
    # Some have two, such as SIGABRT and SIGIOT; a real-time signal mostly has none.
    return None, min(names, default=f"SIG{-status}")


def _check_kernel() -> None:
    """See whether a process can be watched before there is one: pidfd_open(2) came with Linux 5.3."""
    try:
        os.close(os.pidfd_open(os.getpid()))
    except (AttributeError, OSError) as error:
        import errno  # not on the way of running hooks

        if isinstance(error, AttributeError):
            raise OSError(errno.ENOSYS, "watching hooks needs a Python that was built for Linux 5.3 or newer") from None
        if error.errno == errno.ENOSYS:
            raise OSError(errno.ENOSYS, "watching hooks needs Linux 5.3 or newer") from None
        raise


def _open_pidfd(pid: int) -> int:
    try:
        return os.pidfd_open(pid)
    except OSError:  # what cannot be watched may not run
        os.killpg(pid, _signal.SIGKILL)
        os.waitpid(pid, 0)
        raise
