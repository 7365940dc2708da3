# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Unpacking artifacts that nobody has vouched for.

An artifact is unpacked by root, so it must not reach anything outside its directory, fill the disk, or leave behind
what other users could change. Every member is judged by our own rules before a byte of it is written; what is written
goes beneath an open directory descriptor, never through a link; links are made last, after all of them were judged.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from .archive_rules import MAX_ENTRIES, check_text, folded, member_path, refused_member
from .errors import ArtifactError, LayoutError, reason_of, shown
from .tar_stream import DIRECTORY, FILE, HARD_LINK, SYMLINK, Member, TarGzReader

_OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_OPEN_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
_CREATE_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

_OWNER_EXECUTES = 0o100
_SET_ID_OR_STICKY = 0o7000
#: Scripts are found here, and owned by the hook that they lie in; a link would let them lie elsewhere.
_NEVER_SYMLINKS = frozenset(("bin", "bin/launch"))


def extract_archive(archive: str | os.PathLike[str], destination: str | os.PathLike[str], *, max_bytes: int) -> None:
    """Unpack a ``.tar.gz`` into ``destination``, and make what is unpacked survive a power loss.

    Files get mode 0755 if the archive lets their owner execute them, else 0644; directories get 0755, but for
    ``destination`` itself, which keeps its own. Owners and times in the archive are ignored.

    Args:
        archive: messages call it by its base name.
        destination: an existing, empty directory that nobody else can write to. After an error it holds
            an unspecified part of the archive: throw it away.
        max_bytes: how much the files may hold together.

    Raises:
        ArtifactError: the archive is damaged, unsafe or too large; names the archive and the member.
        LayoutError: the archive could not be read, or its content not written; names both.
    """
    name = os.path.basename(archive)
    try:
        with open(archive, "rb", buffering=0) as file, _Directory(destination) as directory:
            _extract(TarGzReader(file, max_bytes), directory)
    except ArtifactError as error:
        raise ArtifactError(f"{name}: {error}") from None
    except OSError as error:
        raise LayoutError(
            f"{name}: cannot be unpacked into {os.fspath(destination)}: {reason_of(error)}; "
            "see that both can be reached and the disk has room, then run this again"
        ) from error


def _extract(reader: TarGzReader, directory: _Directory) -> None:
    tree = _Tree()
    for member in reader.members():
        path = member_path(member.name)
        if member.kind in (FILE, HARD_LINK) and member.mode & _SET_ID_OR_STICKY:
            raise refused_member(member.name, "has a set-uid, set-gid or sticky bit")
        for new_directory in tree.add(path, member):
            directory.make_directory(new_directory)
        if member.kind == FILE:
            directory.write_file(path, reader.content(), 0o755 if member.mode & _OWNER_EXECUTES else 0o644)
    links = list(tree.links())
    for link in links:
        if link.kind == SYMLINK:
            directory.make_symlink(link.path, link.target)
        else:
            directory.make_hard_link(link.path, link.target)
    for path in tree.files_and_directories():
        directory.sync(path)


class _Entry(NamedTuple):
    """A path of the archive; ``member`` is None for a directory that is there only because something lies in it."""

    path: str
    kind: str
    member: Member | None


class _Link(NamedTuple):
    path: str
    kind: str
    #: As the link is to hold it, or for a hard link the path of the file.
    target: str


class _Tree:
    """What the archive consists of so far. Below a path in it there are only real directories, never links."""

    def __init__(self) -> None:
        self._entries = {"": _Entry("", DIRECTORY, None)}

    def add(self, path: str, member: Member) -> list[str]:
        """Add a member and the directories above it; return the directories that were not there before."""
        new = []
        for index, character in enumerate(path):
            if character == "/" and self._add_parent(path[:index], member):
                new.append(path[:index])
        before = self._find(path, member)
        if before is None:
            if member.kind == DIRECTORY:
                new.append(path)
        elif before.kind != member.kind:
            raise refused_member(member.name, f"is a {member.kind}, and also a {before.kind}")
        elif before.member is not None:
            raise refused_member(member.name, "is there twice")
        self._enter(_Entry(path, member.kind, member))
        return new

    def links(self) -> Iterator[_Link]:
        """Yield the links, each judged, once all members have been added."""
        if len(self._entries) == 1:
            raise ArtifactError("is empty; build the artifact from a file or a directory with files in it")
        for entry in self._entries.values():
            if entry.member is not None and entry.kind == SYMLINK:
                yield self._judged_symlink(entry.path, entry.member)
            elif entry.member is not None and entry.kind == HARD_LINK:
                yield self._judged_hard_link(entry.path, entry.member)

    def files_and_directories(self) -> Iterator[str]:
        """Yield the paths of both, each before the directories above it; the top, as the empty path, comes last."""
        for entry in reversed(self._entries.values()):
            if entry.kind in (FILE, DIRECTORY):
                yield entry.path

    def _add_parent(self, path: str, member: Member) -> bool:
        before = self._find(path, member)
        if before is None:
            self._enter(_Entry(path, DIRECTORY, None))
        elif before.kind != DIRECTORY:
            raise refused_member(member.name, f"lies below {shown(path)}, which is a {before.kind}")
        return before is None

    def _find(self, path: str, member: Member) -> _Entry | None:
        entry = self._entries.get(folded(path))
        if entry is not None and entry.path != path:
            raise refused_member(
                member.name, f"{shown(path)} and {shown(entry.path)} differ only by case or Unicode form", "rename one"
            )
        return entry

    def _enter(self, entry: _Entry) -> None:
        self._entries[folded(entry.path)] = entry
        if len(self._entries) > MAX_ENTRIES + 1:
            raise ArtifactError(f"holds more than {MAX_ENTRIES} files and directories; build it with fewer")

    def _judged_symlink(self, path: str, member: Member) -> _Link:
        if path in _NEVER_SYMLINKS:
            raise refused_member(member.name, "is a symbolic link", "make it a real file or directory")
        check_text(member.name, member.target, "its link target")
        components = [component for component in member.target.split("/") if component not in ("", ".")]
        target = path.split("/")[:-1]
        while components and components[0] == ".." and target:
            del components[0], target[-1]
        if member.target.startswith("/") or components[:1] == [".."]:
            raise refused_member(member.name, f"links to {shown(member.target)}, which leads out of the archive")
        if ".." in components:
            raise refused_member(member.name, f"links to {shown(member.target)}, with '..' after a name", "shorten it")
        found = self._target("/".join(target + components), member)
        if found.kind == SYMLINK:
            raise refused_member(member.name, f"links to {shown(member.target)}, which is itself a link")
        return _Link(path, SYMLINK, member.target)

    def _judged_hard_link(self, path: str, member: Member) -> _Link:
        found = self._target(member_path(member.target, member.name), member)
        if found.kind != FILE:
            raise refused_member(member.name, f"links to {shown(member.target)}, which is no file but a {found.kind}")
        return _Link(path, HARD_LINK, found.path)

    def _target(self, path: str, member: Member) -> _Entry:
        entry = self._entries.get(folded(path))
        if entry is None or entry.path != path:
            raise refused_member(member.name, f"links to {shown(member.target)}, which is not in the archive")
        return entry


class _Directory:
    """A directory to write into; whatever path is given, no link is followed on the way to it.

    The directory last worked in stays open, since members mostly come directory by directory.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._top = os.open(path, _OPEN_DIRECTORY)
        self._current = os.dup(self._top)
        self._current_path = ""

    def __enter__(self) -> _Directory:
        return self

    def __exit__(self, *dummy: object) -> None:
        os.close(self._current)
        os.close(self._top)

    def make_directory(self, path: str) -> None:
        parent, name = self._parent(path)
        os.mkdir(name, 0o700, dir_fd=parent)
        with _opened(name, _OPEN_DIRECTORY, parent) as descriptor:
            os.fchmod(descriptor, 0o755)

    def write_file(self, path: str, pieces: Iterable[bytes], mode: int) -> None:
        parent, name = self._parent(path)
        descriptor = os.open(name, _CREATE_FILE, 0o600, dir_fd=parent)
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, mode)
            for piece in pieces:
                file.write(piece)

    def make_symlink(self, path: str, target: str) -> None:
        parent, name = self._parent(path)
        os.symlink(target.encode(), name, dir_fd=parent)

    def make_hard_link(self, path: str, file: str) -> None:
        file_parent, file_name = self._parent(file)
        file_parent = os.dup(file_parent)
        try:
            parent, name = self._parent(path)
            os.link(file_name, name, src_dir_fd=file_parent, dst_dir_fd=parent, follow_symlinks=False)
        finally:
            os.close(file_parent)

    def sync(self, path: str) -> None:
        """Bring the file or directory to the disk.

        Only after the whole archive has been judged: 20,000 of these take a while, and a refused archive needs none.
        """
        if not path:
            os.fsync(self._top)
            return
        parent, name = self._parent(path)
        with _opened(name, _OPEN_FILE, parent) as descriptor:
            os.fsync(descriptor)

    def _parent(self, path: str) -> tuple[int, bytes]:
        """Return the open directory that ``path`` lies in, good until the next call, and its name there.

        Names are bytes towards the system, for the locale that we run in may not know UTF-8.
        """
        directory, dummy, name = path.rpartition("/")
        if directory != self._current_path:
            self._move_to(os.dup(self._top))
            for component in directory.encode().split(b"/") if directory else ():
                self._move_to(os.open(component, _OPEN_DIRECTORY, dir_fd=self._current))
            self._current_path = directory
        return self._current, name.encode()

    def _move_to(self, descriptor: int) -> None:
        previous, self._current = self._current, descriptor
        os.close(previous)


@contextmanager
def _opened(name: bytes, flags: int, parent: int) -> Iterator[int]:
    descriptor = os.open(name, flags, dir_fd=parent)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
