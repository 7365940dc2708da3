# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run does to the process that asked for it, and what that is told of the host."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from p2hooks import process_tree
from p2hooks.hooked_pod import HookedPod
from support_run import Host, eventually, own_children

PR_SET_CHILD_SUBREAPER, PR_GET_CHILD_SUBREAPER = 36, 37
LIBC = ctypes.CDLL(None, use_errno=True)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def is_subreaper() -> bool:
    value = ctypes.c_int()
    assert LIBC.prctl(PR_GET_CHILD_SUBREAPER, ctypes.byref(value), 0, 0, 0) == 0
    return bool(value.value)


@pytest.fixture(params=[False, True])
def was_subreaper(request: pytest.FixtureRequest) -> Iterator[bool]:
    """Make this process a child subreaper, or see that it is none."""
    assert LIBC.prctl(PR_SET_CHILD_SUBREAPER, int(request.param), 0, 0, 0) == 0
    assert is_subreaper() == request.param
    yield request.param
    LIBC.prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


# A child subreaper before it, and after it


def test_the_caller_is_a_subreaper_afterwards_if_it_was_one(host: Host, was_subreaper: bool) -> None:
    host.script("a", "")
    assert host.run_one()["outcome"] == "succeeded"
    assert is_subreaper() == was_subreaper


def test_the_same_where_no_process_could_be_had(
    host: Host, was_subreaper: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse_to_fork() -> int:
        raise BlockingIOError

    monkeypatch.setattr(os, "fork", refuse_to_fork)
    host.script("a", "")
    assert host.run_one()["outcome"] == "skipped"
    assert is_subreaper() == was_subreaper


def test_the_same_where_the_caller_was_interrupted_and_the_run_goes_on(host: Host, was_subreaper: bool) -> None:
    host.script("a", f"kill -INT {os.getpid()}; sleep 0.3")
    host.script("b", "")
    host.script("warm-up", "", event="after_install")
    before = own_children()
    host.run(event="after_install")
    descriptors = os.listdir("/proc/self/fd")
    with pytest.raises(KeyboardInterrupt):
        host.run()
    assert is_subreaper() == was_subreaper
    assert os.listdir("/proc/self/fd") == descriptors
    assert eventually(lambda: host.outcomes()[1:] == [("a", "succeeded"), ("b", "succeeded")])

    def reaped() -> bool:
        host.run(event="after_install")
        return len(own_children() - before) <= 1

    assert eventually(reaped)


# Hosts on which limits do not hold


def test_a_system_that_has_no_subreapers_is_a_warning(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "_ctypes", None)  # as where Python was built without it
    host.script("a", "")
    host.script("b", "")
    report = host.run()
    (warning,) = report.warnings
    assert warning == (
        "the time limits of hooks do not hold on this host: prctl(PR_SET_CHILD_SUBREAPER) fails, so what has lost its "
        "parent escapes; let the system allow it, and give Python its module _ctypes"
    )
    assert [record["outcome"] for record in report.hooks] == ["succeeded"] * 2


def test_a_system_that_shows_no_processes_is_a_warning(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    access = os.access

    def hide(path: str, mode: int, **options: bool) -> bool:
        return not path.startswith("/proc/") and access(path, mode, **options)

    monkeypatch.setattr(os, "access", hide)
    monkeypatch.setattr(process_tree, "_has_lists", [])
    host.script("a", "")
    (warning,) = host.run().warnings
    assert warning == (
        "the time limits of hooks do not hold on this host: there is nothing in /proc, so nothing that is overdue can "
        "be ended; mount proc(5) there"
    )


def test_a_system_that_lists_no_children_is_no_reason_to_warn(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_tree, "_has_lists", [])
    monkeypatch.setattr(process_tree, "_CHILDREN_FILE", "/proc/{pid}/task/{thread}/no_such_file")
    with subprocess.Popen(["sleep", "60"]) as child:
        assert child.pid in process_tree.children()
        host.script("a", "sleep 60 &")
        assert host.run().warnings == []
        child.kill()


def test_a_runner_that_is_killed_is_no_reason_to_be_silent_on_that(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "_ctypes", None)
    host.script("a", "kill -KILL $PPID")
    warnings = host.run().warnings
    assert len(warnings) == 2
    assert "prctl(PR_SET_CHILD_SUBREAPER) fails" in warnings[0]
    assert "was killed" in warnings[1]


def test_a_warning_comes_once_where_no_process_could_be_had(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse_to_fork() -> int:
        raise BlockingIOError

    monkeypatch.setattr(os, "fork", refuse_to_fork)
    host.script("a", "")
    host.audit.mkdir(parents=True)
    assert host.run().warnings == [f"{host.audit}: Is a directory; this run of a is not in the audit"]


# The file with the manifest


def test_where_no_hook_runs_there_is_no_file_either(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    Path(host.layout.root).mkdir()
    monkeypatch.setenv("TMPDIR", str(host.path / "nowhere"))
    report = host.run(pod=HookedPod("hello", manifest=b"id: hello\n"))
    assert (report.hooks, report.warnings) == ([], [])
