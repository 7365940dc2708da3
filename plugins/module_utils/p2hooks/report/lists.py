# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lists of a report: bounded, so that a page stays one that people can read."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

#: How many hosts are named at most.
MAX_HOST_NAMES = 8


def bounded(items: list[Any], limit: int) -> dict[str, Any]:
    """Return the first ``limit`` of ``items`` in ``shown``, and in ``more`` how many are left out."""
    return {"shown": items[:limit], "more": max(0, len(items) - limit)}


def host_names(hosts: Iterable[str]) -> dict[str, Any]:
    """Return the names of ``hosts`` in their order, bounded."""
    return bounded(sorted(set(hosts), key=natural), MAX_HOST_NAMES)


def natural(name: str) -> list[tuple[int, str]]:
    """Return what sorts node2 before node10."""
    return [(int(part) if part.isdecimal() else -1, part) for part in re.split("([0-9]{1,9})", name)]
