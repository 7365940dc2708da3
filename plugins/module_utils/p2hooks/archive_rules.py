# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What may be in an artifact; the writer and the reader keep the same rules, so what we build can be installed."""

from __future__ import annotations

import unicodedata

from .errors import ArtifactError, shown

#: Files, directories and links in one artifact, with the directories that no member names.
MAX_ENTRIES = 20_000
MAX_DEPTH = 32
#: NAME_MAX and PATH_MAX (without its NUL) of Linux, in bytes.
MAX_COMPONENT_BYTES = 255
MAX_PATH_BYTES = 4095

_CONTROL_CATEGORIES = frozenset(("Cc", "Cf", "Zl", "Zp"))


def refused_member(name: str, what: str, remedy: str = "build the artifact without it") -> ArtifactError:
    """Return the error for the member ``name``, saying what is wrong with it and what to do; not yet which archive."""
    return ArtifactError(f"member {shown(name)}: {what}; {remedy}")


def check_text(member: str, text: str, what: str) -> None:
    """Check the length and the characters of a path.

    Args:
        member: names the member in the message.
        text: the path.
        what: names ``text`` in the message, such as ``its link target``.

    Raises:
        ArtifactError: it is empty, too long, not UTF-8, or holds control characters.
    """
    if not text:
        raise refused_member(member, f"{what} is empty")
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise refused_member(member, f"{what} is not UTF-8", "rename it") from None
    if size > MAX_PATH_BYTES:
        raise refused_member(member, f"{what} is longer than {MAX_PATH_BYTES} bytes", "use a shorter one")
    if not _CONTROL_CATEGORIES.isdisjoint(map(unicodedata.category, text)):
        raise refused_member(member, f"{what} holds control characters", "rename it")


def member_path(name: str, member: str | None = None) -> str:
    """Return the normal form of a member's name: relative, without a leading ``./`` or a trailing ``/``.

    Args:
        name: as the archive has it.
        member: names the member in the message where that is another one, as for the target of a hard link.

    Returns:
        the path, or the empty string for the top of the archive.

    Raises:
        ArtifactError: the name leads out of the archive, or is no safe file name.
    """
    member = name if member is None else member
    what = "its name" if member == name else "its link target"
    check_text(member, name, what)
    if name.startswith("/"):
        raise refused_member(member, f"{what} is absolute and leads out of the archive")
    components = name.split("/")
    if components[0] == ".":
        del components[0]
    if components and not components[-1]:
        del components[-1]
    if len(components) > MAX_DEPTH:
        raise refused_member(member, f"{what} is nested more than {MAX_DEPTH} directories deep", "use fewer")
    for component in components:
        if component == "..":
            raise refused_member(member, f"{what} has '..' in it and leads out of the archive")
        if component in ("", "."):
            raise refused_member(member, f"{what} has an empty component or '.' in it", "build the artifact again")
        if component.startswith("-"):
            raise refused_member(member, f"{what} has a component that begins with '-'", "rename it")
        if len(component.encode()) > MAX_COMPONENT_BYTES:
            raise refused_member(member, f"{what} has a component of over {MAX_COMPONENT_BYTES} bytes", "shorten it")
    return "/".join(components)


def folded(path: str) -> str:
    """Return what ``path`` has in common with the paths that differ from it only by case or Unicode normal form."""
    if path.isascii():
        return path.lower()
    return unicodedata.normalize("NFD", path.casefold())
