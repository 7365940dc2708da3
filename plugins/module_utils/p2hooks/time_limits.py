# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When a hook is told to end, and when it is made to."""

from __future__ import annotations

from .errors import HookError

#: No limit may be longer than a day, in seconds.
LONGEST_LIMIT = 24 * 60 * 60


class TimeLimits:
    """When a hook is told to end (SIGTERM), and when it is made to (SIGKILL), in seconds after its start."""

    __slots__ = ("kill_after", "term_after")

    def __init__(self, term_after: float = 30.0, kill_after: float | None = None) -> None:
        """Check and keep the limits, whose defaults are the seed's.

        Args:
            kill_after: where it is None, 60 seconds, or twice ``term_after`` if that is more.

        Raises:
            HookError: they are not in order, or longer than a day.
        """
        if kill_after is None:
            kill_after = min(max(60.0, 2 * term_after), LONGEST_LIMIT)
        if not 0 < term_after <= kill_after <= LONGEST_LIMIT:
            raise HookError(
                f"term_after is {term_after:g} and kill_after {kill_after:g}; give seconds above 0, "
                f"kill_after not less than term_after, and neither more than {LONGEST_LIMIT}"
            )
        self.term_after = term_after
        self.kill_after = kill_after

    def of_hook(self, term_after: float | None, kill_after: float | None) -> TimeLimits:
        """Return the limits of a hook whose manifest sets one of them, or both; the other one gives way."""
        if term_after is None:
            term_after = self.term_after
            if kill_after is not None and kill_after <= term_after:
                term_after = kill_after / 2  # as in the seed's limits
        return TimeLimits(term_after, max(term_after, self.kill_after if kill_after is None else kill_after))
