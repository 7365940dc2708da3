# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What answers look like to people."""

from __future__ import annotations

import argparse
import difflib
import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ..console import Answer, abbreviated, printable


class Difference(NamedTuple):
    """How a manifest changes; empty text where there is none."""

    name: str
    before: str
    after: str

    def lines(self) -> list[str]:
        """Return the unified diff."""
        diff = difflib.unified_diff(
            self.before.splitlines(), self.after.splitlines(), self.name, self.name, lineterm=""
        )
        return [printable(line) for line in diff]


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return ``rows`` below a line with the names of ``columns``, each as wide as it has to be."""
    cells = [[name.upper() for name in columns], *([printable(cell) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(columns))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in cells]


def versions(by_launchable: Mapping[str, str]) -> str:
    """Return the versions of a hook's launchables; of digests, as bin2pod makes them, the first digits."""
    parts = []
    for launchable, version in sorted(by_launchable.items()):
        parts.append(f"{launchable}={abbreviated(version)}" if len(by_launchable) > 1 else abbreviated(version))
    return " ".join(parts)


def document(data: Mapping[str, Any]) -> list[str]:
    """Return ``data`` as the lines of a JSON document."""
    return json.dumps(data, indent=2).splitlines()


def with_differences(
    options: argparse.Namespace, data: dict[str, Any], lines: list[str], differences: list[Difference]
) -> Answer:
    """Return the answer, with the differences for those who ask: they may hold what others should not see."""
    if options.diff:
        data["diff"] = [difference._asdict() for difference in differences]
        lines = [*lines, *(line for difference in differences for line in difference.lines())]
    return Answer(data, lines)
