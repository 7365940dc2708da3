# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The links below ``exec/`` through which an installed hook's scripts run.

Whose a link is follows from where it points, never from its name; everything else in these directories was put there
by people and is left alone.
"""

from __future__ import annotations

import os

from . import disk
from .errors import ArtifactError, LinkTaken, shown
from .events import EVENTS
from .hook_key import HookKey
from .layout import Layout, link_target
from .manifest import Launchable, PodManifest
from .pod_home import PodHome, is_executable, scripts_at

# File systems allow 255; the rest is for the temporary name.
_MAX_NAME_BYTES = 240


def wanted_links(layout: Layout, home: PodHome, manifest: PodManifest) -> dict[str, str]:
    """Return link name to relative target for the scripts of ``manifest``, whose artifacts are unpacked in ``home``.

    Raises:
        ArtifactError: an artifact lacks an entry point, or a script would get a link name that it cannot have.
    """
    links: dict[str, str] = {}
    exec_dir = layout.exec_dir(home.key.event)
    for launchable in manifest.launchables:
        for script in _scripts(home.key, launchable, home.install_dir(launchable)):
            name = f"{manifest.id}_{launchable.id}_{os.path.basename(script)}"
            if len(os.fsencode(name)) > _MAX_NAME_BYTES:
                raise ArtifactError(
                    f"{home.key}: the script {shown(script)} would be linked under a name of more than "
                    f"{_MAX_NAME_BYTES} bytes; shorten the script's name"
                )
            if home.key.event is None and name in EVENTS:
                raise ArtifactError(
                    f"{home.key}: the script {shown(script)} would be linked as {name}, the name of an event; "
                    "rename the script"
                )
            target = os.path.relpath(os.path.join(home.path, launchable.id, "current", script), exec_dir)
            if links.setdefault(name, target) != target:
                raise ArtifactError(
                    f"{home.key}: {links[name]} and {target} would both be linked as {name}; rename one of them"
                )
    return links


def check_entry_points(key: HookKey, launchable: Launchable, tree: str) -> None:
    """Make sure that ``tree``, an unpacked artifact, has the scripts that ``launchable`` names, and they can run.

    Raises:
        ArtifactError: it lacks an entry point, or a script there is not executable.
    """
    for script in _scripts(key, launchable, tree):
        if not is_executable(tree, script):
            raise ArtifactError(
                f"{key}: launchable {launchable.id}: {shown(script)} is not executable in the artifact; "
                "chmod +x it, and build the artifact anew"
            )


def links_by_home(layout: Layout, event: str | None) -> dict[str, dict[str, str]]:
    """Return, for every pod home that has links in the directory of ``event``, link name to target as it is on disk."""
    exec_dir = layout.exec_dir(event)
    found: dict[str, dict[str, str]] = {}
    for name in disk.listdir(exec_dir):
        link = os.path.join(exec_dir, name)
        target = link_target(link)
        owner = target and layout.hook_of(target)
        if owner:
            found.setdefault(layout.pod_home(owner[0]), {})[name] = os.readlink(link)
    return found


def check_names(layout: Layout, home: PodHome, wanted: dict[str, str]) -> None:
    """Make sure that the names of ``wanted`` are free, or already belong to ``home``.

    Raises:
        LinkTaken: another hook, or something that people put there, has one of the names.
    """
    exec_dir = layout.exec_dir(home.key.event)
    for name in wanted:
        link = os.path.join(exec_dir, name)
        if not os.path.lexists(link):
            continue
        target = link_target(link)
        owner = target and layout.hook_of(target)
        if not owner:
            raise LinkTaken(f"{home.key}: {link} exists and is not ours; rename it, or rename the hook")
        if layout.pod_home(owner[0]) != home.path:
            raise LinkTaken(
                f"{home.key}: would be linked as {name}, which is a script of the hook {'/'.join(owner[0])} already; "
                "rename one of the two hooks or its launchable"
            )


def link(layout: Layout, key: HookKey, wanted: dict[str, str]) -> None:
    """Make the links ``wanted`` (name to target)."""
    exec_dir = layout.exec_dir(key.event)
    disk.make_directories(exec_dir)
    _clear_half_made(exec_dir)
    for name, target in wanted.items():
        path = os.path.join(exec_dir, name)
        if not os.path.islink(path) or os.readlink(path) != target:
            disk.write_link(path, target)


def unlink(layout: Layout, key: HookKey, wanted: dict[str, str]) -> None:
    """Remove the links of the hook ``key`` that are not in ``wanted``, and what a crash left half made."""
    exec_dir = layout.exec_dir(key.event)
    if not os.path.isdir(exec_dir):
        return
    _clear_half_made(exec_dir)
    for name in links_by_home(layout, key.event).get(layout.pod_home(key.parts), {}):
        if name not in wanted:
            os.unlink(os.path.join(exec_dir, name))
    disk.sync_directory(exec_dir)


def _clear_half_made(exec_dir: str) -> None:
    """Remove the links that a crash left under a temporary name; what people put there is never one of these."""
    for name in disk.listdir(exec_dir):
        path = os.path.join(exec_dir, name)
        if name.startswith(disk.TEMPORARY_PREFIX) and os.path.islink(path):
            os.unlink(path)


def _scripts(key: HookKey, launchable: Launchable, tree: str) -> list[str]:
    """Return the paths inside ``tree``, an unpacked artifact, of the scripts at the entry points of ``launchable``."""
    scripts: list[str] = []
    for entry_point in launchable.entry_points:
        found = scripts_at(tree, entry_point)
        if not found:
            raise ArtifactError(
                f"{key}: launchable {launchable.id}: the artifact has no script at {entry_point}, its entry point; "
                "build it with bin2pod, or set entry_points"
            )
        scripts += found
    return scripts
