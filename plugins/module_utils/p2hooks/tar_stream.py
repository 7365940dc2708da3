# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading a ``.tar.gz`` strictly: ustar headers with the pax and GNU extensions for long names, and nothing else.

The standard library's ``tarfile`` reads leniently, and what it makes of a damaged or ambiguous header differs between
the Python versions of our hosts. Here each header has one meaning or is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from .archive_rules import refused_member
from .errors import ArtifactError, shown
from .gzip_stream import GzipStream

FILE = "file"
DIRECTORY = "directory"
SYMLINK = "symbolic link"
HARD_LINK = "hard link"

_KINDS = {b"0": FILE, b"\0": FILE, b"1": HARD_LINK, b"2": SYMLINK, b"5": DIRECTORY}
_REFUSED_KINDS = {
    b"3": "a character device",
    b"4": "a block device",
    b"6": "a FIFO",
    b"7": "a contiguous file",
    b"S": "a sparse file",
}
_PAX, _PAX_GLOBAL, _GNU_LONG_NAME, _GNU_LONG_LINK = b"x", b"g", b"L", b"K"

_BLOCK_BYTES = 512
_CHUNK_BYTES = 64 * 1024
_MAX_EXTENDED_BYTES = 64 * 1024
_MAX_EXTENDED_BYTES_IN_ALL = 8 * 1024 * 1024
#: Headers, padding and the zeros at the end: all that is no content of files.
_MAX_OVERHEAD_BYTES = 64 * 1024 * 1024

_POSIX_MAGIC = b"ustar\x0000"
_GNU_MAGIC = b"ustar  \0"
_OCTAL = re.compile(rb" *([0-7]+)[ \0]*")
_PAX_LENGTH = re.compile(rb"[1-9][0-9]{0,5} ")
_PAX_SIZE = re.compile(r"[0-9]{1,19}")
#: The pax keywords that change what is extracted; all others (owners, times, comments) are of no interest.
_PAX_KEYWORDS = frozenset(("path", "linkpath", "size"))

_AGAIN = "build or upload it again"


class Member(NamedTuple):
    """One file, directory or link of the archive, as its headers tell; no name in it has been judged yet."""

    name: str
    kind: str
    mode: int
    size: int
    target: str


class TarGzReader:
    """One pass over the members of a ``.tar.gz``. Errors do not name the file.

    Args:
        file: is read from its current position to its end.
        max_bytes: how much the files in it may hold together, by their headers and in fact.
    """

    def __init__(self, file: BinaryIO, max_bytes: int) -> None:
        self._stream = GzipStream(file)
        self._max_bytes = max_bytes
        self._content_budget = max_bytes
        self._overhead_budget = _MAX_OVERHEAD_BYTES
        self._extended_budget = _MAX_EXTENDED_BYTES_IN_ALL
        self._unread = 0
        self._padding = 0

    def members(self) -> Iterator[Member]:
        """Yield the members in their order; each one's :meth:`content` can be read before the next is asked for.

        When this ends without an error, the whole file has been read and found sound.

        Raises:
            ArtifactError: the archive is damaged, cut off, ambiguous, too large, or uses what we do not support.
            OSError: the file cannot be read.
        """
        extended: dict[str, str] = {}
        while True:
            header = self._overhead(_BLOCK_BYTES)
            if not header.strip(b"\0"):
                break
            _check_header(header)
            kind = header[156:157]
            if kind in (_PAX, _PAX_GLOBAL, _GNU_LONG_NAME, _GNU_LONG_LINK):
                found = self._read_extended(kind, _octal(header[124:136], "size"))
                if not extended.keys().isdisjoint(found):
                    raise ArtifactError(f"gives one member two names, targets or sizes; {_AGAIN}")
                extended.update(found)
                continue
            member = _member(header, kind, extended)
            extended = {}
            self._content_budget -= member.size
            if self._content_budget < 0:
                raise ArtifactError(
                    f"unpacks to more than the {self._max_bytes} bytes that are allowed; make it smaller or allow more"
                )
            self._unread = member.size
            self._padding = -member.size % _BLOCK_BYTES
            yield member
            for dummy in self.content():
                pass
            self._overhead(self._padding)
        if extended:
            raise ArtifactError(f"ends after the extended header of a member that is missing; {_AGAIN}")
        self._check_end()

    def content(self) -> Iterator[bytes]:
        """Yield what is left of the content of the member that :meth:`members` yielded last, in pieces.

        Raises:
            ArtifactError: the archive is damaged or cut off.
            OSError: the file cannot be read.
        """
        while self._unread:
            data = self._read(min(self._unread, _CHUNK_BYTES))
            self._unread -= len(data)
            yield data

    def _read(self, size: int) -> bytes:
        data = self._stream.read(size)
        if len(data) < size:
            raise ArtifactError(f"is cut off: its tar archive has no end; {_AGAIN}")
        return data

    def _overhead(self, size: int) -> bytes:
        self._spend_overhead(size)
        return self._read(size)

    def _spend_overhead(self, size: int) -> None:
        self._overhead_budget -= size
        if self._overhead_budget < 0:
            raise ArtifactError(f"has more than {_MAX_OVERHEAD_BYTES} bytes of headers and padding; {_AGAIN}")

    def _read_extended(self, kind: bytes, size: int) -> dict[str, str]:
        self._extended_budget -= size
        if size > _MAX_EXTENDED_BYTES or self._extended_budget < 0:
            raise ArtifactError("has too large an extended header; use shorter names and no extended attributes")
        data = self._overhead(size)
        self._overhead(-size % _BLOCK_BYTES)
        if kind == _GNU_LONG_NAME:
            return {"path": _text(data.rstrip(b"\0"))}
        if kind == _GNU_LONG_LINK:
            return {"linkpath": _text(data.rstrip(b"\0"))}
        found = _pax_records(data)
        if kind == _PAX_GLOBAL and found:
            raise ArtifactError(f"gives all its members the same {' and '.join(sorted(found))}; {_AGAIN}")
        return found

    def _check_end(self) -> None:
        """Check that only zeros follow the first zero block: tools fill up to a full record with them."""
        while True:
            data = self._stream.read(_CHUNK_BYTES)
            self._spend_overhead(len(data))
            if data.count(0) != len(data):
                raise ArtifactError(f"has more data after its end-of-archive marker; {_AGAIN}")
            if len(data) < _CHUNK_BYTES:
                self._stream.check_end()
                return


def _check_header(header: bytes) -> None:
    checksum = sum(header) - sum(header[148:156]) + 8 * ord(" ")
    field = _OCTAL.fullmatch(header[148:156])
    if field is None or int(field[1], 8) != checksum:
        raise ArtifactError(f"holds no tar archive, or a damaged one (a header's checksum is wrong); {_AGAIN}")
    magic = header[257:265]
    if magic not in (_POSIX_MAGIC, _GNU_MAGIC):
        raise ArtifactError("is in an old or unknown tar format; build it again in the ustar, pax or GNU format")
    if magic == _GNU_MAGIC and header[345:].strip(b"\0"):
        raise ArtifactError("is an incremental or sparse GNU archive; build it again as a plain one")


def _member(header: bytes, kind: bytes, extended: dict[str, str]) -> Member:
    name = extended["path"] if "path" in extended else _text(_name_field(header))
    if kind not in _KINDS:
        raise refused_member(name, f"is {_REFUSED_KINDS.get(kind, 'of an unknown type')}")
    size = _octal(header[124:136], "size")
    if "size" in extended:
        if not _PAX_SIZE.fullmatch(extended["size"]):
            raise refused_member(name, f"has the size {shown(extended['size'])}", _AGAIN)
        size = int(extended["size"])
    if size and _KINDS[kind] != FILE:
        raise refused_member(name, f"is a {_KINDS[kind]} with content", _AGAIN)
    if _KINDS[kind] == FILE and name.endswith("/"):
        raise refused_member(name, "is a file with the name of a directory", _AGAIN)
    target = ""
    if _KINDS[kind] in (SYMLINK, HARD_LINK):
        target = extended["linkpath"] if "linkpath" in extended else _text(_string(header[157:257]))
    return Member(name, _KINDS[kind], _octal(header[100:108], "mode"), size, target)


def _name_field(header: bytes) -> bytes:
    name = _string(header[:100])
    prefix = _string(header[345:500])
    return prefix + b"/" + name if prefix else name


def _string(field: bytes) -> bytes:
    text, dummy, rest = field.partition(b"\0")
    if rest.strip(b"\0"):
        raise ArtifactError(f"has a name with NUL in it, {shown(_shown_bytes(field.rstrip(bytes(1))))}; {_AGAIN}")
    return text


def _text(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise refused_member(_shown_bytes(raw), "its name or target is not UTF-8", "rename it") from None


def _shown_bytes(raw: bytes) -> str:
    return raw.decode(errors="replace")


def _octal(field: bytes, what: str) -> int:
    number = _OCTAL.fullmatch(field)
    if number is None:
        raise ArtifactError(f"has a header with a {what} that is no octal number (over 8 GiB, or damaged); {_AGAIN}")
    return int(number[1], 8)


def _pax_records(data: bytes) -> dict[str, str]:
    """Return the keywords that matter; a record is ``LENGTH KEYWORD=VALUE`` and a newline, its length all of that."""
    found: dict[str, str] = {}
    position = 0
    while position < len(data):
        length = _PAX_LENGTH.match(data, position)
        end = position + int(length[0]) if length else 0
        if length is None or not length.end() < end <= len(data) or data[end - 1 : end] != b"\n":
            raise ArtifactError(f"has a damaged pax header; {_AGAIN}")
        keyword, separator, value = data[length.end() : end - 1].partition(b"=")
        if not keyword or not separator:
            raise ArtifactError(f"has a damaged pax header; {_AGAIN}")
        if keyword.startswith(b"GNU.sparse."):
            raise ArtifactError("holds a sparse file; build the artifact without sparse files")
        name = _shown_bytes(keyword)
        if name in _PAX_KEYWORDS:
            if name in found:
                raise ArtifactError(f"gives one member two names, targets or sizes; {_AGAIN}")
            found[name] = _text(value)
        position = end
    return found
