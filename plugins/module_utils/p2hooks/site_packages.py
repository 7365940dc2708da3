# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The libraries of the distribution, for an interpreter that was started without them (``python3 -S``)."""

from __future__ import annotations

import sys


def add() -> None:
    """Make installed libraries importable, if they are not yet; the command runs hooks without paying for that."""
    if sys.flags.no_site and "site" not in sys.modules:
        import site

        site.main()
