# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from p2hooks import VERSION, disk, engine_home
from p2hooks.engine_home import EngineHome
from p2hooks.errors import LayoutError

TOP = Path(__file__).parents[2]
ENGINE = TOP / "plugins/module_utils/p2hooks"
COMMAND = (TOP / "bin/p2-hook").read_text()


class Host:
    def __init__(self, path: Path) -> None:
        self.home = path / "lib/p2-hook"
        self.link = path / "bin/p2-hook"
        self.engine = EngineHome(str(self.home), str(self.link))

    def install(self, files: dict[str, bytes]) -> str:
        release = engine_home.release_of(files)
        self.engine.write(release, files)
        self.engine.activate(release)
        assert self.engine.has(release, files)
        return release

    def releases(self) -> set[str]:
        return set(os.listdir(self.home / "releases"))

    def calls(self, *arguments: str) -> str:
        words = [sys.executable, "-IS", str(self.link), *arguments]
        return subprocess.run(words, capture_output=True, text=True, check=True).stdout


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    return engine_home.sources(COMMAND)


def other(files: dict[str, bytes], text: str) -> dict[str, bytes]:
    return {**files, "p2hooks/errors.py": files["p2hooks/errors.py"] + text.encode()}


def test_a_release_is_the_whole_engine_and_the_command(files: dict[str, bytes]) -> None:
    expected = {f"p2hooks/{path.relative_to(ENGINE)}": path.read_bytes() for path in ENGINE.rglob("*.py")}
    assert files == {**expected, "p2-hook": COMMAND.encode()}


def test_the_engine_finds_its_sources_in_an_archive_too(tmp_path: Path, files: dict[str, bytes]) -> None:
    with zipfile.ZipFile(tmp_path / "module.zip", "w") as archive:
        for path in ENGINE.rglob("*.py"):
            archive.write(path, f"p2hooks/{path.relative_to(ENGINE)}")
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); from p2hooks import engine_home as e;"
        "print(e.release_of(e.sources(sys.stdin.read())))"
    )
    words = [sys.executable, "-I", "-c", program, str(tmp_path / "module.zip")]
    found = subprocess.run(words, input=COMMAND, capture_output=True, text=True, check=True).stdout
    assert found.strip() == engine_home.release_of(files)


def test_the_name_of_a_release_tells_all_of_its_content(files: dict[str, bytes]) -> None:
    assert engine_home.release_of(files).startswith(f"{VERSION}-")
    assert engine_home.release_of(dict(reversed(files.items()))) == engine_home.release_of(files)
    assert engine_home.release_of(other(files, "#")) != engine_home.release_of(files)


def test_a_host_gets_the_command_and_later_a_new_one(host: Host, files: dict[str, bytes]) -> None:
    assert host.engine.version() is None
    first = host.install(files)
    assert host.calls("--version") == f"p2-hook {VERSION}\n"
    assert host.engine.version() == VERSION
    assert os.access(host.home / "current/p2-hook", os.X_OK)
    second = host.install(other(files, "#2"))
    assert host.releases() == {first, second}
    third = host.install(other(files, "#3"))
    assert host.releases() == {second, third}
    assert host.calls("--version") == f"p2-hook {VERSION}\n"


def test_what_is_there_is_not_written_again(host: Host, files: dict[str, bytes]) -> None:
    release = host.install(files)
    before = {path: path.lstat().st_ino for path in host.home.rglob("*")}
    host.install(files)
    assert {path: path.lstat().st_ino for path in host.home.rglob("*")} == before
    assert host.releases() == {release}


def test_a_damaged_release_is_repaired(host: Host, files: dict[str, bytes]) -> None:
    release = host.install(files)
    (host.home / "current/p2hooks/errors.py").write_text("")
    (host.home / "current/p2hooks/events.py").unlink()
    assert not host.engine.has(release, files)
    host.install(files)
    assert host.calls("--version") == f"p2-hook {VERSION}\n"


def test_a_release_that_was_not_completed_changes_nothing(
    host: Host, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = host.install(files)
    newer = other(files, "#2")

    def full(*dummy: object) -> None:
        raise OSError(28, "No space left on device", "x")

    with monkeypatch.context() as patch:
        patch.setattr(disk, "sync_directory", full)
        with pytest.raises(LayoutError, match="No space left"):
            host.engine.write(engine_home.release_of(newer), newer)
    assert host.engine.has(first, files) is False  # there is debris
    assert host.calls("--version") == f"p2-hook {VERSION}\n"
    host.install(newer)


def test_a_release_that_somebody_else_removed_meanwhile_does_not_become_the_current_one(
    host: Host, files: dict[str, bytes]
) -> None:
    host.install(files)
    newer = other(files, "#2")
    release = engine_home.release_of(newer)
    host.engine.write(release, newer)
    host.install(files)
    assert release not in host.releases()
    with pytest.raises(LayoutError, match="is not there any more; another engine was installed meanwhile"):
        host.engine.activate(release)
    assert host.calls("--version") == f"p2-hook {VERSION}\n"


def test_an_engine_that_was_installed_by_hand_is_replaced(host: Host, files: dict[str, bytes]) -> None:
    shutil.copytree(ENGINE, host.home / "p2hooks")
    init = host.home / "p2hooks/__init__.py"
    init.write_text(init.read_text().replace(VERSION, "0.0.9"))
    shutil.copy(TOP / "bin/p2-hook", host.home)
    host.link.parent.mkdir()
    host.link.symlink_to("../lib/p2-hook/p2-hook")
    assert host.calls("--version") == "p2-hook 0.0.9\n"
    assert (host.engine.version(), host.engine.outdated()) == ("0.0.9", "0.0.9")
    host.install(files)
    assert host.calls("--version") == f"p2-hook {VERSION}\n"
    assert (host.engine.version(), host.engine.outdated()) == (VERSION, None)
    assert not (host.home / "p2hooks").exists()


@pytest.mark.parametrize(
    ("installed", "is_outdated"), [("0.0.10", True), ("99.0", False), (VERSION, False), ("0.1.0.dev1", False)]
)
def test_versions_are_compared_by_their_numbers(host: Host, installed: str, is_outdated: bool) -> None:
    (host.home / "p2hooks").mkdir(parents=True)
    (host.home / "p2hooks/__init__.py").write_text(f'VERSION = "{installed}"\n')
    assert host.engine.outdated() == (installed if is_outdated else None)


def test_nothing_is_left_after_removal(host: Host, files: dict[str, bytes]) -> None:
    assert host.engine.present() == []
    host.install(files)
    host.engine.remove()
    assert host.engine.present() == []
    assert not host.home.exists()
    assert not os.path.lexists(host.link)


def test_a_command_of_that_name_that_is_not_ours_stays(host: Host) -> None:
    host.link.parent.mkdir()
    host.link.write_text("theirs")
    assert host.engine.present() == []
