# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Finding and ending everything that a process started, whatever it did to get away.

A process group misses who changed it, a session who called setsid(2), and both miss a double fork. So the process
that starts hooks becomes a *child subreaper* (prctl(2)): whoever loses its parent becomes its child, so a tree has come
to its end when none of its members is our child any more. That needs no cgroup, and holds in every container.

Who is whose child, the kernel lists (CONFIG_PROC_CHILDREN). Where it does not, all processes are looked at, which takes
longer the more there are.
"""

from __future__ import annotations

import os
from _signal import SIGCONT, SIGKILL, SIGTERM
from time import monotonic, sleep

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Iterator, Mapping
    from typing import Any

_PR_SET_CHILD_SUBREAPER = 36
_PR_GET_CHILD_SUBREAPER = 37

#: A tree may grow while it is being killed; for so many seconds that is tried again.
_KILL_PATIENCE = 5.0

#: What lists the children of a thread.
_CHILDREN_FILE = "/proc/{pid}/task/{thread}/children"

#: Whether the kernel has such lists; empty until that was looked at.
_has_lists: list[bool] = []

#: What :func:`_int_and_prctl` has returned.
_made: list[tuple[Any, int]] = []


class Spared:
    """Processes that are left alone, with whatever stems from them, as far as that can be told.

    What they start is below them. When it has lost its parent, it is ours, and known by its session, for nobody can
    join that of another, or, where it has one of its own, by the mark that a hook's environment is.
    """

    def __init__(self, pids: Iterable[int] = (), marks: Iterable[tuple[bytes, ...]] = ()) -> None:
        """Spare the processes ``pids``, and those whose environment has all of one of ``marks``, see :func:`mark`."""
        self.pids = set(pids)
        self.sessions = {session for session in map(_session_of, self.pids) if session is not None}
        self.marks = set(marks)

    def __contains__(self, pid: object) -> bool:
        if not isinstance(pid, int):
            return False
        if pid in self.pids or _session_of(pid) in self.sessions:
            return True
        return bool(self.marks) and any(map(_environment_of(pid).issuperset, self.marks))

    def add(self, pids: Iterable[int], sessions: Iterable[int], marks: Iterable[tuple[bytes, ...]]) -> None:
        """Spare these as well."""
        self.pids.update(pids)
        self.sessions.update(sessions)
        self.marks.update(marks)


def mark(variables: Mapping[str, str]) -> tuple[bytes, ...]:
    """Return what an environment with all of these ``variables`` has."""
    return tuple(f"{name}={value}".encode("utf-8", "surrogateescape") for name, value in variables.items())


def become_subreaper(wanted: bool = True) -> bool:
    """Have the orphans among our descendants become our children, or no longer; children do not inherit this.

    Returns:
        Whether the system could do that.
    """
    return _prctl(_PR_SET_CHILD_SUBREAPER, int(wanted)) is not None


def is_subreaper() -> bool:
    """Tell whether the orphans among our descendants become our children."""
    return bool(_prctl(_PR_GET_CHILD_SUBREAPER))


def _prctl(option: int, argument: int | None = None) -> int | None:
    """Call prctl(2); return the value that it gives, or None where the system could not do that.

    Args:
        argument: what to set; where it is None, the value is asked for.
    """
    try:
        import _ctypes

        int_type, function = _int_and_prctl()
        value = int_type(argument or 0)
        second = _ctypes.byref(value) if argument is None else argument
        if _ctypes.call_function(function, (option, second, 0, 0, 0)) != 0:
            return None
    except (ImportError, AttributeError, OSError):
        return None
    return int(value.value)


def _int_and_prctl() -> tuple[Any, int]:
    """Return the type int of C, and the address of prctl(2); a run asks for them several times, and makes them once.

    Raises:
        ImportError, AttributeError, OSError: this Python cannot call the C library.
    """
    if not _made:
        # What ctypes itself is made of; importing all of that would cost every run of hooks two milliseconds.
        import _ctypes

        class Int(_ctypes._SimpleCData):  # type: ignore[type-arg]
            _type_ = "i"

        _made.append((Int, _ctypes.dlsym(_ctypes.dlopen(None, 0), "prctl")))  # type: ignore[arg-type]
    return _made[0]


def obstacle() -> str | None:
    """Return why what hooks start cannot all be found here, though limits depend on that; None where it can."""
    if not is_subreaper():
        return (
            "prctl(PR_SET_CHILD_SUBREAPER) fails, so what has lost its parent escapes; let the system allow it, "
            "and give Python its module _ctypes"
        )
    if not _kernel_lists_children() and not os.access("/proc/self/stat", os.R_OK):
        return "there is nothing in /proc, so nothing that is overdue can be ended; mount proc(5) there"
    return None


def children() -> set[int]:
    """Return our own children, those included that have ended and were not waited for."""
    return set(_finder()(os.getpid()))


def has_children() -> bool:
    """Tell whether we have children, those included that have ended and were not waited for."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def is_empty(spared: Container[int]) -> bool:
    """Tell whether none of our children is alive but ``spared``, and so nothing that any of the others started."""
    found = {pid for pid in children() if pid not in spared}
    if any(map(_is_alive, found)):
        return False
    # One look may miss a child that another one has left us with while it ended, and what was alive then may have gone
    # on as a child of its own. As nobody waits for those, a second look finds them, alive or not.
    return found == {pid for pid in children() if pid not in spared}


def terminate(spared: Container[int]) -> None:
    """Ask everything below us to end, also what is stopped, but for ``spared`` and what is below them."""
    pids = list(_tree(spared))
    for number in (SIGTERM, SIGCONT):
        for pid in pids:
            _send(pid, number)


def kill(spared: Container[int]) -> bool:
    """End everything below us but ``spared`` and what is below them; tell whether that is so now."""
    deadline = monotonic() + _KILL_PATIENCE
    while not is_empty(spared):
        for pid in list(_tree(spared)):
            _send(pid, SIGKILL)
        if monotonic() >= deadline:
            return False
        sleep(0.001)  # whoever lost its parent by this is ours by then
    return True


def kill_marked(variables: Mapping[str, str]) -> bool:
    """End every process whose environment still has all of these ``variables``; tell whether none is left.

    That is for what no living process is the parent of any more; whoever has cleared its environment escapes it. This
    process and all above it are left alone: one of those may have been started by whoever had these variables.
    """
    wanted = mark(variables)
    exempt = _lineage()
    deadline = monotonic() + _KILL_PATIENCE
    looked_at: set[int] = set()
    while True:
        pids = set(_all_processes()) - exempt
        marked = [pid for pid in pids - looked_at if _environment_of(pid).issuperset(wanted)]
        for pid in marked:
            _send(pid, SIGKILL)
        if (looked_at and not marked) or monotonic() >= deadline:
            return not marked
        # Whoever becomes another process during a look at all of them is among those that have come since.
        looked_at = set() if marked else pids
        sleep(0.001)


def _all_processes() -> list[int]:
    try:
        return [int(name) for name in os.listdir("/proc") if name.isdigit()]
    except OSError:  # it is not mounted, see obstacle()
        return []


def _lineage() -> set[int]:
    """Return our own process id, and those of our parent, its parent and so on."""
    found = set()
    pid = os.getpid()
    while pid and pid not in found:  # 0: whoever is above is in another PID namespace
        found.add(pid)
        stat = _stat_of(pid)
        pid = int(stat[1]) if stat else 0
    return found


def _environment_of(pid: int) -> set[bytes]:
    """Return what a process was executed with, or has made of that since; nothing where it has ended."""
    try:
        with open(f"/proc/{pid}/environ", "rb", buffering=0) as file:
            return set((file.readall() or b"").split(b"\0"))
    except OSError:  # it has ended meanwhile, or belongs to another user, and we are not root
        return set()


def _session_of(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except OSError:  # it has ended meanwhile
        return None


def _tree(spared: Container[int]) -> Iterator[int]:
    children_of = _finder()
    pids = [os.getpid()]
    for parent in pids:
        found = [pid for pid in children_of(parent) if pid not in spared]
        yield from found
        pids += found


def _kernel_lists_children() -> bool:
    if not _has_lists:
        pid = os.getpid()
        _has_lists.append(os.access(_CHILDREN_FILE.format(pid=pid, thread=pid), os.R_OK))
    return _has_lists[0]


def _finder() -> Callable[[int], list[int]]:
    """Return what finds the children of a process: as they are, or, where the kernel lists none, as they were now."""
    if _kernel_lists_children():
        return _listed_children_of
    found: dict[int, list[int]] = {}
    for pid in _all_processes():
        stat = _stat_of(pid)
        if stat:
            found.setdefault(int(stat[1]), []).append(pid)
    return lambda parent: found.get(parent, [])


def _listed_children_of(pid: int) -> list[int]:
    found = []
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(_CHILDREN_FILE.format(pid=pid, thread=thread), "rb", buffering=0) as file:
                found += [int(child) for child in (file.read() or b"").split()]
    except OSError:  # it has ended meanwhile
        pass
    return found


def _is_alive(pid: int) -> bool:
    return _stat_of(pid)[:1] not in ([], [b"Z"], [b"X"])


def _stat_of(pid: int) -> list[bytes]:
    """Return the fields of proc(5) from the state on, the third; nothing where the process has ended."""
    try:
        with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:
            stat = file.read() or b""
    except OSError:
        return []
    # The second one, the command, is in parentheses and may hold any byte.
    return stat.rpartition(b")")[2].split()


def _send(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except OSError:  # it has ended meanwhile, or belongs to another user, and we are not root
        return
