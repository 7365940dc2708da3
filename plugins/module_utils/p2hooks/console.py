# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the command says and how it ends, in one place for all its sub-commands.

Running hooks goes through here, so this module imports next to nothing.
"""

from __future__ import annotations

import os
import sys

from .errors import HookError, reason_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TextIO

#: What the command ends with; see docs/command.md.
DONE, ERROR, USAGE, REQUIRED_FAILED, PARTLY_INSTALLED = 0, 1, 2, 3, 4
MISCONFIGURED = 78  # EX_CONFIG of sysexits.h
INTERRUPTED = 130

#: So many hexadecimal digits, or more, are a digest, of which so many are shown.
_DIGEST_DIGITS, _SHOWN_DIGITS = 40, 12
_HEX_DIGITS = frozenset("0123456789abcdef")


class UsageError(HookError):
    """The command was not called as its help says."""


class Answer:
    """What a sub-command has to say."""

    __slots__ = ("code", "data", "errors", "lines", "warnings")

    def __init__(
        self,
        data: dict[str, Any],
        lines: list[str],
        *,
        code: int = DONE,
        errors: list[str] | None = None,
        warnings: list[str] | None = None,
    ) -> None:
        """Keep what is to be said.

        Args:
            data: the document that ``--json`` prints.
            lines: the same for people.
            code: the exit code.
            errors: one sentence each, for standard error; none where ``code`` is :data:`DONE`.
            warnings: one sentence each, for standard error.
        """
        self.data = data
        self.lines = lines
        self.code = code
        self.errors = errors or []
        self.warnings = warnings or []


def printable(text: str) -> str:
    """Return ``text`` with what could disturb a terminal escaped: hooks and manifests are not ours."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def abbreviated(version: str) -> str:
    """Return ``version``; of a digest, such as bin2pod makes one, as many digits as tell it from others."""
    is_digest = len(version) >= _DIGEST_DIGITS and _HEX_DIGITS.issuperset(version)
    return version[:_SHOWN_DIGITS] if is_digest else version


def conclude(answer: Callable[[], Answer], *, as_json: bool) -> int:
    """Print what ``answer`` returns, or the error that it raises, and return the exit code."""
    _open_standard_descriptors()
    try:
        said = answer()
    except UsageError as error:
        said = Answer({}, [], code=USAGE, errors=[str(error)])
    except HookError as error:
        said = Answer({}, [], code=ERROR, errors=[str(error)])
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        remedy = "are you root?" if isinstance(error, PermissionError) else "correct that, then run this again"
        said = Answer({}, [], code=ERROR, errors=[f"{where}{reason_of(error)}; {remedy}"])
    complaints = [f"warning: {warning}" for warning in said.warnings] + said.errors
    _write(sys.stderr, [f"p2-hook: {printable(' '.join(text.split()))}" for text in complaints])
    if as_json:
        import json

        error_of = {"error": "; ".join(said.errors)} if said.errors else {}
        said.lines = [json.dumps({**said.data, **error_of}, indent=2)]
    problem = _write(sys.stdout, said.lines)
    if problem:
        _write(sys.stderr, [f"p2-hook: standard output: {problem}; the rest of the answer is lost"])
        return said.code or ERROR
    return said.code


def tell(text: str) -> None:
    """Say on standard error what happens while the answer is not there yet."""
    _write(sys.stderr, [f"p2-hook: {printable(text)}"])


def _write(stream: TextIO | None, lines: list[str]) -> str | None:
    """Write and flush ``lines``; return why that was not possible, None also where nobody wants to read them."""
    if stream is None or not lines:
        return None
    # Not through the stream, whose encoding may not know a character, and which the interpreter flushes once more.
    content = "".join(line + "\n" for line in lines).encode("utf-8", "backslashreplace")
    try:
        while content:
            content = content[os.write(stream.fileno(), content) :]
    except BrokenPipeError:
        return None
    except OSError as error:
        return reason_of(error)
    return None


def _open_standard_descriptors() -> None:
    """Open those of the descriptors 0 to 2 that the caller closed, so that no file of ours, or a hook's, gets them."""
    if sys.stdin is None or sys.stdout is None or sys.stderr is None:
        while os.open("/dev/null", os.O_RDWR) <= 2:
            pass
