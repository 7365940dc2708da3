# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The pod on whose behalf an event fires.

Running hooks goes through here, so YAML and the rest of what a manifest needs is imported only where there is one.
"""

from __future__ import annotations

import os
from stat import S_ISREG

from .errors import HookError, ManifestError, reason_of
from .ids import check_id
from .layout import DEFAULT_POD_ROOT, MANIFEST_FILE

_UUID_FORM = (8, 4, 4, 4, 12)


class HookedPod:
    """What hooks are told about the pod."""

    def __init__(
        self, pod_id: str, *, home: str | None = None, pod_root: str = DEFAULT_POD_ROOT, manifest: bytes | None = None
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
        #: The manifest as YAML; None where it is not known.
        self.manifest = manifest
        self._data: dict[str, object] = {}
        if manifest is None:
            self._load_installed()
        else:
            self._data = self._read(manifest, "pod_manifest")

    @property
    def variables(self) -> dict[str, str]:
        """The variables of the environment that describe the pod, but for that which names a :class:`ManifestFile`."""
        config_dir = os.path.join(self.home, "config")
        config = ""
        if self._data:
            from .manifest_sha import sha_of

            config = os.path.join(config_dir, f"{self.id}_{sha_of(self._data)}.yaml")
        return {
            "HOOKED_POD_ID": self.id,
            "HOOKED_POD_HOME": self.home,
            "HOOKED_CONFIG_PATH": config,
            "HOOKED_ENV_PATH": os.path.join(self.home, "env"),
            "HOOKED_CONFIG_DIR_PATH": config_dir,
            "HOOKED_SYSTEM_POD_ROOT": self._root,
            "HOOKED_POD_UNIQUE_KEY": self.unique_key,
            "HOOKED_POD_READ_ONLY": "true" if self._data.get("readonly") is True else "false",
            "POD_ID": self.id,
            "POD_HOME": self.home,
        }

    def _load_installed(self) -> None:
        # The application owns this file. It may be a link, a pipe, or have no end, or be another deployment system's:
        # hooks run with or without it.
        try:
            descriptor = os.open(os.path.join(self.home, MANIFEST_FILE), os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
            from .strict_yaml import MAX_BYTES

            with open(descriptor, "rb") as file:
                content = file.read(MAX_BYTES + 1) if S_ISREG(os.fstat(descriptor).st_mode) else b""
            self._data = self._read(content, MANIFEST_FILE)
            self.manifest = content
        except (OSError, HookError):
            return

    def _read(self, content: bytes, source: str) -> dict[str, object]:
        from . import strict_yaml

        data = strict_yaml.load(content, source)
        if not isinstance(data, dict):
            raise ManifestError(f"{source}: must be a mapping, as every pod manifest is")
        if data.get("id") != self.id:
            raise ManifestError(f"{source}: is not the manifest of the pod {self.id}; its id must be that")
        return data


class ManifestFile:
    """The manifest of a hooked pod in a file that the hooks of a run can read, for as long as any of them goes on."""

    def __init__(self, pod: HookedPod, run_id: str) -> None:
        self._pod = pod
        #: Where the hooks find it; None where they do not.
        self.path: str | None = None
        if pod.manifest is not None:
            # Not by tempfile, which would fall back to the working directory.
            self.path = os.path.join(os.environ.get("TMPDIR") or "/tmp", f"hooked-pod-manifest-{run_id}.yaml")  # noqa: S108

    def write(self) -> list[str]:
        """Write the file, if there is a manifest; return a warning where that fails."""
        path = self.path
        if path is None or self._pod.manifest is None:
            return []
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
            try:
                with open(descriptor, "wb") as file:
                    file.write(self._pod.manifest)
            except OSError:
                self.remove()
                raise
        except OSError as error:  # a full disk is no reason to stop a deploy
            self.path = None
            return [f"{path}: {reason_of(error)}; the hooks did not get the manifest of {self._pod.id}"]
        return []

    def remove(self) -> None:
        """Remove the file, if it is there."""
        if self.path is not None:
            try:  # noqa: SIM105 (contextlib is not on the way of running hooks)
                os.unlink(self.path)
            except OSError:  # a hook may have removed it
                pass


def _unique_key(home: str) -> str:
    """Return the UUID that the pod home's name ends in, or an empty string, as for most pods."""
    candidate = os.path.basename(home)[-36:]
    parts = candidate.split("-")
    is_uuid = tuple(map(len, parts)) == _UUID_FORM and all(c in "0123456789abcdefABCDEF" for c in "".join(parts))
    return candidate if is_uuid else ""
