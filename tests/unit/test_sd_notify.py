# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from p2hooks import sd_notify
from p2hooks.sd_notify import Notifier


@pytest.fixture(params=["path", "abstract"])
def systemd(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """The other end of the socket."""
    name = str(tmp_path / "notify") if request.param == "path" else f"@p2-hook-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(name.replace("@", "\0") if request.param == "abstract" else name)
        receiver.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", name)
        yield receiver


def test_what_systemd_hears(systemd: socket.socket) -> None:
    notifier = Notifier()
    tell: list[tuple[Callable[[], None], str]] = [
        (notifier.ready, "READY=1"),
        (notifier.stopping, "STOPPING=1"),
        (notifier.alive, "WATCHDOG=1"),
        (lambda: notifier.status("watching the störe"), "STATUS=watching the störe"),
    ]
    for say, heard in tell:
        say()
        assert systemd.recv(4096).decode() == heard


def test_a_reload_says_when_it_began(systemd: socket.socket) -> None:
    before = time.monotonic_ns() // 1000
    Notifier().reloading()
    first, second = systemd.recv(4096).decode().split("\n")
    assert first == "RELOADING=1"
    name, dummy, value = second.partition("=")
    assert name == "MONOTONIC_USEC"
    assert before <= int(value) <= time.monotonic_ns() // 1000


def test_a_status_is_sent_when_it_changes(systemd: socket.socket) -> None:
    notifier = Notifier()
    for text in ("a", "a", "b"):
        notifier.status(text)
    notifier.ready()
    assert [systemd.recv(4096) for dummy in range(3)] == [b"STATUS=a", b"STATUS=b", b"READY=1"]


@pytest.mark.parametrize("name", [None, "", "/does/not/exist", "@nobody-listens-there", "x" * 500])
def test_without_systemd_nothing_happens(name: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    if name is None:
        monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    else:
        monkeypatch.setenv("NOTIFY_SOCKET", name)
    notifier = Notifier()
    notifier.ready()
    notifier.status("x")


@pytest.mark.parametrize(
    ("usec", "pid", "seconds"),
    [
        (None, None, None),
        ("30000000", None, 30.0),
        ("30000000", "own", 30.0),
        ("30000000", "1", None),
        ("x", None, None),
        ("0", None, None),
    ],
)
def test_the_watchdog(
    usec: str | None, pid: str | None, seconds: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("WATCHDOG_USEC", usec), ("WATCHDOG_PID", str(os.getpid()) if pid == "own" else pid)):
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, value)
    assert Notifier().watchdog_seconds == seconds


def logged(text: str, stream: str | None, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """Return what a line looks like on a standard error that is a pipe."""
    reading, writing = os.pipe()
    saved = os.dup(2)
    try:
        os.dup2(writing, 2)
        status = os.fstat(2)
        monkeypatch.setenv("JOURNAL_STREAM", stream or f"{status.st_dev}:{status.st_ino}")
        sd_notify.log(sd_notify.WARNING, text)
    finally:
        os.dup2(saved, 2)
        for descriptor in (saved, writing):
            os.close(descriptor)
    with open(reading, "rb") as file:
        return file.read()


def test_lines_for_the_journal_have_a_priority_and_others_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    assert logged("ä line", None, monkeypatch) == "<4>ä line\n".encode()
    assert logged("one", "1:1", monkeypatch) == b"p2-hook: one\n"
