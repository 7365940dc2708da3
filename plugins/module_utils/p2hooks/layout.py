# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where things are below the hooks' root; see docs/layout.md.

Running hooks goes through here, so this module imports next to nothing.
"""

from __future__ import annotations

import os

from .errors import LayoutError
from .events import EVENTS

DEFAULT_ROOT = "/data/hooks"
DEFAULT_POD_ROOT = "/data/pods"

#: Where a pod home, an application's or a hook's, has its manifest.
MANIFEST_FILE = "current_manifest.yaml"


class Layout:
    """The paths below one hooks' root.

    Raises:
        LayoutError: something else than a directory has its place.
    """

    def __init__(self, root: str) -> None:
        self.root = os.path.abspath(root)
        if os.path.exists(self.root) and not os.path.isdir(self.root):
            raise LayoutError(f"root {self.root} is no directory; give the directory of all hooks")
        self.pods = os.path.join(self.root, "pods")
        self.exec = os.path.join(self.root, "exec")
        self.lock = os.path.join(self.root, ".lock")

    def pod_home(self, key_parts: tuple[str, ...]) -> str:
        """Return the pod home of the hook with these ``HookKey.parts``."""
        return "/".join((self.pods, *key_parts))

    def exec_dir(self, event: str | None) -> str:
        """Return the directory whose scripts run on ``event``; those of global hooks (None) run on every event."""
        return os.path.join(self.exec, event) if event else self.exec

    def hook_of(self, path: str) -> tuple[tuple[str, ...], str] | None:
        """Return the ``HookKey.parts`` and the launchable that ``path`` belongs to; None if it lies in no pod home."""
        if not path.startswith(self.pods + "/"):
            return None
        parts = path[len(self.pods) + 1 :].split("/")
        key_length = 2 if parts[0] in EVENTS else 1
        if len(parts) <= key_length:
            return None
        return tuple(parts[:key_length]), parts[key_length]


def link_target(link: str) -> str | None:
    """Return the absolute path that ``link`` names, not resolved any further; None if it is no symbolic link."""
    try:
        target = os.readlink(link)
    except OSError:
        return None
    return os.path.normpath(target if target.startswith("/") else f"{link}/../{target}")
