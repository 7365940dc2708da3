# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Making a host have the hooks that it should have: carrying out what :mod:`.install_plan` has found to do."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from . import disk, exec_links
from .errors import ArtifactError, HookError, LinkTaken
from .events import EVENTS
from .extraction import extract_archive
from .fetch import fetch
from .hook_key import HookKey
from .install_plan import REMOVE, Action, InstallPlan
from .layout import Layout
from .manifest import Launchable, PodManifest
from .pod_home import DIGEST_FILE, PodHome
from .store.base import Store

#: An artifact may not unpack to more than this, in bytes, unless the caller says otherwise.
DEFAULT_MAX_UNPACKED_BYTES = 256 * 1024 * 1024

#: How long to wait for another installation on this host, in seconds.
LOCK_PATIENCE = 300.0


def apply(
    layout: Layout,
    plan: InstallPlan,
    store: Store | None = None,
    *,
    max_unpacked_bytes: int = DEFAULT_MAX_UNPACKED_BYTES,
) -> tuple[list[Action], dict[str, HookError]]:
    """Carry out ``plan``; the caller holds :func:`lock`.

    Args:
        store: where ``store:`` artifacts are read.

    Returns:
        The actions that were carried out, and, by hook, why the others (and what could not be planned) were not.
    """
    done: list[Action] = []
    errors = dict(plan.errors)
    # Removals come first: they free the link names that another hook may be about to take.
    pending = sorted(plan.actions, key=lambda action: action.kind != REMOVE)
    while pending:
        waiting = []
        done_before = len(done)
        for action in pending:
            try:
                _carry_out(layout, action, store, max_unpacked_bytes)
                done.append(action)
                errors.pop(str(action.key), None)
            except HookError as error:
                errors[str(action.key)] = error
                if isinstance(error, LinkTaken):
                    waiting.append(action)
        # An upgrade may since have given the link up.
        pending = waiting if len(done) > done_before else []
    return done, errors


@contextmanager
def lock(layout: Layout) -> Iterator[None]:
    """Create the root where it is missing, and keep every other installation on this host away.

    Raises:
        LayoutError: the root cannot be made, or another installation does not end.
    """
    with disk.errors_as_layout_errors("preparing the hooks' root"):
        for directory in (layout.pods, layout.exec):
            disk.make_directories(directory)
    with disk.locked(layout.lock, LOCK_PATIENCE):
        with disk.errors_as_layout_errors("clearing away what an interrupted removal left"):
            for directory in (layout.pods, *(os.path.join(layout.pods, event) for event in EVENTS)):
                disk.clear_temporaries(directory)
        yield


def _carry_out(layout: Layout, action: Action, store: Store | None, max_bytes: int) -> None:
    home = PodHome(layout, action.key)
    with disk.errors_as_layout_errors(f"doing the {action.kind} of {action.key}"):
        if action.manifest is None:
            _remove(layout, action.key)
            return
        is_new = not os.path.lexists(home.path)
        try:
            _install(layout, action, action.manifest, store, max_bytes)
        except (HookError, OSError):
            if is_new and os.path.isdir(home.path) and home.record() is None:
                home.remove()  # a refused hook leaves nothing behind
            raise


def _install(layout: Layout, action: Action, pod: PodManifest, store: Store | None, max_bytes: int) -> None:
    home = PodHome(layout, action.key)
    home.begin(pod)
    for launchable in pod.launchables:
        if not home.has_artifact(launchable):
            _unpack(home, launchable, store, max_bytes)
    wanted = exec_links.wanted_links(layout, home, pod)
    exec_links.check_names(layout, home, wanted)
    # First, or a run in between would find links to scripts that the new version no longer has.
    exec_links.unlink(layout, action.key, wanted)
    home.switch(pod, action.origin, only_in_rollout=action.only_in_rollout)
    exec_links.link(layout, action.key, wanted)
    home.prune(pod)


def _unpack(home: PodHome, launchable: Launchable, store: Store | None, max_bytes: int) -> None:
    """Bring the artifact of ``launchable`` here; it appears under its name when it is complete and on the disk."""
    installs, name = os.path.split(home.install_dir(launchable))
    work = os.path.join(installs, f"{disk.TEMPORARY_PREFIX}{name}")
    tree = os.path.join(work, "tree")
    archive = os.path.join(work, f"{launchable.install_name}.tar.gz")
    os.mkdir(work, 0o700)
    try:
        os.mkdir(tree, 0o755)
        digest = fetch(launchable, archive, store, max_bytes=max_bytes)
        extract_archive(archive, tree, max_bytes=max_bytes)
        exec_links.check_entry_points(home.key, launchable, tree)
        if os.path.lexists(os.path.join(tree, DIGEST_FILE)):
            raise ArtifactError(f"{name}: the artifact holds a file {DIGEST_FILE}, a name that is ours; rename it")
        disk.write_file(os.path.join(tree, DIGEST_FILE), f"{digest}\n".encode(), 0o644)
        os.chmod(tree, 0o755)
        if os.path.lexists(os.path.join(installs, name)):  # damaged, or it would not be unpacked again
            disk.remove_tree(os.path.join(installs, name))
        os.rename(tree, os.path.join(installs, name))
        disk.sync_directory(installs)
    finally:
        disk.clear_temporaries(installs)


def _remove(layout: Layout, key: HookKey) -> None:
    exec_links.unlink(layout, key, {})
    PodHome(layout, key).remove()
