# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where hooks are scheduled: the same keys in Consul (:mod:`.consul`) or in a directory (:mod:`.directory`).

Both keep the promises of :class:`Store`. Each is imported where it is chosen, because Consul's library is not on
every host and costs time to import.
"""

from __future__ import annotations

from .base import ABSENT, Change, Entry, Snapshot, Store

__all__ = ["ABSENT", "Change", "Entry", "Snapshot", "Store"]
