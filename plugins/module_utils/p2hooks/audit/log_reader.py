# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading what has run from the log of JSON lines, and from the files that it was rotated to."""

from __future__ import annotations

import gzip
import os
import re
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, BinaryIO

from ..errors import AuditError, reason_of
from ..files import open_without_waiting
from .json_lines import decode, encode
from .question import Question

#: What logrotate and others append: a number or a date, and perhaps .gz.
_ROTATED = re.compile(r"[.-][0-9][0-9T-]*(\.gz)?")


def rotated(log: str) -> list[str]:
    """Return the files that ``log`` was rotated to, the oldest first."""
    directory, name = os.path.split(os.path.abspath(log))
    try:
        names = os.listdir(directory)
    except (FileNotFoundError, NotADirectoryError):
        return []
    found = {other for other in names if other.startswith(name) and _ROTATED.fullmatch(other[len(name) :])}
    # While a file is being compressed, both are there.
    paths = [os.path.join(directory, other) for other in found if other[: -len(".gz")] not in found]
    return sorted(paths, key=lambda path: (_modified(path), path))


def _modified(path: str) -> float:
    try:
        return os.stat(path).st_mtime
    except OSError:  # it has been removed meanwhile
        return 0.0


def read_log(question: Question, log: str, warnings: list[str]) -> Iterator[dict[str, Any]]:
    """Yield the records of ``log`` and of the files that it was rotated to, the oldest first.

    Args:
        warnings: what is in the way is added here.

    Raises:
        AuditError: one of the files cannot be read.
    """
    # Members of a line as they are written, to pass over most lines quickly.
    needles = [encode({name: value})[1:-2] for name, value in question.equal.items()]
    if question.hook is not None:
        needles.append(encode({"hook": question.hook})[1 : -len('"}\n')])  # an id is only the beginning of the name
    with ExitStack() as stack:
        # The log itself is opened first: if it is rotated meanwhile, it is recognised among the others.
        current = _open([log], stack)
        for path, file in {**_open(rotated(log), stack), **current}.values():
            unreadable = 0
            try:
                for line in stack.enter_context(gzip.open(file)) if path.endswith(".gz") else file:
                    if not all(needle in line for needle in needles):
                        continue
                    record = decode(line)
                    if record is None:
                        unreadable += bool(line.strip())
                    elif question.matches(record):
                        yield record
            except (OSError, EOFError, zlib.error) as error:
                reason = reason_of(error) if isinstance(error, OSError) else str(error)
                warnings.append(f"{path}: {reason}; what follows in it is missing here")
            if unreadable:
                warnings.append(f"{path}: {unreadable} of its lines are no records, or were cut off")


def _open(paths: list[str], stack: ExitStack) -> dict[tuple[int, int], tuple[str, BinaryIO]]:
    """Open those of ``paths`` that exist; return them by device and inode."""
    files = {}
    for path in paths:
        try:
            file: BinaryIO = stack.enter_context(open(path, "rb", opener=open_without_waiting))  # noqa: SIM115
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise AuditError(f"{path}: {reason_of(error)}; the audit cannot be read") from None
        status = os.fstat(file.fileno())
        files[status.st_dev, status.st_ino] = path, file
    return files
