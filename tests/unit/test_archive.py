# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Packing: the same files give the same bytes, and what is packed can be unpacked."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import tarfile
from pathlib import Path

import pytest
from p2hooks.archive import write_archive
from p2hooks.errors import ArtifactError, LayoutError
from p2hooks.extraction import extract_archive


@pytest.fixture
def script(tmp_path: Path) -> Path:
    return write(tmp_path / "script", b"#!/bin/sh\nexit 0\n", 0o755)


def write(path: Path, content: bytes, mode: int) -> Path:
    path.write_bytes(content)
    path.chmod(mode)
    return path


def archive_of(*files: tuple[str, Path]) -> bytes:
    output = io.BytesIO()
    digest = write_archive(files, output)
    assert digest == hashlib.sha256(output.getvalue()).hexdigest()
    return output.getvalue()


def test_archive_holds_the_files_the_directories_above_them_and_nothing_of_the_machine(script: Path) -> None:
    data = write(script.parent / "data", b"data", 0o640)

    packed = archive_of(("share/data", data), ("bin/launch/10-users", script))

    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        members = archive.getmembers()
    assert [(member.name, member.isdir(), member.mode, member.size) for member in members] == [
        ("bin", True, 0o755, 0),
        ("bin/launch", True, 0o755, 0),
        ("bin/launch/10-users", False, 0o755, 17),
        ("share", True, 0o755, 0),
        ("share/data", False, 0o644, 4),
    ]
    assert {(m.mtime, m.uid, m.gid, m.uname, m.gname) for m in members} == {(0, 0, 0, "", "")}
    assert packed[:10] == b"\x1f\x8b\x08\0\0\0\0\0\0\x03"


def test_same_files_give_the_same_bytes_whatever_their_order_times_and_other_mode_bits(script: Path) -> None:
    second = write(script.parent / "second", b"data", 0o644)
    first = archive_of(("bin/launch", script), ("data", second))

    os.utime(script, (1, 1))
    script.chmod(0o4711)
    second.chmod(0o606)
    before = os.umask(0o077)
    try:
        again = archive_of(("data", second), ("bin/launch", script))
    finally:
        os.umask(before)

    assert again == first


def test_path_on_disk_does_not_matter(script: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    copy = write(tmp_path / "elsewhere" / "copy", script.read_bytes(), 0o700)

    assert archive_of(("bin/launch", copy)) == archive_of(("bin/launch", script))


def test_content_name_and_executable_bit_each_change_the_bytes(script: Path) -> None:
    original = archive_of(("bin/launch", script))
    other_content = write(script.parent / "other", b"#!/bin/sh\nexit 1\n", 0o755)
    not_executable = write(script.parent / "plain", script.read_bytes(), 0o655)

    variants = [
        archive_of(("bin/start", script)),
        archive_of(("bin/launch", other_content)),
        archive_of(("bin/launch", not_executable)),
    ]

    assert len({original, *variants}) == 4


def test_bytes_stay_the_same_between_pythons_and_releases(script: Path) -> None:
    tar = gzip.decompress(archive_of(("bin/launch", script)))

    assert hashlib.sha256(tar).hexdigest() == "a2fe10eb463e079e4da1330f60d4b1d74e814f2d0cb46a7ecb7a11f34a4a76ff"


def test_what_is_packed_comes_out_again(script: Path, tmp_path: Path) -> None:
    data = write(tmp_path / "data", os.urandom(300_000), 0o600)
    files = {"bin/launch/10-users": script, "bin/launch/20-größe": script, "share/" + "d" * 90 + "/data": data}
    archive = tmp_path / "hook.tar.gz"
    archive.write_bytes(archive_of(*files.items()))
    destination = tmp_path / "new"
    destination.mkdir()

    extract_archive(archive, destination, max_bytes=1_000_000)

    found = {str(path.relative_to(destination)): path for path in destination.rglob("*") if path.is_file()}
    assert {name: path.read_bytes() for name, path in found.items()} == {
        name: path.read_bytes() for name, path in files.items()
    }
    assert [os.access(found[name], os.X_OK) for name in files] == [True, True, False]


def test_link_on_disk_is_packed_as_the_file_it_leads_to(script: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(script)

    assert archive_of(("bin/launch", link)) == archive_of(("bin/launch", script))


@pytest.mark.parametrize(
    ("name", "phrase"),
    [
        ("../launch", "'..'"),
        ("/bin/launch", "absolute"),
        ("bin/launch/-x", "begins with '-'"),
        ("bin/launch/a\nb", "control characters"),
        ("bin/launch/\udcff", "not UTF-8"),
        ("bin/launch/" + "n" * 256, "over 255 bytes"),
        ("bin/launch/" + "n" * 150, "make it shorter"),
    ],
)
def test_name_that_could_not_be_installed_is_refused(script: Path, name: str, phrase: str) -> None:
    with pytest.raises(ArtifactError) as refusal:
        archive_of((name, script))

    assert phrase in str(refusal.value)
    assert str(refusal.value).isprintable()


@pytest.mark.parametrize("other", ["bin/launch/A", "bin/launch/a", "Bin/launch/b"])
def test_names_that_collide_when_installed_are_refused(script: Path, other: str) -> None:
    with pytest.raises(ArtifactError, match="rename one"):
        archive_of(("bin/launch/a", script), (other, script))


def test_file_and_directory_of_the_same_name_are_refused(script: Path) -> None:
    with pytest.raises(ArtifactError, match="'bin/launch' cannot be both a file and a directory"):
        archive_of(("bin/launch", script), ("bin/launch/a", script))


def test_only_regular_files_are_packed(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)

    for path in (fifo, tmp_path):
        with pytest.raises(ArtifactError, match="is not a regular file"):
            archive_of(("bin/launch", path))


def test_file_that_does_not_hold_as_much_as_it_says_is_refused() -> None:
    with pytest.raises(ArtifactError, match="/proc/self/status changed while it was read"):
        archive_of(("bin/launch", Path("/proc/self/status")))


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(LayoutError, match="missing: No such file or directory, while building the artifact"):
        archive_of(("bin/launch", tmp_path / "missing"))


def test_stream_that_cannot_be_written_is_an_error(script: Path) -> None:
    with Path("/dev/full").open("wb", buffering=0) as full, pytest.raises(LayoutError, match="No space left on device"):
        write_archive([("bin/launch", script)], full)
