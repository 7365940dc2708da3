# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The pod home of one hook: the same directory that p2 makes for an application, described in docs/layout.md."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator

from . import disk, envdir, install_record, strict_yaml
from .errors import ArtifactError, shown
from .files import read_file
from .hook_key import HookKey
from .install_record import InstallRecord
from .layout import MANIFEST_FILE, Layout
from .manifest import Launchable, PodManifest

#: Inside an installed artifact: the SHA-256 of the archive that it came from.
DIGEST_FILE = ".artifact-sha256"

# Manifests, config and env may hold secrets; hooks run as the user that owns these files.
_PRIVATE = 0o600


def scripts_at(tree: str, entry_point: str) -> list[str]:
    """Return the paths inside ``tree``, an unpacked artifact, of the scripts at ``entry_point``."""
    path = os.path.join(tree, entry_point)
    if not os.path.isdir(path):
        return [entry_point] if os.path.isfile(path) else []
    names = [name for name in disk.listdir(path) if os.path.isfile(os.path.join(path, name))]
    return [f"{entry_point}/{name}" for name in names if not name.startswith(".")]


def is_executable(tree: str, script: str) -> bool:
    """Tell whether ``script``, a file inside ``tree``, may be executed by its owner."""
    return bool(os.stat(os.path.join(tree, script)).st_mode & stat.S_IXUSR)


class PodHome:
    """One hook's pod home; whoever changes it holds the layout's lock."""

    def __init__(self, layout: Layout, key: HookKey) -> None:
        self.key = key
        self.path = layout.pod_home(key.parts)

    def record(self) -> InstallRecord | None:
        """Return what is installed here, None where nothing is."""
        return install_record.read(self.path)

    def manifest_text(self) -> str:
        """Return the installed manifest, an empty string where there is none."""
        return (read_file(os.path.join(self.path, MANIFEST_FILE)) or b"").decode("utf-8", "replace")

    def install_dir(self, launchable: Launchable) -> str:
        """Return the directory of this version of ``launchable``."""
        return os.path.join(self.path, launchable.id, "installs", launchable.install_name)

    def has_artifact(self, launchable: Launchable) -> bool:
        """Tell whether this version of ``launchable`` is unpacked here, with scripts at its entry points that can run.

        Raises:
            ArtifactError: it is, but from an archive with another digest than the manifest now gives.
        """
        digest = read_file(os.path.join(self.install_dir(launchable), DIGEST_FILE))
        if digest is None:
            return False
        found = digest.decode("utf-8", "replace").strip()
        if launchable.sha256 not in (None, found):
            raise ArtifactError(
                f"{self.key}: launchable {launchable.id}: {launchable.install_name} is installed from an artifact with "
                f"another digest ({shown(found)}); an artifact may not change under its version, "
                "so give the new one a new version"
            )
        tree = self.install_dir(launchable)
        by_entry_point = [scripts_at(tree, entry_point) for entry_point in launchable.entry_points]
        return all(scripts and all(is_executable(tree, script) for script in scripts) for scripts in by_entry_point)

    def is_return(self, manifest: PodManifest) -> bool:
        """Tell whether ``manifest`` puts back what was current before, for some launchable, and nothing that is new."""
        links = [(each.id, self._install_link(each)) for each in manifest.launchables]
        others = [(name, link) for name, link in links if link != self._current(name)]
        return bool(others) and all(link == self._current(name, "last") for name, link in others)

    def difference(self, manifest: PodManifest, origin: str, *, only_in_rollout: bool = False) -> str | None:
        """Return what here is not what ``manifest`` from ``origin`` asks for, the first such thing; None if all is.

        Raises:
            ArtifactError: an artifact is unpacked here, but another one than the manifest names.
        """
        for launchable in manifest.launchables:
            if not self.has_artifact(launchable):
                return f"the artifact of {launchable.id} is not unpacked, not all of it, or not executable"
            if self._current(launchable.id) != self._install_link(launchable):
                return f"{launchable.id}/current does not lead to {self._install_link(launchable)}"
        files = {**self._files(manifest), self._record_path: self._record(manifest, origin, only_in_rollout).encode()}
        for path, content in files.items():
            if read_file(path) != content:
                return f"{os.path.relpath(path, self.path)} is missing, or was changed"
        stray = next(self._strays(manifest), None)
        return None if stray is None else f"{os.path.relpath(stray, self.path)} does not belong there"

    def begin(self, manifest: PodManifest) -> None:
        """Make the directories that unpacking needs, and clear away what a crash left half made."""
        homes = [os.path.join(self.path, launchable.id) for launchable in manifest.launchables]
        for home in homes:
            disk.make_directories(os.path.join(home, "installs"))
        for home in (self.path, *homes):
            for directory in (home, *(os.path.join(home, name) for name in ("config", "env", "installs"))):
                disk.clear_temporaries(directory)

    def switch(self, manifest: PodManifest, origin: str, *, only_in_rollout: bool = False) -> None:
        """Make the unpacked artifacts of ``manifest`` the current ones.

        The files come first, then the switch of ``current``, which is one rename for each launchable, and last the
        record that says so. After a crash anywhere in between the same call completes the work. Until then hooks have
        the variables of before, and the files that those name are still there.
        """
        files = self._files(manifest)
        disk.write_files({path: files[path] for path in files if read_file(path) != files[path]}, _PRIVATE)
        for launchable in manifest.launchables:
            self._make_current(launchable)
        record = self._record(manifest, origin, only_in_rollout)
        disk.write_file(self._record_path, record.encode(), _PRIVATE)

    def prune(self, manifest: PodManifest) -> None:
        """Remove what ``manifest`` no longer needs: all installs but the current and the last one among it."""
        for path in list(self._strays(manifest)):
            if os.path.isdir(path) and not os.path.islink(path):
                disk.remove_tree(path)
            else:
                os.unlink(path)

    def remove(self) -> None:
        """Remove the pod home."""
        disk.remove_tree(self.path)

    @property
    def _record_path(self) -> str:
        return os.path.join(self.path, install_record.FILE_NAME)

    def _record(self, manifest: PodManifest, origin: str, only_in_rollout: bool) -> InstallRecord:
        return InstallRecord(
            origin,
            manifest.sha,
            {launchable.id: launchable.version or "" for launchable in manifest.launchables},
            manifest.term_after,
            manifest.kill_after,
            self._env(manifest),
            {launchable.id: self._launchable_env(launchable) for launchable in manifest.launchables},
            only_in_rollout=only_in_rollout,
        )

    def _config_paths(self, manifest: PodManifest) -> tuple[str, str]:
        stem = os.path.join(self.path, "config", f"{manifest.id}_{manifest.sha}")
        return f"{stem}.yaml", f"{stem}.platform.yaml"

    def _env(self, manifest: PodManifest) -> dict[str, str]:
        config, platform_config = self._config_paths(manifest)
        return {
            "CONFIG_PATH": config,
            "PLATFORM_CONFIG_PATH": platform_config,
            "POD_HOME": self.path,
            "POD_ID": manifest.id,
            "POD_UNIQUE_KEY": "",
        }

    def _launchable_env(self, launchable: Launchable) -> dict[str, str]:
        return {
            **launchable.env,
            "LAUNCHABLE_ID": launchable.id,
            "LAUNCHABLE_ROOT": os.path.join(self.path, launchable.id, "current"),
            "RESTART_TIMEOUT": str(launchable.restart_timeout),
        }

    def _files(self, manifest: PodManifest) -> dict[str, bytes]:
        """Return path to content of every file but the record that ``manifest`` stands for."""
        config, platform_config = self._config_paths(manifest)
        cgroups = {launchable.id: {"cgroup": dict(launchable.cgroup)} for launchable in manifest.launchables}
        files = {
            config: strict_yaml.dump(dict(manifest.config)).encode(),
            platform_config: strict_yaml.dump(cgroups).encode(),
            os.path.join(self.path, MANIFEST_FILE): manifest.text.encode(),
        }
        directories = {os.path.join(self.path, "env"): self._env(manifest)}
        for launchable in manifest.launchables:
            directories[os.path.join(self.path, launchable.id, "env")] = self._launchable_env(launchable)
        for directory, variables in directories.items():
            for name, value in variables.items():
                files[os.path.join(directory, name)] = envdir.encode(value)
        return files

    def _strays(self, manifest: PodManifest) -> Iterator[str]:
        """Yield what lies here and does not belong to ``manifest``."""
        files = self._files(manifest)
        launchables = {launchable.id for launchable in manifest.launchables}
        for directory in {os.path.dirname(path) for path in files} - {self.path}:
            for name in disk.listdir(directory):
                if os.path.join(directory, name) not in files:
                    yield os.path.join(directory, name)
        for name in disk.listdir(self.path):
            is_launchable = os.path.isdir(os.path.join(self.path, name, "installs"))
            if name.startswith(disk.TEMPORARY_PREFIX) or (is_launchable and name not in launchables):
                yield os.path.join(self.path, name)
        for launchable_id in launchables:
            for name in disk.listdir(os.path.join(self.path, launchable_id)):
                if name.startswith(disk.TEMPORARY_PREFIX):
                    yield os.path.join(self.path, launchable_id, name)
            kept = {self._current(launchable_id), self._current(launchable_id, "last")}
            for name in disk.listdir(os.path.join(self.path, launchable_id, "installs")):
                if f"installs/{name}" not in kept:
                    yield os.path.join(self.path, launchable_id, "installs", name)

    def _current(self, launchable_id: str, link: str = "current") -> str | None:
        try:
            return os.readlink(os.path.join(self.path, launchable_id, link))
        except OSError:
            return None

    def _install_link(self, launchable: Launchable) -> str:
        return f"installs/{launchable.install_name}"

    def _make_current(self, launchable: Launchable) -> None:
        before, after = self._current(launchable.id), self._install_link(launchable)
        if before == after:
            return
        directory = os.path.join(self.path, launchable.id)
        if before is not None:
            disk.write_link(os.path.join(directory, "last"), before)
        disk.write_link(os.path.join(directory, "current"), after)
