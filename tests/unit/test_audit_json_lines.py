# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import multiprocessing
import os
import random
import resource
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from p2hooks.audit.json_lines import JSONLines, decode, encode

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
    lines = [line for path in paths for line in path.read_bytes().split(b"\n")[:-1] if line]
    return [json.loads(line) for line in lines]


def write_many(path: Path, writer: int) -> None:
    audit = JSONLines(str(path))
    for number in range(RECORDS):
        # Long enough that a line which is written in parts would be torn.
        assert (
            audit.write(record(id=writer * RECORDS + number, output="x" * (8192 if number % 10 == 0 else 80))) is None
        )


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


def everything() -> list[int]:
    return list(range(PROCESSES * RECORDS))


def test_each_record_is_one_line_of_json(path: Path) -> None:
    audit = JSONLines(str(path))
    records = [record(output="two\nlines \u20ac \u2028 \0 \x1b \"'\\"), record(reason=None, duration=0.5)]
    assert [audit.write(each) for each in records] == [None, None]
    assert path.read_bytes().count(b"\n") == 2
    assert path.read_bytes().endswith(b"\n")
    assert written(path) == records


@pytest.mark.usefixtures("umask")
def test_directory_and_file_are_private(path: Path) -> None:
    assert JSONLines(str(path)).write(record()) is None
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert path.stat().st_mode & 0o777 == 0o600


def test_what_is_there_keeps_its_mode_and_content(path: Path) -> None:
    path.parent.mkdir(parents=True, mode=0o750)
    path.write_text('{"old":1}\n')
    path.chmod(0o640)
    assert JSONLines(str(path)).write(record()) is None
    assert path.stat().st_mode & 0o777 == 0o640
    assert path.parent.stat().st_mode & 0o777 == 0o750
    assert written(path) == [{"old": 1}, record()]


def test_a_relative_path_means_the_directory_of_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    audit = JSONLines("audit.jsonl")
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
    assert len(files) > 1
    assert sorted(each["id"] for each in written(*files)) == everything()  # type: ignore[type-var]


def test_a_lone_surrogate_is_replaced(path: Path) -> None:
    assert JSONLines(str(path)).write(record(pod_id="\udcff")) is None
    assert written(path) == [record(pod_id="?")]


def test_no_space_left_is_a_warning() -> None:
    warning = JSONLines("/dev/full").write(record())
    assert warning == "/dev/full: No space left on device; this run of a_b_launch is not in the audit"


def test_a_record_that_was_cut_off_is_a_warning(path: Path) -> None:
    path.parent.mkdir(parents=True)
    cut_off(path, 100)


def test_a_symbolic_link_is_not_followed(path: Path, tmp_path: Path) -> None:
    path.parent.mkdir(parents=True)
    (tmp_path / "precious").write_text("precious")
    path.symlink_to(tmp_path / "precious")
    warning = JSONLines(str(path)).write(record())
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
    warning = JSONLines(str(path)).write(record())
    assert warning
    assert warning.startswith(f"{path}: ")
    assert warning.endswith("; this run of a_b_launch is not in the audit")
    assert "\n" not in warning


@needs_root
def test_a_missing_right_is_a_warning(path: Path, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    os.seteuid(65534)
    try:
        warning = JSONLines(str(path)).write(record())
    finally:
        os.seteuid(0)
    assert warning == f"{path}: Permission denied; this run of a_b_launch is not in the audit"


def test_every_value_survives_the_way_through_json(path: Path) -> None:
    generator = random.Random(1)
    sink = JSONLines(str(path))
    records = [record(**{text(generator): value(generator) for dummy in range(5)}) for dummy in range(2000)]
    for each in records:
        assert sink.write(each) is None
    lines = path.read_bytes().split(b"\n")
    assert [json.loads(line) for line in lines[:-1]] == records
    # nothing in them moves the cursor of a terminal, or counts as the end of a line
    assert not set(path.read_text()) & {chr(code) for code in (*range(10), *range(11, 32), *range(0x7F, 0xA0), 0x2028)}
    assert len(path.read_text().splitlines()) == len(records)


def text(generator: random.Random) -> str:
    alphabets = ["abc", '"\\/\b\f\n\r\t', "".join(map(chr, range(0xA0))), "\u2028\u2029\u20ac\uffff\U0001f600\ufeff"]
    return "".join(generator.choice(generator.choice(alphabets)) for dummy in range(generator.randrange(20)))


def value(generator: random.Random) -> object:
    numbers = [0, -1, 2**63, generator.random(), 1e300, 1e-7, -0.0, float(2**60)]
    return generator.choice([None, True, False, text(generator), generator.choice(numbers)])


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_what_is_no_number_in_json_is_null(path: Path, number: float) -> None:
    assert JSONLines(str(path)).write(record(duration=number)) is None
    assert written(path) == [record(duration=None)]


def test_a_record_that_was_cut_off_does_not_swallow_the_next(path: Path) -> None:
    sink = JSONLines(str(path))
    cut_off(path, 100)
    assert sink.write(record(run_id="1")) is None
    lines = path.read_bytes().split(b"\n")
    assert len(lines) == 3
    assert json.loads(lines[1]) == record(run_id="1")
    assert [decode(line) for line in lines[:-1]] == [None, record(run_id="1")]


@pytest.mark.parametrize("size", [1, 9, 50, 99])
def test_a_record_that_was_glued_to_a_rest_is_found(size: int) -> None:
    rest = encode({"run_id": "1", "output": 'x{"run_id":"' * 20})[:size]
    assert decode(rest + encode({"run_id": "2", "hook": "a"})) == {"run_id": "2", "hook": "a"}


@pytest.mark.parametrize("line", [b"", b"{", b"[]", b"null", b'{"run_id":1}', b"\xff", b"[" * 100000])
def test_what_is_no_record_is_none(line: bytes) -> None:
    assert decode(line) is None


@needs_root
def test_records_after_a_full_disk_are_whole(tmp_path: Path) -> None:
    subprocess.run(["/bin/mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", tmp_path], check=True)
    try:
        sink = JSONLines(str(tmp_path / "audit.jsonl"))
        ballast = tmp_path / "ballast"
        ballast.write_bytes(b"x" * 4096)
        warnings = [sink.write(record(run_id=str(number), output="x" * 5000)) for number in range(20)]
        ballast.unlink()
        assert sink.write(record(run_id="last")) is None
        recorded = [each["run_id"] for each in map(decode, sink_lines(tmp_path / "audit.jsonl")) if each]
    finally:
        subprocess.run(["/bin/umount", "-l", tmp_path], check=True)
    assert any(warning and "cut off" in warning for warning in warnings)
    assert recorded == [str(number) for number, warning in enumerate(warnings) if warning is None] + ["last"]


def sink_lines(path: Path) -> list[bytes]:
    return path.read_bytes().split(b"\n")


def cut_off(path: Path, size: int) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        warning = JSONLines(str(path)).write(record(output="x" * 200))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert warning == f"{path}: no space left; the record of a_b_launch in the audit is cut off"
    assert path.stat().st_size == size


def test_the_records_of_a_run_are_found_at_the_end(path: Path) -> None:
    sink = JSONLines(str(path))
    for run_id in ("1", "2", "2", "3"):
        assert sink.write(record(run_id=run_id, output="2")) is None
    assert [each["run_id"] for each in sink.recent("2")] == ["2", "2"]
    assert JSONLines(str(path) + "x").recent("2") == []
