# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the documents show and link to is there."""

from __future__ import annotations

import re
from pathlib import Path

TOP = Path(__file__).parents[2]


def test_readme_shows_the_examples_that_are_run() -> None:
    readme = (TOP / "README.md").read_text()
    shown = dict(re.findall(r"<!-- (docs/examples/\S+) -->\n```yaml\n(.*?)```", readme, re.DOTALL))
    files = {path.relative_to(TOP).as_posix(): path.read_text() for path in (TOP / "docs/examples").glob("*.yml")}
    assert shown == {name: re.sub(r"^#.*\n", "", text, flags=re.MULTILINE) for name, text in files.items()}


def test_relative_links_of_the_documents_lead_somewhere() -> None:
    for page in [TOP / "README.md", *(TOP / "docs").glob("*.md"), *(TOP / "roles").glob("*/*.md")]:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
