# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
from pathlib import Path

import pytest
from p2hooks import envdir


@pytest.mark.parametrize(
    "value", ["", "plain", " leading", "two\nlines", "ends\n", "\n", "é=ü", "a\tb", "\udcff", "'\"$x"]
)
def test_what_is_encoded_is_read(tmp_path: Path, value: str) -> None:
    (tmp_path / "NAME").write_bytes(envdir.encode(value))
    assert envdir.read(str(tmp_path)) == {"NAME": value}


@pytest.mark.parametrize(
    ("content", "value"),
    [
        (b"", ""),
        (b"no newline", "no newline"),
        (b"first\nsecond\n", "first"),
        (b"blanks \t\n", "blanks"),
        (b"a\0b\n", "a\nb"),
    ],
)
def test_files_of_others_are_read_as_envdir_does(tmp_path: Path, content: bytes, value: str) -> None:
    (tmp_path / "NAME").write_bytes(content)
    assert envdir.read(str(tmp_path)) == {"NAME": value}


def test_the_bytes_of_a_file_reach_the_environment(tmp_path: Path) -> None:
    (tmp_path / "NAME").write_bytes(b"\xff\xe9\n")
    assert os.fsencode(envdir.read(str(tmp_path))["NAME"]) == b"\xff\xe9"


def test_names_that_are_no_variables_are_left_out(tmp_path: Path) -> None:
    for name in (".tmp-A", "A=B", "C"):
        (tmp_path / name).write_text("value\n")
    assert envdir.read(str(tmp_path)) == {"C": "value"}


def test_no_directory_means_no_variables(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert envdir.read(str(tmp_path / "missing")) == {}
    assert envdir.read(str(tmp_path / "file")) == {}
