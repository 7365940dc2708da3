# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The moments of a deploy at which hooks run."""

from __future__ import annotations

from .errors import ManifestError, shown

#: In the order of a host's life; the moment of each is described in docs/events.md.
EVENTS = (
    "preparer_init",
    "before_install",
    "after_install",
    "after_auth_fail",
    "before_launch",
    "after_launch",
    "before_uninstall",
)


def check_event(event: str) -> str:
    """Return ``event`` if there is such an event.

    Raises:
        ManifestError: there is none.
    """
    if event not in EVENTS:
        raise ManifestError(f"there is no event {shown(event)}; the events are {', '.join(EVENTS)}")
    return event
