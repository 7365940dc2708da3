# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json

import pytest
from p2hooks.fleet import HookReport, NodeReport, decode_report

REPORT = {
    "schema": 1,
    "node": "node1",
    "engine": "0.1.0",
    "reported": "1970-01-01T00:01:40.000Z",
    "valid_for": 60,
    "error": None,
    "hooks": {"before_install/ensure_user": {"manifest_sha": "abc", "outcomes": {"failed": 2}}},
}


def test_a_report_of_an_older_engine_says_what_it_says() -> None:
    assert decode_report("node1", json.dumps(REPORT).encode()) == NodeReport(
        "node1",
        engine="0.1.0",
        reported=100.0,
        valid_for=60.0,
        hooks={"before_install/ensure_user": HookReport(manifest_sha="abc", outcomes={"failed": 2})},
    )


def test_a_report_is_stale_when_it_was_not_renewed() -> None:
    report = decode_report("node1", json.dumps(REPORT).encode())
    assert not report.is_stale(160.0)
    assert report.is_stale(160.1)


def test_a_report_of_a_newer_engine_says_that_it_is_one() -> None:
    report = decode_report("node1", json.dumps({**REPORT, "schema": 2, "engine": "9"}).encode())
    assert report.engine == "9"
    assert "schema 2" in str(report.unreadable)


@pytest.mark.parametrize(
    "value", [b"", b"[]", b"{}", b"\xff", b'{"schema": "1"}', json.dumps({**REPORT, "hooks": []}).encode()]
)
def test_anything_else_is_called_unreadable(value: bytes) -> None:
    report = decode_report("node1", value)
    assert report.unreadable
    assert not report.is_stale(1e12)


@pytest.mark.parametrize(
    "hook",
    [
        {"error": {}},
        {"manifest_sha": 1},
        {"versions": ["1"]},
        {"versions": {"a": None}},
        {"versions": {"a": 1}},
        {"outcomes": {"failed": "many"}},
        {"outcomes": {"failed": True}},
        {"last_failure": "yesterday"},
        [],
    ],
)
def test_a_report_whose_parts_are_of_the_wrong_kind_is_unreadable(hook: object) -> None:
    assert decode_report("node1", json.dumps({**REPORT, "hooks": {"a": hook}}).encode()).unreadable


@pytest.mark.parametrize("change", [{"error": 1}, {"reported": "0001-01-01T00:00:00+12:00"}])
def test_a_report_that_could_not_be_shown_is_unreadable(change: dict[str, object]) -> None:
    assert decode_report("node1", json.dumps({**REPORT, **change}).encode()).unreadable
