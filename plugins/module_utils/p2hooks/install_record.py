# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The file ``installed`` of a hook's pod home: what is installed there, readable without a YAML parser.

It is written last, so it says what is really there. It holds one fact a line::

    origin store
    manifest 5b0c...                    the manifest's SHA
    launchable ensure_user 3f2a...      a launchable and its version
    rollout only                        it is not scheduled, a rollout alone has brought it here
    term_after 10.0                     the hook's own time limits in seconds, where its manifest sets them
    env POD_ID users                    a variable of the pod
    launchable_env ensure_user A x      a variable of a launchable

A value is written with Python's ``unicode_escape``: in ASCII, so that it is one line whatever is in it.

The variables are those in the directories ``env``, which are there for people and for p2. They stand here as well, so
that a run has one file to look at and to read for each hook, not ten. Records of an engine before that have none.
"""

from __future__ import annotations

import os
from _codecs import unicode_escape_decode

from .files import read_file
from .time_limits import LONGEST_LIMIT

#: Reconciling with the store adds, changes and removes only hooks that came from it.
ORIGIN_STORE = "store"
ORIGIN_LOCAL = "local"

FILE_NAME = "installed"


class InstallRecord:
    """What is installed in one pod home."""

    __slots__ = (
        "env", "kill_after", "launchable_env", "manifest_sha", "only_in_rollout", "origin", "term_after", "versions",
    )  # fmt: skip

    def __init__(
        self,
        origin: str,
        manifest_sha: str,
        versions: dict[str, str],
        term_after: float | None = None,
        kill_after: float | None = None,
        env: dict[str, str] | None = None,
        launchable_env: dict[str, dict[str, str]] | None = None,
        *,
        only_in_rollout: bool = False,
    ) -> None:
        self.origin = origin
        self.manifest_sha = manifest_sha
        #: Launchable id to version; an empty string where the version is not known.
        self.versions = versions
        #: The hook's own time limits in seconds, None where its manifest sets none.
        self.term_after = term_after
        self.kill_after = kill_after
        #: The pod's variables; none where an earlier engine has written the record.
        self.env = env or {}
        #: Those of each launchable.
        self.launchable_env = launchable_env or {}
        #: Whether the hook goes with its rollout, since it is not scheduled.
        self.only_in_rollout = only_in_rollout

    def encode(self) -> bytes:
        """Return the file's content."""
        lines = [f"origin {self.origin}", f"manifest {self.manifest_sha}"]
        lines += [f"launchable {name} {version}" for name, version in sorted(self.versions.items())]
        lines += ["rollout only"] if self.only_in_rollout else []
        limits = (("term_after", self.term_after), ("kill_after", self.kill_after))
        lines += [f"{name} {limit!r}" for name, limit in limits if limit is not None]
        lines += [f"env {name} {_escaped(value)}" for name, value in sorted(self.env.items())]
        lines += [
            f"launchable_env {launchable} {name} {_escaped(value)}"
            for launchable, variables in sorted(self.launchable_env.items())
            for name, value in sorted(variables.items())
        ]
        return ("\n".join(lines) + "\n").encode()


def read(pod_home: str) -> InstallRecord | None:
    """Return what is installed in ``pod_home``; None where nothing is, or where an installation did not end."""
    content = read_file(f"{pod_home}/{FILE_NAME}")
    return None if content is None else decode(content)


def decode(content: bytes) -> InstallRecord | None:
    """Return the record in the file's ``content``; None where it is no whole one.

    Its variables are to be given to a process, so they are as :func:`os.fsencode` takes them. If somebody has made
    something else of one of them, there are none.
    """
    record = InstallRecord("", "", {})
    damaged = False
    for line in content.decode("utf-8", "replace").split("\n"):
        kind, dummy, value = line.partition(" ")
        if kind in ("env", "launchable_env"):  # most lines are, and each run reads them all
            variables = record.env
            if kind == "launchable_env":
                launchable, dummy, value = value.partition(" ")
                variables = record.launchable_env.setdefault(launchable, {})
            name, dummy, value = value.partition(" ")
            try:
                variables[name] = _unescaped(value) if "\\" in value else value
            except ValueError:
                damaged = True
        elif kind == "origin":
            record.origin = value
        elif kind == "manifest":
            record.manifest_sha = value
        elif kind == "launchable":
            name, dummy, version = value.partition(" ")
            record.versions[name] = version
        elif kind == "rollout":
            record.only_in_rollout = value == "only"
        elif kind in ("term_after", "kill_after"):
            setattr(record, kind, _limit(value))
    if damaged:
        record.env, record.launchable_env = {}, {}
    return record if record.origin and record.manifest_sha else None


def _escaped(value: str) -> str:
    return value.encode("unicode_escape").decode("ascii")


def _unescaped(text: str) -> str:
    # The same bytes as in a file of env/, whatever the locale.
    return os.fsdecode(unicode_escape_decode(text)[0].encode("utf-8", "surrogateescape"))


def _limit(text: str) -> float | None:
    """Return a limit in seconds, or None where somebody has made something else of it."""
    try:
        limit = float(text)
    except ValueError:
        return None
    return limit if 0 < limit <= LONGEST_LIMIT else None
