# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The process that runs hooks, apart from the one that asked for it.

Whichever of the two is killed, the other one sees to it that limits hold. The runner does not depend on its caller:
it goes on when that dies, and stays behind when a hook outlives the run. If the runner dies, what it was running
becomes the caller's, which ends it.
"""

from __future__ import annotations

import _signal
import marshal
import os
import select

from .errors import HookError, reason_of
from .process_tree import Spared, become_subreaper, children, is_subreaper, kill, obstacle

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any, TypeVar

    _Result = TypeVar("_Result")

_CHUNK = 65536
_LENGTH_BYTES = 4

#: Children that nobody else waits for: runners, some of which stay to see to the end of hooks, and what they left us.
_staying: set[int] = set()


class Caller:
    """The process that asked for the work, as the runner sees it."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._others: list[int] = []

    def spare(self, spared: Spared) -> None:
        """Tell what is left alone if we are killed."""
        self._send("spared", (spared.pids, spared.sessions, spared.marks))

    def finish(self, kind: str, value: Any) -> None:
        """Tell the result of the work, made of Python's basic types, or an error, and wait until that was heard."""
        self._send(kind, value)
        poller = select.poll()
        poller.register(self._descriptor, 0)  # which leaves POLLERR: nobody has the other end any more
        poller.poll()

    def leave(self) -> None:
        """Tell no more."""
        os.close(self._descriptor)

    def stay_for(self, descriptor: int) -> None:
        """Note that :meth:`stay` is to wait until nobody has the other end of this pipe any more."""
        self._others.append(descriptor)

    @property
    def stays(self) -> bool:
        """Whether :meth:`stay` has something to wait for."""
        return bool(self._others)

    def stay(self) -> None:
        """Wait for the processes that this one must not end before."""
        for descriptor in self._others:
            os.read(descriptor, 1)

    def _send(self, kind: str, value: Any) -> None:
        content = marshal.dumps((kind, value))
        message = len(content).to_bytes(_LENGTH_BYTES, "little") + content
        try:
            while message:
                message = message[os.write(self._descriptor, message) :]
        except BrokenPipeError:  # it was killed
            return


def run_apart(
    work: Callable[[Caller], _Result], clean_up: Callable[[], None], warn: Callable[[str], None]
) -> _Result | None:
    """Call ``work`` in a runner, and return what it returns, which has to be made of Python's basic types.

    None means that the runner was killed. In that case nothing is left of what it started but what it had to spare.

    Meanwhile this process is a child subreaper, see prctl(2). At the end it is again what it was before, also where
    that is an exception. After KeyboardInterrupt, which then says so, the runner goes on, but nobody notices if it is
    killed. Children that another thread starts meanwhile must stay in our session, or they would be taken for the
    runner's, and no other thread may change whether we are a subreaper.

    Args:
        clean_up: called once nothing of the work goes on any more: in the runner, or here if that was killed.
        warn: told why the limits of hooks do not hold on this host, if so.

    Raises:
        HookError: ``work`` did.
        OSError: the system has no process or descriptor left.
    """
    _reap()
    spared = Spared({os.getpid(), *children()})
    read_end, write_end = os.pipe()
    was_subreaper = is_subreaper()
    become_subreaper()
    reason = obstacle()
    try:
        runner = os.fork()
    except OSError:
        become_subreaper(was_subreaper)
        os.close(read_end)
        os.close(write_end)
        raise
    if runner == 0:
        _be_the_runner(work, clean_up, write_end)
    os.close(write_end)
    _staying.add(runner)
    result: _Result | None = None
    error = None
    was_killed = True
    try:
        if reason is not None:
            warn(f"the time limits of hooks do not hold on this host: {reason}")
        for kind, value in _messages(read_end):
            if kind == "spared":
                spared.add(*value)
            else:
                result, error = (None, value) if kind == "error" else (value, None)
                was_killed = False
                break
        if was_killed:
            kill(spared)
            clean_up()
    except KeyboardInterrupt:
        raise KeyboardInterrupt("the run goes on without you") from None
    finally:
        become_subreaper(was_subreaper)
        # Besides the runner, what an earlier one that stayed behind has left us with when it ended.
        _staying.update(children() - spared.pids)
        os.close(read_end)  # the runner waits for this, or what it leaves behind would become ours
        _reap()
    if error is not None:
        raise HookError(error)
    return result


def _be_the_runner(work: Callable[[Caller], Any], clean_up: Callable[[], None], descriptor: int) -> None:
    try:
        _detach(keep=descriptor)
        become_subreaper()
        caller = Caller(descriptor)
        try:
            kind, value = "done", work(caller)
        except HookError as error:
            kind, value = "error", str(error)
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            kind = "error"
            value = f"{where}{reason_of(error)}, while hooks were run; see to it, then run this again"
        except Exception as error:  # noqa: BLE001 (or it would look as if the runner had been killed)
            kind, value = (
                "error",
                f"{type(error).__name__}: {error}; this is a defect of p2fleet.hooks, please report it",
            )
        stays = caller.stays
        if not stays:
            clean_up()
        caller.finish(kind, value)
        caller.stay()
        if stays:  # those that were waited for may have needed it until now
            clean_up()
    finally:
        os._exit(0)  # whatever the caller has set up to happen at its own exit, it happens there


def _detach(keep: int) -> None:
    """Let go of the caller: its terminal, descriptors, working directory and signals; nobody has to wait for us."""
    os.setsid()
    null = os.open("/dev/null", os.O_RDWR)
    for descriptor in {0, 1, 2} - {keep}:  # a caller without standard streams may have got one of them back as the pipe
        os.dup2(null, descriptor)
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2 and int(name) != keep:
            try:
                os.close(int(name))
            except OSError:  # the descriptor of the listing itself, closed by now
                continue
    os.chdir("/")
    os.umask(0o022)
    # Where it is ignored, the system throws away how children ended.
    _signal.signal(_signal.SIGCHLD, _signal.SIG_DFL)
    # Not stopped by what stops the caller; hooks start with all of these as usual.
    for number in (_signal.SIGINT, _signal.SIGTERM, _signal.SIGHUP):
        _signal.signal(number, _signal.SIG_IGN)


def _messages(descriptor: int) -> Iterator[tuple[str, Any]]:
    """Yield what the runner tells, by kind and value, until nobody has the other end of the pipe any more."""
    unread = b""
    while True:
        chunk = os.read(descriptor, _CHUNK)
        if not chunk:
            return
        unread += chunk
        while len(unread) >= _LENGTH_BYTES:
            end = _LENGTH_BYTES + int.from_bytes(unread[:_LENGTH_BYTES], "little")
            if len(unread) < end:
                break
            yield marshal.loads(unread[_LENGTH_BYTES:end])  # noqa: S302 (our own child wrote it)
            unread = unread[end:]


def _reap() -> None:
    """Wait for those of our children that have ended and nobody else waits for, so that no zombies pile up."""
    for pid in list(_staying):
        try:
            ended, dummy = os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:  # somebody else has waited for it
            ended = pid
        if ended:
            _staying.remove(pid)
