# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure how soon a scheduled hook is there, what many listeners cost Consul, and what an idle one costs its host.

All of it runs on one machine: many listeners compete for its processors and its disk, which those of a fleet do not.
"""

from __future__ import annotations

import os
import re
import selectors
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

from p2hooks import bin2pod, schedule
from p2hooks.hook_key import HookKey
from p2hooks.layout import Layout
from p2hooks.listener import Listener, Settings
from p2hooks.store import ABSENT, Change
from p2hooks.store.consul import ConsulConnection, ConsulStore

COMMAND = Path(__file__).parents[2] / "bin/p2-hook"
EVENT = "before_install"
SCHEDULES = 50
MANY = 200
CHANGES = 5
IDLE_SECONDS = 20
TICKS = os.sysconf("SC_CLK_TCK")

Row = Callable[[str, "float | str", "float | str", str], None]
StartConsul = Callable[..., AbstractContextManager[str]]


def measure(work: Path, consul: StartConsul, row: Row) -> None:
    """Print a row for each figure."""
    pid_file = work / "consul.pid"
    # By default an agent takes 200 connections of one client.
    options = ("-pid-file", str(pid_file), "-hcl", "limits { http_max_conns_per_client = 5000 }")
    with consul(*options) as url:
        measure_few(work / "few", url, row)
        measure_many(work / "many", url, int(pid_file.read_text()), row)


def measure_few(work: Path, url: str, row: Row) -> None:
    """Schedule hooks for three real listeners, one after the other; then leave these alone."""
    roots = [work / f"root{number}" for number in range(3)]
    scheduler = Scheduler(work, url)
    with processes(work, url, roots) as pids:
        time.sleep(3)
        started = statistics.mean(map(cpu_seconds, pids))
        times = []
        for number in range(SCHEDULES):
            name = f"hook{number:03}"
            put = scheduler.build(name)
            began = time.perf_counter()
            put()
            wait_for([root / "exec" / EVENT / f"{name}_{name}_launch" for root in roots])
            times.append((time.perf_counter() - began) * 1000)
            time.sleep(0.1)
        median = statistics.median(times)
        row(f"hook on {len(roots)} listeners, median of {SCHEDULES}", median, 1.0, "itself")
        row("the slowest but one in 100 (p99)", percentile(times, 99), percentile(times, 99) / median, "the median")
        row("the slowest", max(times), max(times) / median, "the median")
        time.sleep(2)
        before = [cpu_seconds(pid) for pid in pids]
        time.sleep(IDLE_SECONDS)
        installing = (statistics.mean(before) - started) / SCHEDULES * 1000
        idle = max(cpu_seconds(pid) - used for pid, used in zip(pids, before))
        row("CPU of each for a hook", installing, installing / median, "the median")
        row(
            "CPU of an idle listener",
            f"{idle / IDLE_SECONDS:.2%}",
            f"{max(map(resident_mib, pids)):.1f}",
            "MiB resident",
        )
    scheduler.clear()


def measure_many(work: Path, url: str, consul_pid: int, row: Row) -> None:
    """Change a hook that many listen for; beside that, put a key that as many bare blocking queries wait for."""
    scheduler = Scheduler(work, url)
    with bare_watchers(url, MANY) as wait_for_answers:
        times, cpu = [], cpu_seconds(consul_pid)
        for number in range(CHANGES):
            began = time.perf_counter()
            scheduler.put_bare(str(number))
            wait_for_answers()
            times.append((time.perf_counter() - began) * 1000)
            time.sleep(0.2)
        bare, bare_cpu = statistics.median(times), (cpu_seconds(consul_pid) - cpu) / CHANGES * 1000
    row(f"{MANY} bare blocking queries, the last", bare, 1.0, "itself")
    roots = [work / f"root{number:03}" for number in range(MANY)]
    put = scheduler.build("hook")
    put()
    with forks(url, roots):
        wait_for([root / "exec" / EVENT / "hook_hook_launch" for root in roots], 120)
        time.sleep(3)
        times, cpu = [], cpu_seconds(consul_pid)
        for number in range(CHANGES):
            put = scheduler.build("hook", f"exit {number}")
            began = time.perf_counter()
            put()
            wait_for([root / f"pods/{EVENT}/hook/installed" for root in roots], 60, scheduler.version)
            times.append((time.perf_counter() - began) * 1000)
            time.sleep(2)  # for the reports
        last, consul_cpu = statistics.median(times), (cpu_seconds(consul_pid) - cpu) / CHANGES * 1000
    row(f"{MANY} listeners, the last has installed", last, last / bare, "bare queries")
    row("Consul's CPU for a change, bare", bare_cpu, bare_cpu / MANY, "ms a watcher")
    row("Consul's CPU for a change, all of it", consul_cpu, consul_cpu / MANY, "ms a listener")


class Scheduler:
    """Builds hooks and schedules them, their artifacts in Consul."""

    def __init__(self, work: Path, url: str) -> None:
        self._work = work
        self._work.mkdir()
        self._store = ConsulStore(ConsulConnection(url=url))
        self._url = url
        self.version = ""

    def build(self, name: str, body: str = "exit 0") -> Callable[[], None]:
        """Return what schedules a hook that is built already."""
        executable = self._work / name
        executable.write_text(f"#!/bin/sh\n{body}\n")
        executable.chmod(0o755)
        pod = bin2pod.build(str(executable), str(self._work / "build"), pod_id=name).manifest
        self.version = pod.launchables[0].version or ""
        wanted = {HookKey.of(EVENT, name): pod}
        return lambda: schedule.apply(self._store, schedule.plan(self._store, wanted, upload_artifacts=True))

    def put_bare(self, value: str) -> None:
        entry = self._store.get("bench/bare")
        self._store.commit([Change("bench/bare", value.encode(), entry.index if entry else ABSENT)])

    def clear(self) -> None:
        keys = [HookKey.from_store_key(key) for key in self._store.read("hooks/")]
        schedule.apply(self._store, schedule.plan(self._store, dict.fromkeys(keys)))


def options_of(url: str, root: Path) -> list[str]:
    return [
        "--store",
        "consul",
        "--consul-url",
        url,
        "--root",
        str(root),
        "--node",
        root.name,
        "--audit-log",
        f"{root}.log",
    ]


@contextmanager
def processes(work: Path, url: str, roots: Sequence[Path]) -> Iterator[list[int]]:
    """Run a listener for each root, as hosts have it."""
    with open(work / "listeners.log", "wb") as log:
        command = [sys.executable, str(COMMAND), "listen"]
        running = [subprocess.Popen([*command, *options_of(url, root)], stderr=log) for root in roots]
    try:
        yield [process.pid for process in running]
    finally:
        for process in running:
            process.kill()
            process.wait()


@contextmanager
def forks(url: str, roots: Sequence[Path]) -> Iterator[None]:
    """Run a listener for each root, all of them forks of this process, so that they share its memory."""
    pids = []
    try:
        for root in roots:
            pid = os.fork()
            if not pid:
                try:
                    listen(url, root)
                finally:
                    os._exit(1)
            pids.append(pid)
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def listen(url: str, root: Path) -> None:
    store = ConsulStore(ConsulConnection(url=url))
    settings = Settings(Layout(str(root)), store, root.name, f"{root}.log", reconcile_every=300.0, report_every=10.0)
    Listener(settings, log=lambda dummy, text: None, status=lambda text: None).run()


@contextmanager
def bare_watchers(url: str, count: int) -> Iterator[Callable[[], None]]:
    """Keep so many blocking queries open; give what waits until all have their answer, and asks again."""
    address = urlsplit(url)
    sockets = [socket.create_connection((address.hostname or "", address.port or 0)) for dummy in range(count)]
    indexes = dict.fromkeys(sockets, 0)
    selector = selectors.DefaultSelector()
    for each in sockets:
        selector.register(each, selectors.EVENT_READ)

    def ask(each: socket.socket) -> None:
        path = f"/v1/kv/bench/?recurse&index={indexes[each]}&wait=60s"
        each.sendall(f"GET {path} HTTP/1.1\r\nHost: {address.netloc}\r\n\r\n".encode())

    def wait() -> None:
        missing = set(sockets)
        while missing:
            for key, dummy in selector.select():
                each = key.fileobj
                assert isinstance(each, socket.socket)
                found = re.search(rb"X-Consul-Index: (\d+)", each.recv(65536))
                assert found
                indexes[each] = int(found[1])
                missing.discard(each)
                ask(each)

    for each in sockets:
        ask(each)
    wait()
    time.sleep(0.5)
    try:
        yield wait
    finally:
        selector.close()
        for each in sockets:
            each.close()


def wait_for(paths: Sequence[Path], seconds: float = 30, text: str = "") -> None:
    """Wait until all ``paths`` are there, and ``text`` is in them."""
    deadline = time.monotonic() + seconds
    missing = list(paths)
    while missing:
        missing = [path for path in missing if not has(path, text)]
        if time.monotonic() > deadline:
            raise TimeoutError(f"{len(missing)} of {len(paths)}, the first {missing[0]}")
        time.sleep(0.001)


def has(path: Path, text: str) -> bool:
    if not text:
        return path.exists()
    with suppress(FileNotFoundError):
        return text in path.read_text()
    return False


def percentile(values: Sequence[float], percent: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, round(len(ordered) * percent / 100 + 0.5) - 1)]


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def resident_mib(pid: int) -> float:
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) / 1024 if found else 0.0
