# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading gzip without trusting it: bounded memory, a bounded total, checksum and end verified."""

from __future__ import annotations

import zlib
from typing import BinaryIO

from .errors import ArtifactError

_CHUNK_BYTES = 64 * 1024
_GZIP_WINDOW = 16 + zlib.MAX_WBITS


class GzipStream:
    """The uncompressed bytes of a file that is exactly one gzip member. Errors do not name the file."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._inflater = zlib.decompressobj(_GZIP_WINDOW)

    def read(self, size: int) -> bytes:
        """Return the next ``size`` bytes; fewer only at the end of the stream, whose checksum is right then.

        Raises:
            ArtifactError: the file is damaged, cut off, or not compressed with gzip.
            OSError: the file cannot be read.
        """
        parts = []
        while size > 0 and not self._inflater.eof:
            part = self._inflate(size)
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def check_end(self) -> None:
        """Check that nothing follows, once :meth:`read` has returned fewer bytes than it was asked for.

        Raises:
            ArtifactError: the file goes on.
            OSError: the file cannot be read.
        """
        if self._inflater.unused_data or self._file.read(1):
            raise ArtifactError("has more data after its gzip stream; build the artifact again, as a single .tar.gz")

    def _inflate(self, size: int) -> bytes:
        compressed = self._inflater.unconsumed_tail or self._file.read(_CHUNK_BYTES)
        try:
            data = self._inflater.decompress(compressed, size)
        except zlib.error as error:
            reason = str(error).rpartition(": ")[2]
            raise ArtifactError(f"is damaged or not a .tar.gz ({reason}); build or upload it again") from None
        if not compressed and not data:
            raise ArtifactError("is cut off in the middle of its gzip stream; build or upload it again")
        return data
