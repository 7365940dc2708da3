# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os

import pytest
from p2hooks.install_record import InstallRecord, decode

RECORD = InstallRecord("store", "5b", {"main": "1"}, env={"A": "1"}, launchable_env={"main": {"B": "2"}, "more": {}})


@pytest.mark.parametrize(
    "value",
    [
        "",
        " both ",
        "two\nlines\n",
        "\r\x0b\x0c\x1c\x85\u2028\norigin local",
        "\\n\\",
        "\\u20ac",
        "\u20ac\U0001f600",
        "\udcff\udce9",
        "a\0b",
    ],
)
def test_a_value_is_one_line_of_ascii_and_is_read_as_it_was(value: str) -> None:
    content = InstallRecord("store", "5b", {}, env={"A": value}, launchable_env={"main": {"B": value}}).encode()
    assert content.isascii()
    assert len(content.decode().splitlines()) == 4
    record = decode(content)
    assert record is not None
    assert (record.origin, record.env, record.launchable_env) == ("store", {"A": value}, {"main": {"B": value}})


@pytest.mark.parametrize("text", ["\\x1", "\\u20", "\\", "\\ud800"])
def test_without_one_of_the_variables_there_are_none(text: str) -> None:
    record = decode(RECORD.encode() + f"launchable_env main C {text}\n".encode())
    assert record is not None
    assert (record.manifest_sha, record.env, record.launchable_env) == ("5b", {}, {})


def test_the_bytes_of_a_value_reach_the_environment() -> None:
    record = decode(InstallRecord("store", "5b", {}, env={"A": "\udcff\u20ac"}).encode())
    assert record is not None
    assert os.fsencode(record.env["A"]) == b"\xff\xe2\x82\xac"


@pytest.mark.parametrize("content", [b"", b"origin store\n", b"manifest 5b\n", b"\xff\0"])
def test_what_is_not_whole_is_no_record(content: bytes) -> None:
    assert decode(content) is None
