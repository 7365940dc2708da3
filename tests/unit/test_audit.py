# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import multiprocessing
import os
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest
from p2hooks.audit import JSONLinesAudit

PROCESSES, RECORDS = 8, 500

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log" / "p2-hook" / "audit.jsonl"


@pytest.fixture
def umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def record(**fields: object) -> dict[str, object]:
    return {"hook": "a_b_launch", "outcome": "succeeded", **fields}


def written(*paths: Path) -> list[dict[str, object]]:
    lines = [line for path in paths for line in path.read_bytes().split(b"\n")[:-1]]
    return [json.loads(line) for line in lines]


def write_many(path: Path, writer: int) -> None:
    audit = JSONLinesAudit(str(path))
    for number in range(RECORDS):
        # Long enough that a line which is written in parts would be torn.
        assert audit.write(record(id=[writer, number], output="x" * (8192 if number % 10 == 0 else 80))) is None


def start_writers(path: Path) -> list[multiprocessing.process.BaseProcess]:
    context = multiprocessing.get_context("fork")
    writers: list[multiprocessing.process.BaseProcess] = [
        context.Process(target=write_many, args=(path, writer)) for writer in range(PROCESSES)
    ]
    for writer in writers:
        writer.start()
    return writers


def join(writers: list[multiprocessing.process.BaseProcess]) -> None:
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0] * PROCESSES


def everything() -> list[list[int]]:
    return [[writer, number] for writer in range(PROCESSES) for number in range(RECORDS)]


def test_each_record_is_one_line_of_json(path: Path) -> None:
    audit = JSONLinesAudit(str(path))
    records = [record(output="two\nlines \u20ac \u2028 \0 \x1b \"'\\"), record(reason=None, duration=0.5)]
    assert [audit.write(each) for each in records] == [None, None]
    assert path.read_bytes().count(b"\n") == 2
    assert path.read_bytes().endswith(b"\n")
    assert written(path) == records


@pytest.mark.usefixtures("umask")
def test_directory_and_file_are_private(path: Path) -> None:
    assert JSONLinesAudit(str(path)).write(record()) is None
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert path.stat().st_mode & 0o777 == 0o600


def test_what_is_there_keeps_its_mode_and_content(path: Path) -> None:
    path.parent.mkdir(parents=True, mode=0o750)
    path.write_text('{"old":1}\n')
    path.chmod(0o640)
    assert JSONLinesAudit(str(path)).write(record()) is None
    assert path.stat().st_mode & 0o777 == 0o640
    assert path.parent.stat().st_mode & 0o777 == 0o750
    assert written(path) == [{"old": 1}, record()]


def test_a_relative_path_means_the_directory_of_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    audit = JSONLinesAudit("audit.jsonl")
    monkeypatch.chdir("/")
    assert audit.write(record()) is None
    assert written(tmp_path / "audit.jsonl") == [record()]


def test_no_line_of_many_writers_is_torn(path: Path) -> None:
    join(start_writers(path))
    assert sorted(each["id"] for each in written(path)) == everything()  # type: ignore[type-var]


def test_no_record_is_lost_when_the_file_is_renamed(path: Path) -> None:
    writers = start_writers(path)
    rotated: list[Path] = []
    while any(writer.is_alive() for writer in writers):
        if path.exists():
            rotated.append(path.with_suffix(f".{len(rotated)}"))
            path.rename(rotated[-1])
    join(writers)
    files = [*rotated, *([path] if path.exists() else [])]
    assert len(files) > 2
    assert sorted(each["id"] for each in written(*files)) == everything()  # type: ignore[type-var]


def test_a_lone_surrogate_is_replaced(path: Path) -> None:
    assert JSONLinesAudit(str(path)).write(record(pod_id="\udcff")) is None
    assert written(path) == [record(pod_id="?")]


def test_no_space_left_is_a_warning() -> None:
    warning = JSONLinesAudit("/dev/full").write(record())
    assert warning == "/dev/full: No space left on device; this run of a_b_launch is not in the audit"


def test_a_record_that_was_cut_off_is_a_warning(path: Path) -> None:
    audit = JSONLinesAudit(str(path))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        warning = audit.write(record(output="x" * 200))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert warning == f"{path}: no space left; the record of a_b_launch in the audit is cut off"
    assert path.stat().st_size == 100


def test_a_symbolic_link_is_not_followed(path: Path, tmp_path: Path) -> None:
    path.parent.mkdir(parents=True)
    (tmp_path / "precious").write_text("precious")
    path.symlink_to(tmp_path / "precious")
    warning = JSONLinesAudit(str(path)).write(record())
    assert warning
    assert warning.startswith(f"{path}: ")
    assert (tmp_path / "precious").read_text() == "precious"


@pytest.mark.parametrize("kind", ["directory", "fifo", "below a file", "below a dangling link", "nowhere"])
def test_what_is_no_file_is_a_warning(path: Path, kind: str) -> None:
    if kind == "directory":
        path.mkdir(parents=True)
    elif kind == "fifo":
        path.parent.mkdir(parents=True)
        os.mkfifo(path)
    elif kind == "below a file":
        path.parent.parent.mkdir()
        path.parent.write_text("")
    elif kind == "below a dangling link":
        path.parent.parent.mkdir()
        path.parent.symlink_to("nothing")
    else:
        path = Path("/proc/p2-hook/audit.jsonl")
    warning = JSONLinesAudit(str(path)).write(record())
    assert warning
    assert warning.startswith(f"{path}: ")
    assert warning.endswith("; this run of a_b_launch is not in the audit")
    assert "\n" not in warning


@needs_root
def test_a_missing_right_is_a_warning(path: Path, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    os.seteuid(65534)
    try:
        warning = JSONLinesAudit(str(path)).write(record())
    finally:
        os.seteuid(0)
    assert warning == f"{path}: Permission denied; this run of a_b_launch is not in the audit"
