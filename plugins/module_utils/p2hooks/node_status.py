# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host reports about itself in the store, at ``hooks-status/{node}``; docs/stores.md describes the document."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timezone
from typing import Any

from . import VERSION, disk, install_record
from .audit.counting import Counted, OutcomeCounter, Tally
from .errors import HookError, ManifestError, shown
from .hook_key import SCHEDULE_PREFIX, HookKey
from .install_plan import installed_hooks
from .layout import Layout
from .rollout_record import ROLLOUT_PREFIX
from .store.base import ABSENT, Change, Store

#: Reports lie under this prefix of the store, one for each host.
STATUS_PREFIX = "hooks-status/"

SCHEMA = 1

#: A store takes a document up to a certain size, so no error may be longer than so many characters.
_MAX_ERROR = 500

_NOT_INSTALLED: dict[str, Any] = {"manifest_sha": None, "versions": {}, "origin": None, "installed": None}


def check_node(node: str) -> str:
    """Return ``node`` if it can be the name of a host in a key of the store.

    Raises:
        ManifestError: it cannot.
    """
    if not node.isprintable() or not node or "/" in node or node.startswith("."):
        raise ManifestError(
            f"node is {shown(node)}; give the name of this host, without '/' and not beginning with a dot"
        )
    return node


def own_node(node: str | None) -> str:
    """Return the name that this host goes by: ``node`` where that is given, else its host name.

    Raises:
        ManifestError: it cannot be the name of a host, see :func:`check_node`.
    """
    return check_node(node or os.uname().nodename)


class NodeStatus:
    """The report of one host. It is written when it says something else than before, or would soon be outdated.

    Args:
        node: the name of this host, see :func:`check_node`.
        valid_for: seconds after which a report that was not renewed says that nobody looks after the host any more.
        random: returns a number from 0 to 1, so that hosts which report at the same time do not renew at the same time.
    """

    def __init__(
        self,
        layout: Layout,
        store: Store,
        node: str,
        outcomes: OutcomeCounter,
        *,
        valid_for: float,
        random: Callable[[], float],
    ) -> None:
        self._layout = layout
        self._store = store
        self._key = STATUS_PREFIX + node
        self._outcomes = outcomes
        self._fixed = {"schema": SCHEMA, "node": node, "engine": VERSION, "valid_for": round(valid_for)}
        self._valid_for = valid_for
        self._random = random
        self._written: dict[str, Any] | None = None
        #: What may be in the store if nobody else has written there since this did; and when this did.
        self._own: list[bytes] = []
        self._own_moment = 0.0
        #: Whether somebody else has written the report of the same host meanwhile, as far as was seen.
        self.is_shared = False
        #: The hooks whose outcomes are counted, by how they are called.
        self._counted: dict[str, Counted] = {}
        self._has_news = False
        self._renew_at = 0.0

    def is_due(self, now: float) -> bool:
        """Tell whether there is something to report as far as this host's hooks and the time are concerned.

        Raises:
            LayoutError: the log of what ran cannot be read.
        """
        with disk.errors_as_layout_errors("looking at what ran"):
            return now >= self._renew_at or self._has_news or self._outcomes.has_news()

    def has_new_failure(self, keys: Iterable[HookKey]) -> bool:
        """Tell whether a run of one of the hooks ``keys`` has failed, and the report does not say so yet.

        Raises:
            LayoutError: the log of what ran cannot be read.
        """
        with disk.errors_as_layout_errors("looking at what ran"):
            if self._written is None or not self._outcomes.has_news():
                return False
            self._has_news = True
            tallies = self._outcomes.count(self._counted.values())
        reported = {name: hook["last_failure"] for name, hook in self._written["hooks"].items()}
        names = [str(key) for key in keys if str(key) in self._counted]
        return any(tallies[self._counted[name]].last_failure != reported.get(name) for name in names)

    def write(
        self, now: float, *, scheduled: Mapping[HookKey, str], errors: Mapping[str, HookError], error: str | None
    ) -> bool:
        """Write the report if that is necessary; tell whether it was.

        Args:
            now: seconds since 1970.
            scheduled: the SHA of the manifest that the store wants this host to have, by hook.
            errors: why a hook could not be installed, by its key, in the store or as hooks are called.
            error: what is wrong with the host as a whole.

        Raises:
            StoreError: or one of its kinds: it could not be read or written.
            LayoutError: what is installed cannot be read.
        """
        self._has_news = True  # until this is written
        content = {**self._fixed, "error": error and error[:_MAX_ERROR], "hooks": self._hooks(scheduled, errors)}
        if content == self._written and now < self._renew_at:
            self._has_news = False
            return False
        entry = self._store.get(self._key)
        found, reported = _decoded(entry.value) if entry else (None, 0.0)
        # An older one is one that was put back with a backup of the store.
        self.is_shared = bool(entry and self._own and entry.value not in self._own and reported >= self._own_moment)
        # A quarter to a half of its time after it was written, a report is renewed.
        renew_at = reported + self._valid_for * (1 + self._random()) / 4
        is_new = content != found or not reported <= now < renew_at
        if is_new:
            text = json.dumps({**content, "reported": moment(now)}, sort_keys=True, separators=(",", ":"))
            value = text.encode()
            self._own = [*([entry.value] if entry else []), value]  # without an answer, it is one of these
            self._store.commit([Change(self._key, value, entry.index if entry else ABSENT)])
            self._own, self._own_moment = [value], now
            renew_at = now + self._valid_for * (1 + self._random()) / 4
        self._written, self._renew_at, self._has_news = content, renew_at, False
        return is_new

    def _hooks(self, scheduled: Mapping[HookKey, str], errors: Mapping[str, HookError]) -> dict[str, Any]:
        hooks: dict[str, dict[str, Any]] = {}
        counted: dict[str, Counted] = {}
        with disk.errors_as_layout_errors("looking at what is installed"):
            for key, home in installed_hooks(self._layout).items():
                record, installed = home.record(), _modified(os.path.join(home.path, install_record.FILE_NAME))
                if record is None or installed is None:  # removed since
                    continue
                hooks[str(key)] = {
                    "manifest_sha": record.manifest_sha,
                    "versions": record.versions,
                    "origin": record.origin,
                    "installed": installed,
                }
                counted[str(key)] = Counted(key.event, key.id, record.manifest_sha, installed)
            tallies = self._outcomes.count(counted.values())
        self._counted = counted
        wanted = {str(key): sha for key, sha in scheduled.items()}
        reasons = {_hook_name(name): str(error)[:_MAX_ERROR] for name, error in errors.items()}
        nothing = Tally()
        tally_of = {name: tallies[each] for name, each in counted.items()}
        return {
            name: {
                **hooks.get(name, _NOT_INSTALLED),
                "scheduled_sha": wanted.get(name),
                "error": reasons.get(name),
                "outcomes": dict(tally_of.get(name, nothing).outcomes),
                "last_failure": tally_of.get(name, nothing).last_failure,
            }
            for name in {*hooks, *reasons, *wanted}
        }


def _hook_name(name: str) -> str:
    return name.removeprefix(SCHEDULE_PREFIX).removeprefix(ROLLOUT_PREFIX)


def _decoded(value: bytes) -> tuple[dict[str, Any] | None, float]:
    """Return what a report says, and when it was written; None where it is none of ours."""
    try:
        content = json.loads(value)
        return content, datetime.fromisoformat(content.pop("reported").replace("Z", "+00:00")).timestamp()
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None, 0.0


def moment(seconds: float) -> str:
    """Return ``seconds`` since 1970 as reports write a moment: ISO 8601 in UTC, to the millisecond."""
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _modified(path: str) -> str | None:
    try:
        return moment(os.stat(path).st_mtime)
    except FileNotFoundError:
        return None
