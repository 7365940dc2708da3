# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a hook could have been changed by another user than root and the one who runs it; see docs/layout.md.

The way to a hook is walked from ``/``, one name at a time, following symbolic links by our own rules. What lies on it
has to belong to root or to the effective user, and nobody else may write to it.

**Nothing can change between the check and the execution**, although both go by path. A directory that passes lets
nobody else add, rename or remove a name in it, so what was seen under a name stays there, and the same holds for the
next directory, down to the file; only its owner can loosen a mode, or root give a file away. Holding directories open
(``O_PATH``) would add nothing but time, and executing an open file would show a script ``/dev/fd/3`` as its ``$0``. The
one who may change things in between is root, by upgrading the hook: therefore what is executed is the path behind all
links, in which ``current`` has become the version that was checked. For the same reason nothing is remembered from one
hook to the next: the hook before may have changed a mode.

**A sticky directory may be writable by everyone**, as ``/tmp`` is, where the name that we enter in it is a directory of
root or of the user: nobody else can rename or remove it. Nor can anybody have put it there in their name, since a
directory has no hard links, and moving one to another parent takes the right to write to it. Files and links have no
such protection, so they are refused there: everyone may move one that belongs to root, but lies in a directory of their
own, and ``/sbin/reboot`` is as safe by its mode as it is unwanted as a hook.

Access control lists need no look of their own: the group's bits in a mode are then the mask of the list, so that a
right to write which it grants to anybody shows as writable by the group, see acl(5).
"""

from __future__ import annotations

import os
from stat import S_ISDIR, S_ISLNK, S_ISREG, S_ISVTX

from .errors import HookRefused, reason_of, shown
from .layout import Layout

_WRITABLE_BY_OTHERS = 0o022
_SET_ID = 0o6000
#: As many links as the system itself follows, see path_resolution(7).
_MAX_LINKS = 40


def vet(layout: Layout, path: str, directories: tuple[str, ...] = ()) -> str:
    """Return what to execute for the hook ``path``: a path without links, on which nobody else can have had a hand.

    Args:
        path: a file or a link below ``exec/``; a link, and all those behind it, may lead below ``pods/`` or ``exec/``.
        directories: those below the root whose files hold the hook's variables, and are as decisive as the hook itself:
            one of them may be LD_PRELOAD. The files go through :func:`check` when they are read.

    Raises:
        HookRefused: the hook is unsafe, or cannot be executed. The message says why in one line, and what to do.
    """
    walk = _Walk(layout.root)
    try:
        executable, status = walk.below_root(path)
        if not executable.startswith((f"{walk.top}/pods/", f"{walk.top}/exec/")):
            raise HookRefused(
                f"{_named(path)} leads to {_named(executable)}, which is neither in pods/ nor in exec/; "
                "put the file itself there"
            )
        _check_executable(executable, status)
        for directory in directories:
            try:
                walk.directory_of_files(directory)
            except FileNotFoundError:  # then there are no variables
                continue
    except FileNotFoundError:
        if walk.links:
            raise HookRefused("the link points nowhere; install the hook again, or remove the link") from None
        raise HookRefused("it has been removed since the hooks were listed") from None
    except OSError as error:
        raise HookRefused(f"{_named(error.filename)}: {reason_of(error)}") from None
    return executable


class _Walk:
    """The ways to one hook, or to something else where there is no root; a directory on several is looked at once."""

    __slots__ = ("_owners", "_root", "_shared", "links", "top")

    def __init__(self, root: str = "/") -> None:
        self._root = root
        self._owners = (0, os.geteuid())
        #: Each directory that passed, and whether others can make names in it, which only a sticky one allows.
        self._shared: dict[str, bool] = {}
        #: How many links were followed below the root.
        self.links = 0
        #: The root without links; like all paths here without a slash at its end, so ``/`` is an empty string.
        self.top: str | None = None

    def below_root(self, path: str) -> tuple[str, os.stat_result | None]:
        """Follow a path below the layout's root to its end; return that, and its status unless it is a directory.

        Raises:
            HookRefused: something on the way is unsafe.
            OSError: something on the way is missing or cannot be looked at.
        """
        if self.top is None:
            self.top = self.anywhere(self._root)
            self.links = 0
        return self._follow(self.top, path[len(self._root) :])

    def anywhere(self, path: str) -> str:
        """Follow an absolute path to its end, by links that lead anywhere; return that.

        Raises:
            HookRefused: something on the way is unsafe.
            OSError: something on the way is missing or cannot be looked at.
        """
        status = os.lstat("/")
        check("/", status)
        self._shared[""] = bool(status.st_mode & _WRITABLE_BY_OTHERS)
        return self._follow("", path)[0]

    def to_the_end(self, path: str) -> None:
        """Follow an absolute path as :meth:`anywhere` does; at its end, too, others may not make names.

        Raises:
            HookRefused: something on the way, or at its end, is unsafe.
            OSError: something on the way is missing or cannot be looked at.
        """
        end = self.anywhere(path)
        if self._shared.get(end):
            raise _writable(end)

    def directory_of_files(self, path: str) -> None:
        """Follow a path below the layout's root to a directory in which files are to be read.

        Raises:
            HookRefused: something on the way is unsafe, or others may put files there.
            OSError: something on the way is missing or cannot be looked at.
        """
        directory, dummy = self.below_root(path)
        if self._shared.get(directory):
            raise _writable(directory)

    def _follow(self, directory: str, path: str) -> tuple[str, os.stat_result | None]:
        ahead = path.split("/")[::-1]
        link = ""
        while ahead:
            name = ahead.pop()
            if name in ("", "."):
                continue
            if name == "..":
                if directory == self.top:
                    raise self._leads_out(link)
                directory = directory.rpartition("/")[0]
                continue
            here = f"{directory}/{name}"
            if here in self._shared:
                directory = here
                continue
            status = os.lstat(here)
            mode = status.st_mode
            if mode & _WRITABLE_BY_OTHERS or status.st_uid not in self._owners:
                check(here, status)
            if S_ISDIR(mode):
                self._shared[here] = bool(mode & _WRITABLE_BY_OTHERS)
                directory = here
                continue
            if self._shared[directory]:
                raise _writable(directory) if self.top is not None else _exposed(here, directory)
            if not S_ISLNK(mode):
                if any(ahead):
                    raise HookRefused(f"{_named(here)} is no directory; install the hook again, or remove the link")
                return here, status
            self.links += 1
            if self.links > _MAX_LINKS:
                raise HookRefused(f"{_named(here)}: too many links one after the other; remove it")
            link = here
            directory, target = self._start_of(link, directory)
            ahead += target.split("/")[::-1]
        return directory, None

    def _start_of(self, link: str, directory: str) -> tuple[str, str]:
        """Return from where the target of ``link`` is to be followed, and the target from there."""
        target = os.readlink(link)
        if not target.startswith("/"):
            return directory, target
        if self.top is None:  # above the root, links may lead anywhere
            return "", target
        for root in (self._root, self.top):
            if target.startswith(f"{root}/"):
                return self.top, target[len(root) :]
        raise self._leads_out(link)

    def _leads_out(self, link: str) -> HookRefused:
        return HookRefused(
            f"{_named(link)} leads out of {_named(self._root)}; put the file itself there, or remove the link"
        )


def check(path: str, status: os.stat_result) -> None:
    """Make sure that nobody else can change what is at ``path`` itself, which a directory above it may still allow.

    Raises:
        HookRefused: somebody else can.
    """
    mode, user = status.st_mode, os.geteuid()
    if status.st_uid not in (0, user):
        owner = f"user {user}" if user else "root"
        chown = "chown -h" if S_ISLNK(mode) else "chown"
        raise HookRefused(f"{_named(path)} belongs to user {status.st_uid}; {chown} it to {owner}")
    if mode & _WRITABLE_BY_OTHERS and not S_ISLNK(mode) and not (S_ISDIR(mode) and mode & S_ISVTX):
        raise _writable(path)


def vet_way(path: str) -> None:
    """Make sure that nobody else can change what ``path`` leads to: a file, or a directory and which names it has.

    Raises:
        HookRefused: somebody else can. The message names what is unsafe, and says what to do.
        OSError: something on the way is missing, or cannot be looked at; what comes before it is safe.
    """
    # Not os.path.abspath, which takes ".." after a link for something else than the system does.
    _Walk().to_the_end(path if path.startswith("/") else f"{os.getcwd()}/{path}")


def obstacle_of_root(layout: Layout) -> str | None:
    """Return why :func:`vet` will refuse every hook below the root, and what to do; None where it will not.

    What is missing of the root is no reason, since whoever installs makes it.
    """
    walk = _Walk(layout.root)
    try:
        for directory in (layout.root, layout.pods, layout.exec):
            walk.below_root(directory)
    except FileNotFoundError:
        return None
    except HookRefused as refusal:
        return str(refusal)
    except OSError as error:
        return f"{_named(error.filename)}: {reason_of(error)}"
    return None


def _check_executable(path: str, status: os.stat_result | None) -> None:
    if status is None or not S_ISREG(status.st_mode):
        raise HookRefused(f"{_named(path)} is no regular file; remove it")
    if not status.st_size:
        raise HookRefused(f"{_named(path)} is empty; write a script into it, or remove it")
    if status.st_mode & _SET_ID:
        raise HookRefused(f"{_named(path)} is set-uid or set-gid; chmod ug-s it")
    if os.access(path, os.X_OK, effective_ids=True):
        return
    if os.statvfs(path).f_flag & os.ST_NOEXEC:
        raise HookRefused(f"{_named(path)} is on a file system mounted noexec; remount that with exec")
    raise HookRefused("not executable; chmod +x it")


def _writable(path: str) -> HookRefused:
    return HookRefused(f"{_named(path or '/')} is writable by group or others; chmod go-w it")


def _exposed(path: str, directory: str) -> HookRefused:
    return HookRefused(
        f"{_named(path)} lies in {_named(directory or '/')}, where others may put files; "
        "move it into a directory that only its owner can write to"
    )


def _named(path: str) -> str:
    """Return ``path`` as it is, but quoted where that would not be one readable line."""
    return path if path.isprintable() else shown(path, limit=len(path))
