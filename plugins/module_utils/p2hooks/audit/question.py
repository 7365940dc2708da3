# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What can be asked of the audit."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

from ..errors import AuditError, shown
from ..events import EVENTS

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


@dataclass(frozen=True)
class Question:
    """Which records are wanted; None is no restriction."""

    #: The name of a hook in ``exec/``, or the id that such a name begins with; either also behind an event and ``/``.
    hook: str | None = None
    hook_id: str | None = None
    pod_id: str | None = None
    event: str | None = None
    outcome: str | None = None
    run_id: str | None = None
    #: The first and the last moment at which a hook may have started, as :func:`moment` returns them.
    since: str | None = None
    until: str | None = None
    #: How many records to return at most.
    limit: int | None = None

    def __post_init__(self) -> None:
        """Take the event out of ``hook``.

        Raises:
            AuditError: what is before the ``/`` is none, or not the one in ``event``; or ``since`` is after ``until``.
        """
        if self.since and self.until and self.since > self.until:
            raise AuditError(f"since is {self.since}, which is after until, {self.until}; exchange them")
        if self.hook is None or "/" not in self.hook:
            return
        event, dummy, hook = self.hook.partition("/")
        if event not in EVENTS or not hook or self.event not in (None, event):
            raise AuditError(
                f"hook is {shown(self.hook)}; give its name in exec/, its id, or one of these behind "
                f"{self.event or 'an event'} and /"
            )
        object.__setattr__(self, "event", event)
        object.__setattr__(self, "hook", hook)

    @property
    def equal(self) -> dict[str, str]:
        """The fields that have to have a certain value."""
        names = ("hook_id", "pod_id", "event", "outcome", "run_id")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}

    def matches(self, record: dict[str, Any]) -> bool:
        """Tell whether ``record`` is wanted."""
        start = str(record.get("start", ""))
        return (
            self._is_of_hook(record)
            and all(record.get(name) == value for name, value in self.equal.items())
            and (self.since is None or start >= self.since)
            and (self.until is None or start <= self.until)
        )

    def _is_of_hook(self, record: dict[str, Any]) -> bool:
        name = record.get("hook")
        return self.hook in (None, name) or (
            record.get("hook_id") == self.hook and str(name).startswith(f"{self.hook}_")
        )


def moment(text: str, now: datetime) -> str:
    """Return a moment as records have it; ``text`` is ISO 8601, UTC if it does not say, or an age such as ``90m``.

    Raises:
        AuditError: it is neither.
    """
    age = re.fullmatch(r"([0-9]{1,6})([smhdw])", text)
    try:
        if age:
            when = now - timedelta(**{_UNITS[age[2]]: int(age[1])})
        else:
            when = datetime.fromisoformat(re.sub(r"[zZ]$", "+00:00", text))
        if when.tzinfo is None:
            when = when.replace(tzinfo=timezone.utc)
        return when.astimezone(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    except (ValueError, OverflowError):
        raise AuditError(
            f"{shown(text)} is no moment; give an age such as 90m, 12h or 3d, or a time such as 2026-01-31T12:00:00Z"
        ) from None
