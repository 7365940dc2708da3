# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Installing, upgrading and removing, disturbed at every change to the disk.

A child process makes the changes. Before the n-th of them it is killed, or the change fails, for every n that there is.
After each, the hooks are looked at from outside, and another run has to put everything right.
"""

from __future__ import annotations

import errno
import gzip
import hashlib
import io
import itertools
import os
import shutil
import signal
import stat
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from p2hooks import disk, install, install_plan, install_record, schedule
from p2hooks.errors import HookError
from p2hooks.hook_key import HookKey
from p2hooks.layout import Layout
from p2hooks.manifest import PodManifest, from_mapping
from p2hooks.pod_home import PodHome
from p2hooks.store.directory import DirectoryStore

EVENT = "before_install"
HOOK = HookKey.of(EVENT, "hook")
OTHER = HookKey.of(EVENT, "other")

#: Launchable and version to the files of the artifact.
ARTIFACTS = {
    ("main", "0"): {"bin/launch/10-kept": "main 0"},
    ("main", "1"): {"bin/launch/10-kept": "main 1", "bin/launch/20-old": "main 1"},
    ("main", "2"): {"bin/launch/10-kept": "main 2", "bin/launch/30-new": "main 2", "lib/words": "two"},
    ("side", "0"): {"bin/launch": "side 0"},
    ("side", "1"): {"bin/launch": "side 1"},
    ("side", "2"): {"bin/launch": "side 2"},
    ("gone", "1"): {"bin/launch": "gone 1"},
    ("other", "1"): {"bin/launch": "other 1"},
}
#: The launchables of each version of the hook.
LAUNCHABLES = {"0": ("main", "side"), "1": ("main", "side", "gone"), "2": ("main", "side")}
KEPT = {"hook_main_10-kept", "hook_side_launch"}
LINKS = {
    "other_other_launch": {"other 1"},
    "hook_main_10-kept": {"main 1", "main 2"},
    "hook_main_20-old": {"main 1"},
    "hook_main_30-new": {"main 2"},
    "hook_side_launch": {"side 1", "side 2"},
    "hook_gone_launch": {"gone 1"},
}

#: What a kill or a full disk can come before, as audit events; a kill after it is one before the next.
_CREATING = {"os.mkdir", "os.symlink", "os.link", "os.rename", "os.truncate"}
_CHANGING = _CREATING | {"os.remove", "os.rmdir", "os.chmod", "os.chown"}

Fault = Callable[[int, bool], None]


class Ground:
    """A store, and one root that is put back to where a scenario starts before each disturbance."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.root = path / "root"
        self.layout = Layout(str(self.root))
        self.store = DirectoryStore(str(path / "store"), create=True)
        self.pods = {version: self._pod(HOOK.id, version, LAUNCHABLES[version]) for version in LAUNCHABLES}
        other = self._pod(OTHER.id, "1", ("other",))
        self.schedule(OTHER, other)

    def schedule(self, key: HookKey, pod: PodManifest | None) -> None:
        schedule.apply(self.store, schedule.plan(self.store, {key: pod}))

    def reconcile(self) -> dict[str, HookError]:
        with install.lock(self.layout):
            plan = install_plan.plan_scheduled(self.layout, self.store, node="node1")
            return install.apply(self.layout, plan, self.store)[1]

    def start_from(self, *versions: str) -> None:
        """Have these versions of the hook installed one after the other, and remember that state."""
        for version in versions:
            self.schedule(HOOK, self.pods[version])
            self.reconcile()
        self.reconcile()
        shutil.copytree(self.root, self.path / "start", symlinks=True)

    def reset(self) -> None:
        shutil.rmtree(self.root, ignore_errors=True)
        shutil.copytree(self.path / "start", self.root, symlinks=True)

    def tree(self, path: Path | None = None) -> dict[str, tuple[str, bytes]]:
        """Return mode, and content or target, of everything below ``path``, by default the root."""
        path = path or self.root
        return {str(entry.relative_to(path)): _state(entry) for entry in path.rglob("*")}

    def _pod(self, pod_id: str, version: str, launchables: tuple[str, ...]) -> PodManifest:
        stanzas = {}
        for launchable in launchables:
            location = self.path / f"{launchable}_{version}.tar.gz"
            content = _archive(ARTIFACTS[launchable, version])
            location.write_bytes(content)
            stanzas[launchable] = {
                "launchable_type": "hoist",
                "location": f"file://{location}",
                "sha256": hashlib.sha256(content).hexdigest(),
                "env": {"VERSION": version, f"ONLY_{version}": "x"},
            }
        return from_mapping({"id": pod_id, "launchables": stanzas, "config": {"version": version}}, pod_id)


def _archive(files: dict[str, str]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.mode = 0o755
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content.encode()))
    return gzip.compress(stream.getvalue(), mtime=0)


def _state(path: Path) -> tuple[str, bytes]:
    mode = stat.filemode(path.lstat().st_mode)
    if path.is_symlink():
        return mode, os.fsencode(os.readlink(path))
    return mode, path.read_bytes() if path.is_file() else b""


@pytest.fixture
def ground(monkeypatch: pytest.MonkeyPatch) -> Iterator[Ground]:
    # Who is killed loses nothing that it has handed to the kernel: neither syncing nor a real disk would add anything.
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=memory) as path:
        yield Ground(Path(path))


@pytest.fixture(params=["first install", "upgrade", "removal"])
def scenario(request: pytest.FixtureRequest, ground: Ground) -> str:
    name: str = request.param
    begin(ground, name)
    return name


def begin(ground: Ground, scenario: str) -> None:
    if scenario == "first install":
        ground.start_from()
        ground.schedule(HOOK, ground.pods["2"])
    elif scenario == "upgrade":
        ground.start_from("0", "1")
        ground.schedule(HOOK, ground.pods["2"])
    else:
        ground.start_from("0", "1")
        ground.schedule(HOOK, None)


def undisturbed(ground: Ground) -> dict[str, tuple[str, bytes]]:
    ground.reset()
    assert ground.reconcile() == {}
    return ground.tree()


def killed_at(n: int) -> Fault:
    def fault(count: int, dummy: bool) -> None:
        if count == n:
            os.kill(os.getpid(), signal.SIGKILL)

    return fault


def failing_at(n: int) -> Fault:
    def fault(count: int, dummy: bool) -> None:
        if count == n:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    return fault


def full_from(n: int) -> Fault:
    def fault(count: int, creating: bool) -> None:
        if count >= n and creating:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    return fault


def changes_of(ground: Ground, fault: Fault) -> tuple[int, list[str] | None]:
    """Reconcile in a child with ``fault``; return the number of changes it came to, and its errors, None if killed."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _be_the_child(ground, fault, writing)
    os.close(writing)
    with open(reading, encoding="utf-8") as file:
        count, *messages = file.read().split("\0")
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status):
        return 0, None
    return int(count), messages


def _be_the_child(ground: Ground, fault: Fault, writing: int) -> None:
    count = 0

    def audit(event: str, args: tuple[Any, ...]) -> None:
        nonlocal count
        opening = event == "open" and isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        if opening or event in _CHANGING:
            count += 1
            fault(count, bool(opening) or event in _CREATING)

    sys.addaudithook(audit)
    try:
        messages = [str(error) for error in ground.reconcile().values()]
    except HookError as error:
        messages = [str(error)]
    except BaseException as error:  # noqa: BLE001 # the test tells of it
        messages = [f"not one of our errors: {error!r}"]
    os.write(writing, "\0".join([str(count), *messages]).encode())
    os._exit(0)


def broken(ground: Ground, scenario: str) -> list[str]:
    """Return what a run of the hooks would now find wrong."""
    problems = []
    directory = ground.root / "exec" / EVENT
    home = ground.root / "pods" / EVENT / HOOK.id
    current = {name: os.path.basename(os.readlink(home / name / "current")) for name in _with_current(home)}
    for name, install_name in current.items():
        launchable, dummy, version = install_name.partition("_")
        installed = ground.tree(home / name / "installs" / install_name)
        found = {path: content.decode() for path, (mode, content) in installed.items() if mode == "-rwxr-xr-x"}
        if (launchable, version) not in ARTIFACTS or found != ARTIFACTS[launchable, version]:
            problems.append(f"{name}: current is {install_name}, which holds {found}")
    links = {path.name: path for path in directory.iterdir() if not path.name.startswith(".")}
    for name, link in links.items():
        if link.exists():
            mode, content = _state(link.resolve())
            if mode != "-rwxr-xr-x" or content.decode() not in LINKS[name]:
                problems.append(f"{name}: runs {content!r} with mode {mode}")
        # A script that the new version lacks has a dangling link until that is removed; runs pass over it.
        elif not (scenario == "upgrade" and name == "hook_main_20-old" and current.get("main") == "main_2"):
            problems.append(f"{name}: dangles")
    wanted = {"other_other_launch"} | (KEPT if scenario == "upgrade" else set())
    problems += [f"{name}: is missing" for name in wanted - links.keys()]
    record = install_record.read(str(home))
    if record and record.manifest_sha == ground.pods["2"].sha and not {"main_2", "side_2"} <= set(current.values()):
        problems.append(f"the record is ahead of {current}")
    return problems


def _with_current(home: Path) -> Iterator[str]:
    if home.is_dir():
        for path in home.iterdir():
            if (path / "current").is_symlink() and not path.name.startswith("."):
                yield path.name


def not_recovered(ground: Ground, wanted: dict[str, tuple[str, bytes]]) -> list[str]:
    """Run again without a disturbance, and return what is then not as if there had been none."""
    problems = [str(error) for error in ground.reconcile().values()]
    tree = ground.tree()
    problems += [
        f"differs: {path}" for path in sorted(wanted.keys() | tree.keys()) if wanted.get(path) != tree.get(path)
    ]
    if install_plan.plan_scheduled(ground.layout, ground.store, node="node1").actions:
        problems.append("there is still something to do")
    return problems


def disturbances(ground: Ground, make_fault: Callable[[int], Fault]) -> Iterator[tuple[int, list[str] | None]]:
    """Disturb a run at each of its changes in turn; yield the change's number and the errors."""
    ground.reset()
    total, dummy = changes_of(ground, lambda count, creating: None)
    assert total > 20
    for n in range(1, total + 1):
        ground.reset()
        yield n, changes_of(ground, make_fault(n))[1]


def test_a_kill_at_any_change_leaves_the_old_or_the_new_state(ground: Ground, scenario: str) -> None:
    wanted = undisturbed(ground)
    found = {}
    for n, messages in disturbances(ground, killed_at):
        assert messages is None, "the child was not killed"
        problems = broken(ground, scenario) + not_recovered(ground, wanted)
        if problems:
            found[n] = problems
    assert found == {}


@pytest.mark.parametrize("make_fault", [failing_at, full_from])
def test_a_change_that_fails_is_an_error_in_one_line_and_leaves_the_old_or_the_new_state(
    ground: Ground, scenario: str, make_fault: Callable[[int], Fault]
) -> None:
    wanted = undisturbed(ground)
    found = {}
    for n, messages in disturbances(ground, make_fault):
        assert messages is not None, "the child was killed"
        problems = [message for message in messages if not message.isprintable() or "not one of our" in message]
        if not messages and ground.tree() != wanted:
            problems.append("no error was reported")
        problems += broken(ground, scenario) + not_recovered(ground, wanted)
        if problems:
            found[n] = problems
    assert found == {}


def test_a_sync_that_fails_is_an_error_in_one_line_and_leaves_the_old_or_the_new_state(
    ground: Ground, scenario: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = undisturbed(ground)
    found = {}
    for n in itertools.count(1):
        syncs = itertools.count(1)

        def failing(descriptor: int, syncs: Iterator[int] = syncs, n: int = n) -> None:
            if next(syncs) == n:
                raise OSError(errno.EIO, os.strerror(errno.EIO))

        ground.reset()
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", failing)
            messages = [str(error) for error in ground.reconcile().values()]
        if not messages:
            break
        problems = [message for message in messages if not message.isprintable()]
        problems += broken(ground, scenario) + not_recovered(ground, wanted)
        if problems:
            found[n] = problems
    assert next(syncs) == n
    assert found == {}


def test_a_kill_amid_the_recovery_from_a_kill_changes_nothing_about_that(ground: Ground) -> None:
    begin(ground, "upgrade")
    wanted = undisturbed(ground)
    found = {}
    for first in range(3, 90, 7):
        for second in range(2, 40, 9):
            ground.reset()
            changes_of(ground, killed_at(first))
            changes_of(ground, killed_at(second))
            problems = broken(ground, "upgrade") + not_recovered(ground, wanted)
            if problems:
                found[first, second] = problems
    assert found == {}


def _unlink_first(link: str, target: str) -> None:
    if os.path.lexists(link):
        os.unlink(link)
    os.symlink(target, link)


def test_this_would_notice_a_link_that_is_missing_for_a_moment(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    begin(ground, "upgrade")
    monkeypatch.setattr(disk, "write_link", _unlink_first)
    assert any(broken(ground, "upgrade") for dummy in disturbances(ground, killed_at))


def _begin_without_clearing(home: PodHome, pod: PodManifest) -> None:
    for launchable in pod.launchables:
        disk.make_directories(os.path.dirname(home.install_dir(launchable)))


def test_this_would_notice_what_nobody_clears_away(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    begin(ground, "upgrade")
    wanted = undisturbed(ground)
    monkeypatch.setattr(PodHome, "begin", _begin_without_clearing)
    assert any(not_recovered(ground, wanted) for dummy in disturbances(ground, killed_at))
