# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the documents show and link to is there."""

from __future__ import annotations

import re
from pathlib import Path

TOP = Path(__file__).parents[2]


def test_documents_show_the_examples_that_are_run() -> None:
    pages = "".join(page.read_text() for page in [TOP / "README.md", *(TOP / "docs").glob("*.md")])
    shown = re.findall(r"<!-- (docs/examples/\S+) -->\n```(?:yaml|shell)\n(.*?)```", pages, re.DOTALL)
    files = [path for path in (TOP / "docs/examples").rglob("*") if path.is_file()]
    assert sorted(shown) == sorted((path.relative_to(TOP).as_posix(), _as_shown(path)) for path in files)


def _as_shown(example: Path) -> str:
    return re.sub(r"^# (Copyright|SPDX).*\n", "", example.read_text(), flags=re.MULTILINE)


def test_relative_links_of_the_documents_lead_somewhere() -> None:
    for page in [TOP / "README.md", *(TOP / "docs").glob("*.md"), *(TOP / "roles").glob("*/*.md")]:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
