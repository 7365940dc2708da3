# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bringing an artifact to this host: from a file, an HTTP server, or the store."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from urllib.parse import unquote_to_bytes, urlsplit

from .errors import ArtifactError, reason_of
from .manifest import Launchable, redacted
from .store.base import Store

#: Artifacts that were uploaded to the store have keys that begin with this.
ARTIFACT_PREFIX = "hooks-artifacts/"

_CHUNK = 64 * 1024


def fetch(
    launchable: Launchable, destination: str, store: Store | None, *, max_bytes: int, seconds: float = 300.0
) -> str:
    """Put the artifact of ``launchable`` at ``destination``, a new file, and check its digest.

    Args:
        store: where ``store:`` locations are read; None where there is none to read from.
        max_bytes: an artifact that is larger is refused.
        seconds: how long the download may take as a whole.

    Returns:
        The artifact's SHA-256 in hexadecimal.

    Raises:
        ArtifactError: it is missing, too large, incomplete, or not what the manifest promises.
        StoreError: the store could not be read.
        OSError: it cannot be written here.
    """
    digest = hashlib.sha256()
    size = 0
    shown_location = redacted(launchable.location)
    with open(destination, "xb") as file:
        for chunk in _chunks(launchable.location, store, seconds):
            size += len(chunk)
            if size > max_bytes:
                raise ArtifactError(
                    f"{shown_location}: is larger than {max_bytes} bytes; raise max_unpacked_size if it should be"
                )
            digest.update(chunk)
            file.write(chunk)
    found = digest.hexdigest()
    if launchable.sha256 not in (None, found):
        raise ArtifactError(
            f"{shown_location}: has the SHA-256 {found}, but the manifest says {launchable.sha256}; "
            "publish the artifact that the manifest was made for, or schedule its own manifest"
        )
    return found


def obstacle(launchable: Launchable, store: Store | None) -> str | None:
    """Return why the artifact of ``launchable`` cannot be had; None where it can, or that would take a download to see.

    Raises:
        StoreError: the store could not be read.
    """
    if urlsplit(launchable.location).scheme not in ("file", "store"):
        return None
    try:
        next(_chunks(launchable.location, store, 0.0), None)
    except ArtifactError as error:
        return str(error)
    return None


def _chunks(location: str, store: Store | None, seconds: float) -> Iterator[bytes]:
    scheme = urlsplit(location).scheme
    if scheme == "file":
        return _from_file(location)
    if scheme == "store":
        return _from_store(location, store)
    from .http_download import download  # slow to import, and most runs download nothing

    return download(location, seconds)


def _from_file(location: str) -> Iterator[bytes]:
    where = redacted(location)
    path = os.fsdecode(unquote_to_bytes(urlsplit(location).path))
    try:
        # Without O_NONBLOCK a named pipe would hold us up for ever.
        with open(path, "rb", buffering=0, opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise ArtifactError(f"{where}: is no regular file; give the location of a .tar.gz")
            while chunk := file.read(_CHUNK):
                yield chunk
    except OSError as error:
        raise ArtifactError(
            f"{where}: {reason_of(error)}; put the artifact there on this host, or schedule it with upload_artifacts"
        ) from None


def _from_store(location: str, store: Store | None) -> Iterator[bytes]:
    if store is None:
        raise ArtifactError(f"{location}: lies in the store; give the store's options as well")
    entry = store.get(urlsplit(location).path)
    if entry is None:
        raise ArtifactError(
            f"{location}: {store.name} has no such key; "
            "unschedule the hook, then schedule it again with upload_artifacts"
        )
    yield entry.value
