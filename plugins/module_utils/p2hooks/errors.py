# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Everything that can go wrong for a reason outside this code.

::

    HookError
      ManifestError         a pod manifest, an id or an event breaks a rule
      ArtifactError         an artifact is missing, damaged, unsafe or too large
      LayoutError           what is on disk is in the way, or cannot be read or written
        LinkTaken             another hook, or something that people put there, has the name of a link
      StoreError            the store answered with something unusable
        StoreUnavailable      no answer: refused, timed out, no leader, or a file that it takes to ask is not there
        StoreDenied           the token is unknown or lacks a right
        StoreConflict         somebody else changed a key since it was read
      ConfigurationError    the configuration file cannot be read or trusted, or a line of it is wrong
      HookRefused           a hook is unsafe or cannot be executed, so it is skipped
      AuditError            the audit cannot be read or changed
      RolloutError          a rollout cannot be steered like that, or did not do well

A message is one line that says where, what, and what to do. The faces (modules, the command) show it as it is.
"""

from __future__ import annotations


class HookError(Exception):
    """The root of the tree; its text is shown to users as it is."""


class ManifestError(HookError):
    """A pod manifest, an id or an event breaks a rule."""


class ArtifactError(HookError):
    """An artifact is missing, damaged, unsafe or too large."""


class LayoutError(HookError):
    """What is on disk is in the way, or cannot be read or written."""


class LinkTaken(LayoutError):
    """Another hook, or something that people put there, has the name of a link."""


class StoreError(HookError):
    """The store answered with something unusable."""


class StoreUnavailable(StoreError):
    """The store gave no answer (refused, timed out, no leader), or a file that it takes to ask cannot be read."""


class StoreDenied(StoreError):
    """The store does not know the token, or the token lacks a right."""


class StoreConflict(StoreError):
    """Somebody else changed a key between our read and our write; nothing of the transaction was written."""


class ConfigurationError(HookError):
    """The configuration file cannot be read or trusted, or a line of it is wrong."""


class HookRefused(HookError):
    """A hook could have been changed by another user, or is nothing that can be executed."""


class AuditError(HookError):
    """The audit cannot be read or changed; a run that cannot write it has a warning instead."""


class RolloutError(HookError):
    """A rollout cannot be steered like that as it stands, or did not do well."""


def shown(value: object, limit: int = 80) -> str:
    """Return ``value`` quoted for a message: on one line, control characters escaped, at most ``limit`` characters."""
    text = value if isinstance(value, str) else str(value)
    if len(text) > limit:
        text = text[: limit - 3] + "..."
    return repr(text)


def reason_of(error: OSError) -> str:
    """Return the system's own words for ``error``, such as ``No space left on device``."""
    return error.strerror or str(error)
