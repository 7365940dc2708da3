# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The file ``installed`` of a hook's pod home: what is installed there, readable without a YAML parser.

It is written last, so it says what is really there. It holds one fact a line::

    origin store
    manifest 5b0c...                    the manifest's SHA
    launchable ensure_user 3f2a...      a launchable and its version
    term_after 10.0                     the hook's own time limits in seconds, where its manifest sets them
"""

from __future__ import annotations

from .files import read_file
from .time_limits import LONGEST_LIMIT

#: Reconciling with the store adds, changes and removes only hooks that came from it.
ORIGIN_STORE = "store"
ORIGIN_LOCAL = "local"

FILE_NAME = "installed"


class InstallRecord:
    """What is installed in one pod home."""

    __slots__ = ("kill_after", "manifest_sha", "origin", "term_after", "versions")

    def __init__(
        self,
        origin: str,
        manifest_sha: str,
        versions: dict[str, str],
        term_after: float | None = None,
        kill_after: float | None = None,
    ) -> None:
        self.origin = origin
        self.manifest_sha = manifest_sha
        #: Launchable id to version; an empty string where the version is not known.
        self.versions = versions
        #: The hook's own time limits in seconds, None where its manifest sets none.
        self.term_after = term_after
        self.kill_after = kill_after

    def encode(self) -> bytes:
        """Return the file's content."""
        lines = [f"origin {self.origin}", f"manifest {self.manifest_sha}"]
        lines += [f"launchable {name} {version}" for name, version in sorted(self.versions.items())]
        limits = (("term_after", self.term_after), ("kill_after", self.kill_after))
        lines += [f"{name} {limit!r}" for name, limit in limits if limit is not None]
        return ("\n".join(lines) + "\n").encode()


def read(pod_home: str) -> InstallRecord | None:
    """Return what is installed in ``pod_home``; None where nothing is, or where an installation did not end."""
    content = read_file(f"{pod_home}/{FILE_NAME}")
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
        elif kind in ("term_after", "kill_after"):
            setattr(record, kind, _limit(value))
    return record if record.origin and record.manifest_sha else None


def _limit(text: str) -> float | None:
    """Return a limit in seconds, or None where somebody has made something else of it."""
    try:
        limit = float(text)
    except ValueError:
        return None
    return limit if 0 < limit <= LONGEST_LIMIT else None
