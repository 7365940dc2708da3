# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import hashlib
import os
import re
import tarfile
from pathlib import Path
from typing import Any

import pytest
from p2hooks import bin2pod
from p2hooks.bin2pod import BuiltPod
from p2hooks.errors import ArtifactError, LayoutError, ManifestError
from p2hooks.manifest import parse


def script(path: Path, text: str = "#!/bin/sh\n", mode: int = 0o755) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return path


@pytest.fixture
def executable(tmp_path: Path) -> Path:
    return script(tmp_path / "ensure_user")


@pytest.fixture
def work_dir(tmp_path: Path) -> Path:
    return tmp_path / "work/deep"


def build(executable: Path, work_dir: Path, **options: Any) -> BuiltPod:
    return bin2pod.build(str(executable), str(work_dir), **options)


def members(pod: BuiltPod) -> dict[str, int]:
    with tarfile.open(pod.tar_path) as archive:
        return {member.name: member.mode for member in archive if member.isfile()}


def test_a_file_becomes_a_pod(executable: Path, work_dir: Path) -> None:
    pod = build(executable, work_dir)
    content = Path(pod.tar_path).read_bytes()
    assert pod.changed
    assert pod.sha256 == hashlib.sha256(content).hexdigest()
    assert pod.tar_path == f"{work_dir}/ensure_user_{pod.sha256[:40]}.tar.gz"
    assert pod.final_location == f"file://{pod.tar_path}"
    assert pod.manifest_path == f"{work_dir}/ensure_user.yaml"
    assert pod.manifest_before == ""
    assert members(pod) == {"bin/launch": 0o755}

    manifest = parse(Path(pod.manifest_path).read_bytes(), "file")
    (launchable,) = manifest.launchables
    assert manifest.sha == pod.manifest.sha
    assert (manifest.id, launchable.id) == ("ensure_user", "ensure_user")
    assert (launchable.location, launchable.sha256) == (pod.final_location, pod.sha256)
    assert launchable.version == pod.sha256[:40]


def test_a_directory_becomes_a_pod_with_a_script_for_each_file(tmp_path: Path, work_dir: Path) -> None:
    for name in ("20-groups", "10-users", ".swp"):
        script(tmp_path / "users" / name)
    pod = build(tmp_path / "users/", work_dir)
    assert pod.manifest.id == "users"
    assert members(pod) == {"bin/launch/10-users": 0o755, "bin/launch/20-groups": 0o755}


def test_what_is_written_can_be_read_by_others_whatever_the_umask(executable: Path, work_dir: Path) -> None:
    umask = os.umask(0o077)
    try:
        pod = build(executable, work_dir)
    finally:
        os.umask(umask)
    for path in (pod.tar_path, pod.manifest_path):
        assert os.stat(path).st_mode & 0o777 == 0o644
    assert work_dir.stat().st_mode & 0o777 == 0o755


def test_options_are_in_the_manifest(executable: Path, work_dir: Path) -> None:
    pod = build(
        executable,
        work_dir,
        pod_id="users",
        launchable_id="main",
        location="https://artifacts.example.com/hooks/{}?v=1",
        env={"SHELL_OF_USERS": "/bin/bash", "COUNT": 3},
        config={"groups": ["no", "010"]},
        run_as="root",
    )
    manifest = parse(Path(pod.manifest_path).read_bytes(), "file")
    (launchable,) = manifest.launchables
    name = f"users_{pod.sha256[:40]}.tar.gz"
    assert Path(pod.tar_path).name == name
    assert (manifest.id, launchable.id) == ("users", "main")
    assert launchable.location == pod.final_location == f"https://artifacts.example.com/hooks/{name}?v=1"
    assert launchable.env == {"SHELL_OF_USERS": "/bin/bash", "COUNT": "3"}
    assert manifest.config == {"groups": ["no", "010"]}
    assert manifest.data["run_as"] == "root"


def tree(path: Path) -> dict[str, tuple[bytes, int]]:
    return {
        str(file.relative_to(path)): (file.read_bytes(), file.stat().st_mtime_ns)
        for file in path.rglob("*")
        if file.is_file()
    }


def test_the_second_build_changes_nothing(executable: Path, work_dir: Path) -> None:
    first = build(executable, work_dir, config={"b": 1, "a": 2})
    before = tree(work_dir)
    executable.touch()
    os.utime(executable, (1, 1))
    executable.chmod(0o700)
    second = build(executable, work_dir, config={"b": 1, "a": 2})
    assert not second.changed
    assert tree(work_dir) == before
    assert second.manifest_before == second.manifest.text == first.manifest.text


def test_another_script_is_another_version(executable: Path, work_dir: Path) -> None:
    first = build(executable, work_dir)
    script(executable, "#!/bin/sh\nexit 1\n")
    second = build(executable, work_dir)
    assert second.changed
    assert second.manifest_before == first.manifest.text
    assert second.tar_path != first.tar_path
    assert Path(first.tar_path).exists()
    assert second.manifest.sha != first.manifest.sha


def test_other_options_change_the_manifest_only(executable: Path, work_dir: Path) -> None:
    first = build(executable, work_dir)
    second = build(executable, work_dir, env={"A": "b"})
    assert second.changed
    assert second.tar_path == first.tar_path
    assert parse(Path(second.manifest_path).read_bytes(), "file").launchables[0].env == {"A": "b"}


@pytest.mark.parametrize("damage", [b"", b"other", None])
def test_a_damaged_artifact_or_manifest_is_repaired(executable: Path, work_dir: Path, damage: bytes | None) -> None:
    pod = build(executable, work_dir)
    before = {name: content for name, (content, dummy) in tree(work_dir).items()}
    for path in (pod.tar_path, pod.manifest_path):
        if damage is None:
            os.unlink(path)
        else:
            Path(path).write_bytes(damage)
        assert build(executable, work_dir).changed
        assert {name: content for name, (content, dummy) in tree(work_dir).items()} == before


def test_check_writes_nothing_and_says_what_would_be(executable: Path, work_dir: Path) -> None:
    foreseen = build(executable, work_dir, check=True)
    assert foreseen.changed
    assert not work_dir.parent.exists()
    built = build(executable, work_dir)
    assert built == foreseen
    assert not build(executable, work_dir, check=True).changed

    before = tree(work_dir)
    script(executable, "#!/bin/sh\nexit 1\n")
    assert build(executable, work_dir, check=True).changed
    assert tree(work_dir) == before


def test_the_default_location_is_a_url_whatever_the_directory_is_called(executable: Path, tmp_path: Path) -> None:
    work_dir = tmp_path / "my hooks?#%41é"
    pod = build(executable, work_dir)
    assert pod.final_location == f"file://{tmp_path}/my%20hooks%3F%23%2541%C3%A9/{Path(pod.tar_path).name}"
    assert Path(pod.tar_path).parent == work_dir


def test_paths_may_be_relative(executable: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    pod = bin2pod.build("ensure_user", "built")
    assert pod.tar_path.startswith(f"{tmp_path}/built/ensure_user_")


def refusal(error: type[Exception], executable: Path, work_dir: Path, **options: Any) -> str:
    with pytest.raises(error) as caught:
        build(executable, work_dir, **options)
    assert not work_dir.parent.exists()
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("mode", [0o644, 0o645, 0o654])  # 0o645 is what the chmod o+x of p2's own example gives
def test_a_file_that_its_owner_may_not_execute(tmp_path: Path, work_dir: Path, mode: int) -> None:
    path = script(tmp_path / "hook", mode=mode)
    assert refusal(ArtifactError, path, work_dir) == f"{path}: is not executable by its owner; chmod u+x it"


def test_an_empty_file(tmp_path: Path, work_dir: Path) -> None:
    path = script(tmp_path / "hook", "")
    assert refusal(ArtifactError, path, work_dir) == f"{path}: is empty; write the hook first"


def test_a_missing_file(tmp_path: Path, work_dir: Path) -> None:
    message = refusal(ArtifactError, tmp_path / "hook", work_dir)
    assert message.startswith(f"{tmp_path}/hook: No such file or directory; give an executable file")


def test_a_link_to_nothing_in_a_directory(tmp_path: Path, work_dir: Path) -> None:
    (tmp_path / "hooks").mkdir()
    (tmp_path / "hooks/a").symlink_to("nowhere")
    assert refusal(ArtifactError, tmp_path / "hooks", work_dir).startswith(f"{tmp_path}/hooks/a: No such file")


def test_an_empty_directory(tmp_path: Path, work_dir: Path) -> None:
    (tmp_path / "hooks").mkdir()
    (tmp_path / "hooks/.keep").touch()
    assert "holds no file; give a directory of executable files" in refusal(ArtifactError, tmp_path / "hooks", work_dir)


def test_a_directory_in_a_directory(tmp_path: Path, work_dir: Path) -> None:
    script(tmp_path / "hooks/a")
    script(tmp_path / "hooks/lib/b")
    assert refusal(ArtifactError, tmp_path / "hooks", work_dir).startswith(f"{tmp_path}/hooks/lib: is no regular file")


def test_a_pipe(tmp_path: Path, work_dir: Path) -> None:
    os.mkfifo(tmp_path / "hook", 0o755)
    assert "is no regular file" in refusal(ArtifactError, tmp_path / "hook", work_dir)


def test_one_bad_file_in_a_directory(tmp_path: Path, work_dir: Path) -> None:
    script(tmp_path / "hooks/a")
    script(tmp_path / "hooks/README", mode=0o644)
    assert refusal(ArtifactError, tmp_path / "hooks", work_dir).startswith(
        f"{tmp_path}/hooks/README: is not executable"
    )


@pytest.mark.parametrize("name", ["my hook", ".hook", "hook~", "x" * 64])
def test_an_executable_whose_name_is_no_id(tmp_path: Path, work_dir: Path, name: str) -> None:
    path = script(tmp_path / name)
    message = refusal(ManifestError, path, work_dir)
    assert message.startswith("the id of the pod (the executable's name, unless id is given) is '")
    assert build(path, work_dir, pod_id="hook").manifest.id == "hook"


@pytest.mark.parametrize(
    ("options", "phrase"),
    [
        ({"pod_id": "../x"}, "is '../x'; use at most"),
        ({"launchable_id": "a/b"}, "the id of a launchable is 'a/b'"),
        ({"launchable_id": "config"}, "this name is taken"),
        ({"location": "https://h/{}.zip"}, "does not end in .tar.gz"),
        ({"location": "ftp://h/{}"}, "must begin with https"),
        ({"location": "https://user:secret@h/{}"}, "holds a user name or password"),
        ({"env": {"A=B": "c"}}, "env name 'A=B'"),
        ({"env": {"HOOK_EVENT": "c"}}, "env name HOOK_EVENT"),
        ({"config": {1: 2}}, "the key '1', which is no string"),
        ({"run_as": 0.5}, "run_as must be a string"),
    ],
)
def test_options_that_make_no_manifest(executable: Path, work_dir: Path, options: dict[str, Any], phrase: str) -> None:
    message = refusal(ManifestError, executable, work_dir, **options)
    assert phrase in message
    assert "secret" not in message


def test_a_work_dir_that_cannot_be(executable: Path) -> None:
    with pytest.raises(LayoutError, match=rf"^{re.escape(str(executable))}.*while building ensure_user"):
        build(executable, executable / "work")


def test_a_directory_where_the_artifact_should_be(executable: Path, work_dir: Path) -> None:
    pod = build(executable, work_dir, check=True)
    Path(pod.tar_path).mkdir(parents=True)
    with pytest.raises(LayoutError, match=r"\.tar\.gz: Is a directory, while building ensure_user"):
        build(executable, work_dir)
