# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import resource
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from p2hooks.errors import ManifestError
from p2hooks.hooked_pod import HookedPod, ManifestFile
from p2hooks.manifest import parse

UUID = "0d4f6b9e-5a3c-4d0e-9c57-3f4b8a1c2d3e"
LAUNCHABLES = "launchables: {a: {launchable_type: hoist, location: 'https://h/a.tar.gz'}}\n"


def install(root: Path, content: bytes | str, name: str = "hello") -> Path:
    path = root / name / "current_manifest.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_variables_of_a_pod_that_is_not_installed() -> None:
    pod = HookedPod("hello")
    assert pod.variables == {
        "HOOKED_POD_ID": "hello",
        "HOOKED_POD_HOME": "/data/pods/hello",
        "HOOKED_CONFIG_PATH": "",
        "HOOKED_ENV_PATH": "/data/pods/hello/env",
        "HOOKED_CONFIG_DIR_PATH": "/data/pods/hello/config",
        "HOOKED_SYSTEM_POD_ROOT": "/data/pods",
        "HOOKED_POD_UNIQUE_KEY": "",
        "HOOKED_POD_READ_ONLY": "false",
        "POD_ID": "hello",
        "POD_HOME": "/data/pods/hello",
    }
    assert ManifestFile(pod, "1").path is None


def test_variables_of_an_installed_pod(tmp_path: Path) -> None:
    text = f"# comment\nid: hello\nreadonly: true\n{LAUNCHABLES}"
    install(tmp_path, text)
    pod = HookedPod("hello", pod_root=str(tmp_path))
    variables = pod.variables
    home = str(tmp_path / "hello")
    assert variables["HOOKED_POD_HOME"] == variables["POD_HOME"] == home
    assert variables["HOOKED_SYSTEM_POD_ROOT"] == str(tmp_path)
    assert variables["HOOKED_POD_READ_ONLY"] == "true"
    assert variables["HOOKED_CONFIG_PATH"] == f"{home}/config/hello_{parse(text, 'file').sha}.yaml"
    assert pod.manifest == text.encode()


def test_the_home_may_be_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    pod = HookedPod("hello", home="elsewhere/hello-1/", pod_root="pods")
    assert pod.home == f"{tmp_path}/elsewhere/hello-1"
    assert pod.variables["HOOKED_ENV_PATH"] == f"{tmp_path}/elsewhere/hello-1/env"
    assert pod.variables["HOOKED_SYSTEM_POD_ROOT"] == f"{tmp_path}/pods"


def test_the_given_manifest_comes_before_the_installed_one(tmp_path: Path) -> None:
    install(tmp_path, "id: hello\nreadonly: true\n")
    intended = "id: hello\nconfig: {a: é}\n"
    pod = HookedPod("hello", pod_root=str(tmp_path), manifest=intended.encode())
    assert pod.manifest == intended.encode()
    assert pod.variables["HOOKED_POD_READ_ONLY"] == "false"


@pytest.mark.parametrize(
    ("readonly", "shown"), [("true", "true"), ("false", "false"), ("yes", "false"), ("1", "false")]
)
def test_readonly(readonly: str, shown: str) -> None:
    pod = HookedPod("hello", manifest=f"id: hello\nreadonly: {readonly}\n".encode())
    assert pod.variables["HOOKED_POD_READ_ONLY"] == shown


def test_the_manifest_is_in_a_private_file_until_it_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    manifest = ManifestFile(HookedPod("hello", manifest=b"id: hello\n"), "1f")
    assert list(tmp_path.iterdir()) == []
    umask = os.umask(0)
    try:
        assert manifest.write() == []
    finally:
        os.umask(umask)
    (file,) = tmp_path.iterdir()
    assert manifest.path == str(file)
    assert file.read_bytes() == b"id: hello\n"
    assert file.stat().st_mode & 0o777 == 0o600
    for dummy in range(2):  # a hook may have removed it
        manifest.remove()
        assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_there_is_neither_overwritten_nor_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    file = tmp_path / "hooked-pod-manifest-1f.yaml"
    file.write_text("somebody's")
    manifest = ManifestFile(HookedPod("hello", manifest=b"id: hello\n"), "1f")
    assert manifest.write() == [f"{file}: File exists; the hooks did not get the manifest of hello"]
    assert manifest.path is None
    manifest.remove()
    assert file.read_text() == "somebody's"


def test_what_a_full_disk_left_of_the_file_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    manifest = ManifestFile(HookedPod("hello", manifest=b"id: hello\n#" + b"x" * 60000), "1f")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(
        resource.RLIMIT_FSIZE, (4096, hard)
    )  # Python ignores the signal, so this is an error of write(2)
    try:
        (warning,) = manifest.write()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "File too large; the hooks did not get the manifest of hello" in warning
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("home", "unique_key"),
    [
        (f"/data/pods/hello-{UUID}", UUID),
        (f"/data/pods/hello-{UUID}/", UUID),
        (f"/data/pods/{UUID}", UUID),
        (f"/data/pods/hello-{UUID.upper()}", UUID.upper()),
        ("/data/pods/hello", ""),
        (f"/data/pods/{UUID}/hello", ""),
        (f"/data/pods/hello-{UUID[:-1]}", ""),
        (f"/data/pods/hello-{UUID[:-1]}g", ""),
        (f"/data/pods/hello-{UUID.replace('-', '_')}", ""),
        (f"/data/pods/hello-{UUID}-old", ""),
    ],
)
def test_unique_key_is_the_uuid_that_the_home_ends_in(home: str, unique_key: str) -> None:
    pod = HookedPod("hello", home=home)
    assert pod.unique_key == pod.variables["HOOKED_POD_UNIQUE_KEY"] == unique_key


@pytest.mark.parametrize("pod_id", ["", "../etc", "a/b", "a\nb", ".a"])
def test_an_id_that_breaks_the_rules(pod_id: str) -> None:
    with pytest.raises(ManifestError, match="the id of the pod"):
        HookedPod(pod_id)


@pytest.mark.parametrize(
    ("manifest", "phrase"),
    [
        ("id: other", "is not the manifest of the pod hello"),
        ("run_as: root", "is not the manifest of the pod hello"),
        ("", "must be a mapping"),
        ("- id: hello", "must be a mapping"),
        ("id: [hello", "is no YAML"),
        ("id: &a hello\nrun_as: *a", "an alias"),
        ("id: hello\nrun_as: \udc80", "is not UTF-8"),
    ],
)
def test_a_given_manifest_that_is_wrong(tmp_path: Path, manifest: str, phrase: str) -> None:
    install(tmp_path, "id: hello\n")
    with pytest.raises(ManifestError, match=rf"^pod_manifest: .*{phrase}"):
        HookedPod("hello", pod_root=str(tmp_path), manifest=manifest.encode("utf-8", "surrogateescape"))


@pytest.mark.parametrize(
    "content",
    [b"", b"id: other\n", b"id: [", b"\xff\xfe", b"- hello", b"id: hello\nid: hello\n", b"id: hello\n#" + b"x" * 70000],
)
def test_an_installed_manifest_that_we_cannot_read_is_left_alone(tmp_path: Path, content: bytes) -> None:
    path = install(tmp_path, content)
    pod = HookedPod("hello", pod_root=str(tmp_path))
    assert pod.manifest is None
    assert pod.variables["HOOKED_CONFIG_PATH"] == ""
    assert pod.variables["HOOKED_POD_READ_ONLY"] == "false"
    assert path.read_bytes() == content


@pytest.mark.timeout(10)
def test_the_owner_of_a_pod_home_cannot_hold_its_hooks_up(tmp_path: Path) -> None:
    path = install(tmp_path, "")
    makers: tuple[Callable[[], None], ...] = (
        lambda: os.mkfifo(path),
        lambda: path.symlink_to("/dev/zero"),
        path.mkdir,
        lambda: path.symlink_to(path),
    )
    for make in makers:
        path.unlink() if path.is_symlink() or not path.is_dir() else path.rmdir()
        make()
        assert HookedPod("hello", pod_root=str(tmp_path)).variables["HOOKED_CONFIG_PATH"] == ""


@pytest.mark.timeout(10)
def test_nor_can_who_writes_to_a_pipe_there_without_end(tmp_path: Path) -> None:
    path = install(tmp_path, "")
    path.unlink()
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    writer = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
    done = threading.Event()

    def write() -> None:
        while not done.wait(0.01):
            try:
                os.write(writer, b"x: " * 1000)
            except BlockingIOError:
                continue

    thread = threading.Thread(target=write)
    thread.start()
    try:
        time.sleep(0.05)
        assert HookedPod("hello", pod_root=str(tmp_path)).variables["HOOKED_CONFIG_PATH"] == ""
    finally:
        done.set()
        thread.join()
        os.close(reader)
        os.close(writer)
