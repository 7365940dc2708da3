# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What identifies a hook: the event that it is scheduled under, if any, and its pod id."""

from __future__ import annotations

from typing import NamedTuple

from .errors import ManifestError, shown
from .events import EVENTS, check_event
from .ids import check_id

#: Everything that is scheduled lies under this prefix of the store.
SCHEDULE_PREFIX = "hooks/"

#: The manifest that a hook had before the scheduled one lies under this prefix, so that it can be put back.
PREVIOUS_PREFIX = "hooks-previous/"


class HookKey(NamedTuple):
    """A hook's event (None for a *global* hook, which runs on every event) and its pod id."""

    event: str | None
    id: str

    @classmethod
    def of(cls, event: str | None, pod_id: str) -> HookKey:
        """Return the key of the hook ``pod_id`` under ``event``.

        Raises:
            ManifestError: there is no such event, or the id breaks the rules.
        """
        check_id(pod_id, "the id of the hook")
        if event is not None:
            check_event(event)
        elif pod_id in EVENTS:
            raise ManifestError(f"a global hook cannot be called {pod_id}, because that is an event; choose another id")
        return cls(event, pod_id)

    @classmethod
    def from_store_key(cls, store_key: str, prefix: str = SCHEDULE_PREFIX) -> HookKey:
        """Return the hook that ``store_key``, which begins with ``prefix``, is about.

        Raises:
            ManifestError: the key has not the form ``{prefix}{event}/{id}`` or ``{prefix}{id}``.
        """
        parts = store_key[len(prefix) :].split("/")
        try:
            if len(parts) == 1:
                return cls.of(None, parts[0])
            if len(parts) == 2:
                return cls.of(parts[0], parts[1])
        except ManifestError as error:
            raise ManifestError(f"key {shown(store_key)}: {error}") from None
        raise ManifestError(f"key {shown(store_key)} is neither {prefix}EVENT/ID nor {prefix}ID")

    @property
    def store_key(self) -> str:
        """The key of the store that holds this hook's manifest."""
        return SCHEDULE_PREFIX + "/".join(self.parts)

    @property
    def previous_key(self) -> str:
        """The key of the store that holds the manifest which the scheduled one replaced."""
        return PREVIOUS_PREFIX + "/".join(self.parts)

    @property
    def parts(self) -> tuple[str, ...]:
        """The path of this hook below ``hooks/`` in the store and below ``pods/`` on disk."""
        return (self.id,) if self.event is None else (self.event, self.id)

    def __str__(self) -> str:
        """Return how messages call the hook: ``before_install/ensure_user``, or ``ensure_user`` for a global one."""
        return "/".join(self.parts)
