# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The file ``installed`` of a hook's pod home: what is installed there, readable without a YAML parser.

It is written last, so it says what is really there. It holds one fact a line::

    origin store
    manifest 5b0c...                    the manifest's SHA
    launchable ensure_user 3f2a...      a launchable and its version
"""

from __future__ import annotations

from . import disk

#: Reconciling with the store adds, changes and removes only hooks that came from it.
ORIGIN_STORE = "store"
ORIGIN_LOCAL = "local"

FILE_NAME = "installed"


class InstallRecord:
    """What is installed in one pod home."""

    __slots__ = ("manifest_sha", "origin", "versions")

    def __init__(self, origin: str, manifest_sha: str, versions: dict[str, str]) -> None:
        self.origin = origin
        self.manifest_sha = manifest_sha
        #: Launchable id to version; an empty string where the version is not known.
        self.versions = versions

    def encode(self) -> bytes:
        """Return the file's content."""
        lines = [f"origin {self.origin}", f"manifest {self.manifest_sha}"]
        lines += [f"launchable {name} {version}" for name, version in sorted(self.versions.items())]
        return ("\n".join(lines) + "\n").encode()


def read(pod_home: str) -> InstallRecord | None:
    """Return what is installed in ``pod_home``; None where nothing is, or where an installation did not end."""
    content = disk.read_file(f"{pod_home}/{FILE_NAME}")
    if content is None:
        return None
    record = InstallRecord("", "", {})
    for line in content.decode("utf-8", "replace").splitlines():
        kind, dummy, value = line.partition(" ")
        if kind == "origin":
            record.origin = value
        elif kind == "manifest":
            record.manifest_sha = value
        elif kind == "launchable":
            name, dummy, version = value.partition(" ")
            record.versions[name] = version
    return record if record.origin and record.manifest_sha else None
