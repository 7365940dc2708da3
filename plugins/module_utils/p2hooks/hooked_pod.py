# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The pod on whose behalf an event fires."""

from __future__ import annotations

import hashlib
import os
import tempfile
from contextlib import suppress

from . import strict_yaml
from .errors import HookError, ManifestError, reason_of
from .hook_key import check_id
from .layout import DEFAULT_POD_ROOT
from .manifest import normalised
from .pod_home import MANIFEST_FILE

_UUID_FORM = (8, 4, 4, 4, 12)


class HookedPod:
    """What hooks are told about the pod; for the time of a ``with``, its manifest lies in a file that they can read."""

    def __init__(
        self, pod_id: str, *, home: str | None = None, pod_root: str = DEFAULT_POD_ROOT, manifest: str | None = None
    ) -> None:
        """Describe the pod ``pod_id``.

        Args:
            home: its pod home; the directory called like the pod below ``pod_root``, where it is None.
            pod_root: the directory of all pod homes on this host.
            manifest: the manifest that the event is about, as YAML; the one in the pod home, where it is None.

        Raises:
            ManifestError: the id breaks a rule, or the given manifest is unreadable or another pod's.
        """
        self.id = check_id(pod_id, "the id of the pod")
        self.home = os.path.abspath(home or os.path.join(pod_root, pod_id))
        self.unique_key = _unique_key(self.home)
        self._root = os.path.abspath(pod_root)
        self._manifest = manifest
        self._data = _load(manifest, "pod_manifest", self.id) if manifest is not None else {}
        if manifest is None:
            self._load_installed()
        self._file: str | None = None
        #: Why the manifest could not be handed to the hooks, if so.
        self.warning: str | None = None

    @property
    def variables(self) -> dict[str, str]:
        """The variables of the environment that describe the pod."""
        config_dir = os.path.join(self.home, "config")
        config = ""
        if self._data:
            config = os.path.join(config_dir, f"{self.id}_{hashlib.sha256(normalised(self._data)).hexdigest()}.yaml")
        return {
            "HOOKED_POD_ID": self.id,
            "HOOKED_POD_HOME": self.home,
            "HOOKED_POD_MANIFEST": self._file or "",
            "HOOKED_CONFIG_PATH": config,
            "HOOKED_ENV_PATH": os.path.join(self.home, "env"),
            "HOOKED_CONFIG_DIR_PATH": config_dir,
            "HOOKED_SYSTEM_POD_ROOT": self._root,
            "HOOKED_POD_UNIQUE_KEY": self.unique_key,
            "HOOKED_POD_READ_ONLY": "true" if self._data.get("readonly") is True else "false",
            "POD_ID": self.id,
            "POD_HOME": self.home,
        }

    def __enter__(self) -> HookedPod:
        if self._manifest is None:
            return self
        try:
            descriptor, self._file = tempfile.mkstemp(prefix="hooked-pod-manifest-", suffix=".yaml")
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(self._manifest)
        except OSError as error:  # a full disk is no reason to stop a deploy
            self.warning = (
                f"{tempfile.gettempdir()}: {reason_of(error)}; the hooks did not get the manifest of {self.id}"
            )
            self.__exit__()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._file is not None:
            with suppress(OSError):  # a hook may have removed it
                os.unlink(self._file)
            self._file = None

    def _load_installed(self) -> None:
        # What another deployment system wrote there is its own business: hooks run with or without it.
        try:
            # The application owns this file, so it may be a pipe, or have no end.
            descriptor = os.open(os.path.join(self.home, MANIFEST_FILE), os.O_RDONLY | os.O_NONBLOCK)
            with open(descriptor, "rb") as file:
                content = file.read(strict_yaml.MAX_BYTES + 1) or b""
            self._data = _load(content.decode("utf-8", "replace"), MANIFEST_FILE, self.id)
            self._manifest = content.decode("utf-8", "replace")
        except (OSError, HookError):
            return


def _load(text: str, source: str, pod_id: str) -> dict[str, object]:
    data = strict_yaml.load(text, source)
    if not isinstance(data, dict):
        raise ManifestError(f"{source}: must be a mapping, as every pod manifest is")
    if data.get("id") != pod_id:
        raise ManifestError(f"{source}: is not the manifest of the pod {pod_id}; its id must be that")
    return data


def _unique_key(home: str) -> str:
    """Return the UUID that the pod home's name ends in, or an empty string, as for most pods."""
    candidate = os.path.basename(home)[-36:]
    parts = candidate.split("-")
    is_uuid = tuple(map(len, parts)) == _UUID_FORM and all(c in "0123456789abcdefABCDEF" for c in "".join(parts))
    return candidate if is_uuid else ""
