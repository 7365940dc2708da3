# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writing the ``.tar.gz`` of an artifact so that the same files always give the same bytes."""

from __future__ import annotations

import hashlib
import os
import stat
import tarfile
import zlib
from collections.abc import Iterable
from typing import BinaryIO

from .archive_rules import folded, member_path
from .disk import errors_as_layout_errors
from .errors import ArtifactError, shown

_COMPRESSION_LEVEL = 6
_GZIP_WINDOW = 16 + zlib.MAX_WBITS
_CHUNK_BYTES = 64 * 1024
_END_OF_ARCHIVE = bytes(2 * tarfile.BLOCKSIZE)


def write_archive(files: Iterable[tuple[str, str | os.PathLike[str]]], stream: BinaryIO) -> str:
    """Write ``files`` to ``stream`` as a ``.tar.gz``, and return the SHA-256 of what was written, in hexadecimal.

    The bytes depend on names, contents and the owner's executable bit only (and on the zlib in use): not on the order
    of ``files``, nor on times, owners, other mode bits or the umask. The directories above the files are members too.

    Args:
        files: the name of each file in the archive, such as ``bin/launch`` or ``bin/launch/10-users``, and where it is
            on disk. A symbolic link is followed.
        stream: is only written to; it stays open.

    Raises:
        ArtifactError: a name is one that would not be installed, or what it names is no regular file.
        LayoutError: a file could not be read, or the stream not be written.
    """
    sources = _sources(files)
    directories = {parent for name in sources for parent in _parents(name)}
    for name in sorted(directories & sources.keys()):
        raise ArtifactError(f"{shown(name)} cannot be both a file and a directory of the archive; rename one")
    with errors_as_layout_errors("building the artifact"):
        output = _GzipWriter(stream)
        for name in sorted(directories | sources.keys()):
            if name in directories:
                output.write(_header(name, tarfile.DIRTYPE, 0o755))
            else:
                _write_file(output, name, os.fspath(sources[name]))
        output.write(_END_OF_ARCHIVE)
        return output.finish()


class _GzipWriter:
    """Compresses what is written, and hashes the result. Its gzip header holds neither a time nor a name."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._compressor = zlib.compressobj(_COMPRESSION_LEVEL, zlib.DEFLATED, _GZIP_WINDOW)
        self._hash = hashlib.sha256()

    def write(self, data: bytes) -> None:
        self._put(self._compressor.compress(data))

    def finish(self) -> str:
        self._put(self._compressor.flush())
        return self._hash.hexdigest()

    def _put(self, data: bytes) -> None:
        self._hash.update(data)
        while data:
            data = data[self._stream.write(data) :]


def _sources(files: Iterable[tuple[str, str | os.PathLike[str]]]) -> dict[str, str | os.PathLike[str]]:
    sources: dict[str, str | os.PathLike[str]] = {}
    members: dict[str, str] = {}
    for given, path in files:
        name = member_path(given)
        if name in sources:
            raise ArtifactError(f"there are two files for {shown(name)} in the archive; rename one")
        for member in (*_parents(name), name):
            other = members.setdefault(folded(member), member)
            if other != member:
                raise ArtifactError(
                    f"{shown(other)} and {shown(member)} differ only by case or Unicode form; rename one"
                )
        sources[name] = path
    return sources


def _parents(name: str) -> list[str]:
    return [name[:index] for index, character in enumerate(name) if character == "/"]


def _header(name: str, kind: bytes, mode: int, size: int = 0) -> bytes:
    member = tarfile.TarInfo(name)
    member.type, member.mode, member.size = kind, mode, size
    return member.tobuf(tarfile.USTAR_FORMAT, "utf-8", "strict")


def _write_file(output: _GzipWriter, name: str, path: str) -> None:
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise ArtifactError(f"{path} is not a regular file; only files can be put into an artifact")
    with open(path, "rb") as file:
        status = os.fstat(file.fileno())
        mode = 0o755 if status.st_mode & stat.S_IXUSR else 0o644
        try:
            output.write(_header(name, tarfile.REGTYPE, mode, status.st_size))
        except ValueError as error:
            raise ArtifactError(f"{path} cannot be stored as {shown(name)}: {error}; make it shorter") from error
        written = 0
        while data := file.read(_CHUNK_BYTES):
            output.write(data)
            written += len(data)
    if written != status.st_size:
        raise ArtifactError(f"{path} changed while it was read; leave it alone and run this again")
    output.write(bytes(-written % tarfile.BLOCKSIZE))
