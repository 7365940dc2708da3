# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host that installs hooks from a store, for tests."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import stat
import tarfile
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from p2hooks import install, install_plan, schedule
from p2hooks.errors import HookError
from p2hooks.hook_key import HookKey
from p2hooks.layout import Layout
from p2hooks.manifest import PodManifest, from_mapping
from p2hooks.rollout_record import Cohort, Limits, Rollout
from p2hooks.store import ABSENT, Change
from p2hooks.store.directory import DirectoryStore


def script(words: str) -> str:
    return f"#!/bin/sh\necho {words}\n"


def archive(files: Mapping[str, str], modes: Mapping[str, int] = MappingProxyType({})) -> bytes:
    """Return a ``.tar.gz`` of ``files``, name to content, which are executable unless ``modes`` says otherwise."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.mode = modes.get(name, 0o755)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content.encode()))
    return gzip.compress(stream.getvalue(), mtime=0)


def typed(pod_id: str, event: str = "before_install") -> HookKey:
    return HookKey.of(event, pod_id)


class Host:
    """One root, one store, and the artifacts that its manifests point to, below one directory."""

    def __init__(self, path: Path) -> None:
        self.root = path / "root"
        self.exec = self.root / "exec"
        self.pods = self.root / "pods"
        self.artifacts = path / "artifacts"
        self.artifacts.mkdir(exist_ok=True)
        self.layout = Layout(str(self.root))
        self.store = DirectoryStore(str(path / "store"), create=True)

    def publish(self, name: str, files: str | Mapping[str, str] | bytes) -> dict[str, Any]:
        """Put the artifact ``name``.tar.gz where hosts find it, and return its part of a manifest."""
        if isinstance(files, str):
            files = {"bin/launch": files}
        content = files if isinstance(files, bytes) else archive(files)
        path = self.artifacts / f"{name}.tar.gz"
        path.write_bytes(content)
        digest = hashlib.sha256(content).hexdigest()
        return {"launchable_type": "hoist", "location": f"file://{path}", "sha256": digest}

    def pod(self, pod_id: str, version: str, files: str | Mapping[str, str] | bytes = "", **more: Any) -> PodManifest:
        """Return the manifest of a pod with one launchable, ``main``; ``more`` are keys of the manifest."""
        stanza = self.publish(f"{pod_id}_{version}", files or script(f"{pod_id} {version}"))
        return self.pod_of(pod_id, {"main": stanza}, **more)

    def pod_of(self, pod_id: str, launchables: Mapping[str, Any], **more: Any) -> PodManifest:
        return from_mapping({"id": pod_id, "launchables": dict(launchables), **more}, pod_id)

    def schedule(self, key: HookKey, pod: PodManifest | None) -> None:
        schedule.apply(self.store, schedule.plan(self.store, {key: pod}))

    def roll_out(self, key: HookKey, pod: PodManifest, *nodes: str, percent: float = 0.0) -> None:
        """Let these hosts, and so many of all, have ``pod`` in place of what is scheduled."""
        moment = "2026-01-31T12:00:00.000Z"
        rollout = Rollout(key, pod, Cohort(nodes, percent), Limits(), None, "alice", moment, moment)
        self.put(rollout.store_key, rollout.encode())

    def put(self, store_key: str, value: bytes | None) -> None:
        """Write a key of the store without the checks of scheduling."""
        entry = self.store.get(store_key)
        self.store.commit([Change(store_key, value, entry.index if entry else ABSENT)])

    def reconcile(self, **options: Any) -> tuple[list[str], dict[str, HookError]]:
        """Have what is scheduled; return what was done, such as ``install before_install/a``, and the errors."""
        with install.lock(self.layout):
            return self._apply(install_plan.plan_scheduled(self.layout, self.store, **{"node": "node1", **options}))

    def present(self, key: HookKey, pod: PodManifest) -> tuple[list[str], dict[str, HookError]]:
        with install.lock(self.layout):
            return self._apply(install_plan.plan_present(self.layout, key, pod))

    def absent(self, key: HookKey) -> tuple[list[str], dict[str, HookError]]:
        with install.lock(self.layout):
            return self._apply(install_plan.plan_absent(self.layout, key))

    def hand_back(self, key: HookKey, *, allow_empty: bool = False) -> tuple[list[str], dict[str, HookError]]:
        with install.lock(self.layout):
            plan = install_plan.plan_hand_back(self.layout, self.store, key, node="node1", allow_empty=allow_empty)
            return self._apply(plan)

    def runs(self, event: str | None = "before_install") -> dict[str, str]:
        """Return what would run: the name of each entry, and what it says, or ``dangling``."""
        directory = self.exec / event if event else self.exec
        if not directory.is_dir():
            return {}
        entries = sorted(entry for entry in directory.iterdir() if not entry.is_dir())
        return {entry.name: _says(entry) for entry in entries}

    def tree(self) -> dict[str, tuple[str, str]]:
        """Return kind and mode, and content or target, of everything below the root."""
        return {path: (stat.filemode(status.st_mode), content) for path, status, content in self._walk()}

    def identity(self) -> dict[str, tuple[int, int, int]]:
        """Return what shows that something was written again, even if with the same content."""
        return {path: (status.st_ino, status.st_mtime_ns, status.st_ctime_ns) for path, status, dummy in self._walk()}

    def debris(self) -> list[str]:
        return [path for path in self.tree() if "/.tmp-" in f"/{path}"]

    def _apply(self, plan: install_plan.InstallPlan) -> tuple[list[str], dict[str, HookError]]:
        done, errors = install.apply(self.layout, plan, self.store)
        return [f"{action.kind} {action.key}" for action in done], errors

    def _walk(self) -> list[tuple[str, os.stat_result, str]]:
        found = []
        for path in sorted(self.root.rglob("*")):
            status = path.lstat()
            content = ""
            if path.is_symlink():
                content = os.readlink(path)
            elif path.is_file():
                content = path.read_bytes().decode("utf-8", "backslashreplace")
            found.append((str(path.relative_to(self.root)), status, content))
        return found


def only(errors: dict[str, HookError]) -> str:
    """Return the message of the one error, which must be one line."""
    [error] = errors.values()
    message = str(error)
    assert message.isprintable()
    return message


def _says(entry: Path) -> str:
    if not entry.exists():
        return "dangling"
    if not entry.stat().st_mode & 0o100:
        return "not executable"
    return entry.read_text().rpartition("echo ")[2].strip()
