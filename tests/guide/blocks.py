# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Prints the code blocks of a page, so that a test can do what the page tells its reader.

Usage: ``blocks.py json PAGE`` for a list of them, ``blocks.py script PAGE`` for a script that does all of it.

A block of the language ``shell`` is run. A comment in the line before a block says what else is to be done with it:

- ``<!-- file: PATH -->``: it is the content of that file;
- ``<!-- fails -->``: it is run, and fails;
- ``<!-- another terminal -->``: it is run beside the next block, until that one has ended.

Blocks of the language ``text`` are for the reader alone. No other block may be without a comment.
"""

from __future__ import annotations

import json
import re
import shlex
import sys
from pathlib import Path
from typing import Any

_PART = re.compile(
    r"^#+ (?P<heading>[^\n]*)$|^(?:<!-- (?P<comment>[^\n]*) -->\n)?```(?P<language>\w*)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


def blocks(page: str) -> list[dict[str, Any]]:
    """Return the blocks of a page in Markdown.

    Each has ``heading``, ``line`` (the number of its first line), ``text``, ``file`` (a path, or nothing), ``fails``
    and ``beside`` (whether it is for another terminal).

    Raises:
        ValueError: a block is not run, and nothing says what it is.
    """
    found = []
    heading = ""
    for part in _PART.finditer(page):
        if part["heading"] is not None:
            heading = part["heading"]
            continue
        comment = part["comment"] or ""
        line = page.count("\n", 0, part.start("text")) + 1
        if part["language"] == "text" and not comment:
            continue
        is_file = comment.startswith("file: ")
        if not is_file and (part["language"] != "shell" or comment not in ("", "fails", "another terminal")):
            raise ValueError(f"line {line}: a test would not know what this block is")
        found.append(
            {
                "heading": heading,
                "line": line,
                "text": part["text"],
                "file": comment.removeprefix("file: ") if is_file else "",
                "fails": comment == "fails",
                "beside": comment == "another terminal",
            }
        )
    return found


def script(page: str) -> str:
    """Return a script for bash that does in one go what a page in Markdown says.

    Raises:
        ValueError: as ``blocks``, or a block is for another terminal.
    """
    parts = ["set -euo pipefail\n"]
    for block in blocks(page):
        if block["beside"]:
            raise ValueError(f"line {block['line']}: a script has no other terminal")
        if block["file"]:
            parts.append(f"cat >{shlex.quote(block['file'])} <<'END OF FILE'\n{block['text']}END OF FILE\n")
        elif block["fails"]:
            parts.append(f"if\n{block['text']}then echo 'line {block['line']} has not failed'; exit 1; fi\n")
        else:
            parts.append(block["text"])
    return "".join(parts)


if __name__ == "__main__":
    form, path = sys.argv[1:]
    text = Path(path).read_text(encoding="utf-8")
    sys.stdout.write(script(text) if form == "script" else json.dumps(blocks(text)))
