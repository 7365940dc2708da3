# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What can be the id of a pod or a launchable.

Running hooks goes through here, so this module imports next to nothing.
"""

from __future__ import annotations

from .errors import ManifestError, shown

_LETTERS_AND_DIGITS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789")
_ALLOWED = _LETTERS_AND_DIGITS | frozenset("._-")
_MAX_LENGTH = 63


def check_id(value: object, what: str) -> str:
    """Return ``value`` if it can be the id of a pod or a launchable: it becomes a file name and part of a key.

    Args:
        what: names the value in the message, such as ``id of the pod``.

    Raises:
        ManifestError: it is no string, or breaks the rule.
    """
    if not isinstance(value, str):
        raise ManifestError(f"{what} is {shown(value)}, a {type(value).__name__}; it must be a string, so quote it")
    if (
        not 0 < len(value) <= _MAX_LENGTH
        or value[0] not in _LETTERS_AND_DIGITS
        or not _ALLOWED.issuperset(value)
        or ".." in value
    ):
        raise ManifestError(
            f"{what} is {shown(value)}; use at most {_MAX_LENGTH} letters, digits, '.', '_' and '-', "
            "beginning with a letter or digit, without '..'"
        )
    return value
