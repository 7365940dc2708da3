# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run does to the process that asked for it, and what that is told of the host."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from p2hooks.hooked_pod import HookedPod
from support_run import Host


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_a_warning_comes_once_where_no_process_could_be_had(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse_to_fork() -> int:
        raise BlockingIOError

    monkeypatch.setattr(os, "fork", refuse_to_fork)
    host.script("a", "")
    host.audit.mkdir(parents=True)
    assert host.run().warnings == [f"{host.audit}: Is a directory; this run of a is not in the audit"]


# The file with the manifest


def test_where_no_hook_runs_there_is_no_file_either(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(host.path / "nowhere"))
    report = host.run(pod=HookedPod("hello", manifest=b"id: hello\n"))
    assert (report.hooks, report.warnings) == ([], [])
