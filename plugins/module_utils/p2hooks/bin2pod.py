# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From an executable to a pod: the artifact and the manifest of a hook."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from . import disk
from .archive import write_archive
from .errors import ArtifactError, reason_of
from .files import read_file
from .ids import check_id
from .manifest import PodManifest, from_mapping

#: So many hexadecimal digits of the artifact's SHA-256 are its version, which is the form that p2 expects.
_VERSION_DIGITS = 40


@dataclass(frozen=True)
class BuiltPod:
    """An artifact and a manifest; the names are those that ``p2-bin2pod`` prints."""

    tar_path: str
    manifest_path: str
    #: Where hosts will fetch the artifact.
    final_location: str
    sha256: str
    manifest: PodManifest
    #: The manifest that was at ``manifest_path`` before; empty where there was none.
    manifest_before: str
    changed: bool


def build(
    executable: str,
    work_dir: str,
    *,
    pod_id: str | None = None,
    launchable_id: str | None = None,
    location: str | None = None,
    env: Mapping[str, Any] | None = None,
    config: Mapping[str, Any] | None = None,
    run_as: str | None = None,
    check: bool = False,
) -> BuiltPod:
    """Build the pod of ``executable``, a file or a directory of files; the same input gives the same bytes.

    Args:
        work_dir: where the artifact and the manifest go; it is created.
        pod_id: the base name of ``executable``, where it is None.
        launchable_id: the pod's id, where it is None.
        location: where hosts will fetch the artifact, ``{}`` standing for its file name; where it is built, if None.
        check: write nothing, but say what would be written.

    Raises:
        ArtifactError: there is no executable there.
        ManifestError: what was given makes no valid manifest.
        LayoutError: ``work_dir`` cannot be written.
    """
    executable, work_dir = os.path.abspath(executable), os.path.abspath(work_dir)
    default_id = os.path.basename(executable)
    pod_id = check_id(pod_id or default_id, "the id of the pod (the executable's name, unless id is given)")
    if work_dir == executable:
        raise ArtifactError(f"{work_dir}: holds the scripts, and cannot be the work_dir too; name another directory")
    with tempfile.TemporaryFile() as archive:
        sha256 = write_archive(_scripts(executable), archive)
        name = f"{pod_id}_{sha256[:_VERSION_DIGITS]}.tar.gz"
        tar_path = os.path.join(work_dir, name)
        final_location = location.replace("{}", name) if location else f"file://{quote(os.fsencode(tar_path))}"
        manifest = _manifest(pod_id, launchable_id or pod_id, final_location, sha256, env, config, run_as)
        manifest_path = os.path.join(work_dir, f"{pod_id}.yaml")
        with disk.errors_as_layout_errors(f"building {pod_id}"):
            manifest_before = (read_file(manifest_path) or b"").decode("utf-8", "replace")
            has_artifact = _has(tar_path, sha256)
            if not check and not has_artifact:
                disk.make_directories(work_dir)
                archive.seek(0)
                disk.write_file(tar_path, archive.read(), 0o644)
            if not check and manifest_before != manifest.text:
                disk.write_file(manifest_path, manifest.text.encode(), 0o644)
    changed = not has_artifact or manifest_before != manifest.text
    return BuiltPod(tar_path, manifest_path, final_location, sha256, manifest, manifest_before, changed)


def _scripts(executable: str) -> list[tuple[str, str]]:
    """Return the name in the artifact, and the path on disk, of every script."""
    try:
        if not os.path.isdir(executable):
            return [("bin/launch", _checked_script(executable))]
        names = [name for name in sorted(os.listdir(executable)) if not name.startswith(".")]
    except OSError as error:
        raise ArtifactError(
            f"{executable}: {reason_of(error)}; give an executable file or a directory of them"
        ) from None
    if not names:
        raise ArtifactError(f"{executable}: holds no file; give a directory of executable files")
    return [(f"bin/launch/{name}", _checked_script(os.path.join(executable, name))) for name in names]


def _checked_script(path: str) -> str:
    try:
        status = os.stat(path)
    except OSError as error:
        raise ArtifactError(f"{path}: {reason_of(error)}; give an executable file or a directory of them") from None
    if not os.path.isfile(path):
        raise ArtifactError(f"{path}: is no regular file; a hook's scripts lie side by side in one directory")
    if not status.st_mode & 0o100:
        raise ArtifactError(f"{path}: is not executable by its owner; chmod u+x it")
    if status.st_size == 0:
        raise ArtifactError(f"{path}: is empty; write the hook first")
    return path


def _manifest(
    pod_id: str,
    launchable_id: str,
    location: str,
    sha256: str,
    env: Mapping[str, Any] | None,
    config: Mapping[str, Any] | None,
    run_as: str | None,
) -> PodManifest:
    launchable: dict[str, Any] = {"launchable_type": "hoist", "location": location, "sha256": sha256}
    if env:
        launchable["env"] = env
    data: dict[str, Any] = {"id": pod_id, "launchables": {launchable_id: launchable}}
    if run_as:
        data["run_as"] = run_as
    if config:
        data["config"] = config
    return from_mapping(data, pod_id)


def _has(path: str, sha256: str) -> bool:
    content = read_file(path)
    return content is not None and hashlib.sha256(content).hexdigest() == sha256
