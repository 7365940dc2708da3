# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
from pathlib import Path

import pytest
from p2hooks import exec_links
from p2hooks.errors import ArtifactError, LayoutError
from p2hooks.hook_key import HookKey
from p2hooks.layout import Layout, link_target
from p2hooks.manifest import PodManifest, from_mapping
from p2hooks.pod_home import PodHome

A = HookKey.of("before_install", "a")


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(str(tmp_path))


@pytest.fixture
def exec_dir(layout: Layout) -> Path:
    path = Path(layout.exec_dir(A.event))
    path.mkdir(parents=True)
    return path


def manifest(*entry_points: str, launchable: str = "main", pod_id: str = "a") -> PodManifest:
    stanza = {
        "launchable_type": "hoist",
        "location": "file:///x_1.tar.gz",
        "entry_points": list(entry_points) or ["bin/launch"],
    }
    return from_mapping({"id": pod_id, "launchables": {launchable: stanza}}, "test")


def unpacked(layout: Layout, pod: PodManifest, *files: str, key: HookKey = A) -> PodHome:
    home = PodHome(layout, key)
    for file in files:
        path = Path(home.install_dir(pod.launchables[0])) / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("#!/bin/sh\n")
    return home


def test_targets_are_relative_and_lead_through_current(layout: Layout) -> None:
    pod = manifest()
    assert exec_links.wanted_links(layout, unpacked(layout, pod, "bin/launch"), pod) == {
        "a_main_launch": "../../pods/before_install/a/main/current/bin/launch"
    }


def test_targets_of_global_hooks_lie_one_level_higher(layout: Layout) -> None:
    pod, key = manifest(), HookKey.of(None, "a")
    assert exec_links.wanted_links(layout, unpacked(layout, pod, "bin/launch", key=key), pod) == {
        "a_main_launch": "../pods/a/main/current/bin/launch"
    }


def test_hidden_files_and_directories_are_no_scripts(layout: Layout) -> None:
    pod = manifest("bin/launch", "one")
    home = unpacked(layout, pod, "bin/launch/x", "bin/launch/.y", "bin/launch/lib/z", "one", "two")
    assert list(exec_links.wanted_links(layout, home, pod)) == ["a_main_x", "a_main_one"]


@pytest.mark.parametrize("files", [(), ("bin/other",), ("bin/launch/.hidden",), ("bin/launch/lib/x",)])
def test_an_entry_point_without_a_script_is_refused(layout: Layout, files: tuple[str, ...]) -> None:
    pod = manifest()
    home = unpacked(layout, pod, *files)
    with pytest.raises(
        ArtifactError, match=r"^before_install/a: launchable main: the artifact has no script at bin/la"
    ):
        exec_links.wanted_links(layout, home, pod)
    with pytest.raises(ArtifactError, match="no script at bin/launch"):
        exec_links.check_entry_points(A, pod.launchables[0], home.install_dir(pod.launchables[0]))


def test_two_scripts_of_one_hook_may_not_share_a_name(layout: Layout) -> None:
    pod = manifest("x", "y")
    with pytest.raises(ArtifactError, match=r"current/x/run and .*current/y/run would both be linked as a_main_run"):
        exec_links.wanted_links(layout, unpacked(layout, pod, "x/run", "y/run"), pod)


def test_linking_twice_makes_the_links_once(layout: Layout, exec_dir: Path) -> None:
    wanted = {"a_main_x": "../../pods/before_install/a/main/current/bin/launch/x"}
    exec_links.link(layout, A, wanted)
    before = (exec_dir / "a_main_x").lstat()
    exec_links.link(layout, A, wanted)
    assert (exec_dir / "a_main_x").lstat().st_ino == before.st_ino
    assert os.listdir(exec_dir) == ["a_main_x"]


def test_whose_a_link_is_follows_from_where_it_points(layout: Layout, exec_dir: Path) -> None:
    mine = "../../pods/before_install/a/main/current/bin/launch"
    links = {
        "a_main_launch": mine,
        "absolute": f"{layout.pods}/before_install/a/main/current/x",
        "roundabout": "../../exec/../pods/./before_install/a/main/x",
        "a_main_of_b": "../../pods/before_install/b/main/current/bin/launch",
        "a_main_of_another_event": "../../pods/after_launch/a/main/current/bin/launch",
        "a_main_global": "../../pods/a/main/current/bin/launch",
        "a_main_home_only": "../../pods/before_install/a",
        "a_main_pods_evil": "../../pods-evil/before_install/a/main/x",
        "a_main_elsewhere": "/bin/true",
        "a_main_loop": "a_main_loop",
    }
    for name, target in links.items():
        (exec_dir / name).symlink_to(target)
    (exec_dir / "a_main_file").write_text("")
    home = layout.pod_home(A.parts)
    ours = exec_links.links_by_home(layout, A.event)[home]
    assert ours == {name: links[name] for name in ("a_main_launch", "absolute", "roundabout")}

    exec_links.unlink(layout, A, {"a_main_launch": mine})
    assert set(os.listdir(exec_dir)) == set(links) - {"absolute", "roundabout"} | {"a_main_file"}
    exec_links.unlink(layout, A, {})
    assert set(os.listdir(exec_dir)) == set(links) - set(ours) | {"a_main_file"}


def test_unlinking_clears_away_what_a_crash_left(layout: Layout, exec_dir: Path) -> None:
    (exec_dir / ".tmp-a_main_x-1").symlink_to("../../pods/before_install/a/main/current/bin/launch/x")
    exec_links.unlink(layout, A, {})
    assert os.listdir(exec_dir) == []


def test_unlinking_where_there_is_no_directory_does_nothing(layout: Layout) -> None:
    exec_links.unlink(layout, A, {})
    assert not os.path.exists(layout.exec)


def test_names_that_are_free_or_ours_can_be_taken(layout: Layout, exec_dir: Path) -> None:
    (exec_dir / "ours").symlink_to("../../pods/before_install/a/old/current/bin/launch")
    exec_links.check_names(layout, PodHome(layout, A), {"ours": "", "free": ""})


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (
            "../../pods/before_install/b/main/x",
            r"taken, which is a script of the hook before_install/b already; rename",
        ),
        ("../../pods/b/main/x", r"taken, which is a script of the hook b already; rename"),
        ("/nowhere", r"/exec/before_install/taken exists and is not ours; rename it, or rename the hook"),
        ("../../pods/before_install/b", r"exists and is not ours"),
        (None, r"exists and is not ours"),
    ],
)
def test_names_of_others_cannot_be_taken(layout: Layout, exec_dir: Path, target: str | None, message: str) -> None:
    taken = exec_dir / "taken"
    taken.write_text("") if target is None else taken.symlink_to(target)
    with pytest.raises(LayoutError, match=rf"^before_install/a: .*{message}"):
        exec_links.check_names(layout, PodHome(layout, A), {"taken": ""})


@pytest.mark.parametrize(
    ("path", "owner"),
    [
        ("pods/before_install/a/main/current/bin/launch", (("before_install", "a"), "main")),
        ("pods/a/main/current", (("a",), "main")),
        ("pods/before_install/a", None),
        ("pods/before_install", None),
        ("pods/a", None),
        ("pods", None),
        ("podsx/a/main/x", None),
        ("exec/a/main/x", None),
    ],
)
def test_a_path_tells_its_hook(layout: Layout, path: str, owner: object) -> None:
    assert layout.hook_of(f"{layout.root}/{path}") == owner


def test_the_target_of_a_link_is_not_resolved_any_further(tmp_path: Path) -> None:
    (tmp_path / "current").symlink_to("nowhere")
    (tmp_path / "link").symlink_to("x/../current/y")
    (tmp_path / "file").write_text("")
    assert link_target(str(tmp_path / "link")) == f"{tmp_path}/current/y"
    assert link_target(str(tmp_path / "file")) is None
    assert link_target(str(tmp_path / "missing")) is None
