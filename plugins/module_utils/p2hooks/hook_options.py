# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the options ``event``, ``id`` and ``manifest``, which all faces take, stand for."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from . import manifest
from .errors import ManifestError, reason_of, shown
from .files import read_file
from .hook_key import HookKey

#: What ends like this is the path of a manifest, and no id.
_MANIFEST_SUFFIXES = (".yaml", ".yml", ".json")

#: How scripts and programs begin.
_EXECUTABLE = (b"#!", b"\x7fELF")


def yaml_of(option: Any, name: str) -> tuple[bytes, str]:
    """Return the YAML that an option holds, as text or as the path of a file on this host, and what messages call it.

    Args:
        name: the option's.

    Raises:
        ManifestError: it is neither, or the file cannot be read.
    """
    if not isinstance(option, str) or not option.strip() or "\0" in option:
        raise ManifestError(f"{name} must be a mapping, the path of a file, or YAML of several lines")
    if "\n" in option:
        return option.encode("utf-8", "surrogateescape"), name
    path = os.path.abspath(os.path.expanduser(option))
    try:
        content = read_file(path)
    except OSError as error:
        raise ManifestError(
            f"{path}: {reason_of(error)}; give the path of a manifest on the host where this runs"
        ) from None
    if content is None:
        raise ManifestError(f"{path}: is missing; build it with bin2pod on the host where this runs, or copy it there")
    return content, path


def read_manifest(option: Any) -> manifest.PodManifest:
    """Return the pod manifest that an option holds: as a mapping, or as :func:`yaml_of` reads it.

    Raises:
        ManifestError: it is none of these, the file cannot be read, or the manifest is not valid.
    """
    if isinstance(option, Mapping):
        called = shown(option.get("id", "a hook")).strip("'")
        return manifest.from_mapping(option, f"the manifest of {called}")
    content, source = yaml_of(option, "manifest")
    if content.startswith(_EXECUTABLE):
        raise ManifestError(f"{source}: is an executable; build it with bin2pod, and give the manifest of that")
    return manifest.parse(content, source)


def hook_of(options: Mapping[str, Any]) -> tuple[HookKey, manifest.PodManifest | None]:
    """Return the hook that ``event``, ``id`` and ``manifest`` name, and its manifest where there is one.

    Raises:
        ManifestError: neither id nor manifest is given, they contradict each other, or one of them is not valid.
    """
    pod = read_manifest(options["manifest"]) if options["manifest"] is not None else None
    pod_id = options["id"] or (pod.id if pod else None)
    if pod_id is None:
        raise ManifestError("a hook has neither id nor manifest; give one of them")
    key = HookKey.of(options["event"], pod_id)
    if pod and pod.id != pod_id:
        raise ManifestError(f"{key}: the manifest has the id {pod.id}; give the same id, or none")
    return key, pod


def hook_named(
    event: str | None, name: str, *, is_manifest: bool = False
) -> tuple[HookKey, manifest.PodManifest | None]:
    """Return the hook that ``name``, an id or the path of a manifest, stands for, and its manifest where there is one.

    Args:
        is_manifest: it is a path, whatever it looks like.

    Raises:
        ManifestError: it is neither, the file cannot be read, or the manifest is not valid.
    """
    is_manifest = is_manifest or "/" in name or name.endswith(_MANIFEST_SUFFIXES)
    return hook_of({"event": event, "id": None if is_manifest else name, "manifest": name if is_manifest else None})
