# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure a rollout to 1,000 hosts: what hosts and the controller ask of Consul, what comes back, how long it takes.

Each host is a real listener with a root, connections and two blocking queries of its own, as threads of a few
processes. Roots are in memory where there is ``/dev/shm``, since each host of a fleet has a disk of its own.
"""

from __future__ import annotations

import http.client
import multiprocessing
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from listening import EVENT, bare_watchers, cpu_seconds, has
from p2hooks import bin2pod, rollout_options, schedule
from p2hooks.hook_key import HookKey
from p2hooks.layout import Layout
from p2hooks.listener import Listener, Settings
from p2hooks.manifest import PodManifest, parse
from p2hooks.node_status import STATUS_PREFIX
from p2hooks.rollout_judge import Verdict
from p2hooks.rollout_record import ROLLOUT_PREFIX
from p2hooks.sd_notify import WARNING
from p2hooks.store import ABSENT, Change
from p2hooks.store.consul import ConsulConnection, ConsulStore
from wire import UNPACKED, WIRE, Traffic

HOSTS = 1000
IDLE_HOSTS = 100
PROCESSES = 4
ROUNDS = 5
MANY_HOOKS = 100
BARE_CONNECTIONS = 16
IDLE_SECONDS = 20
PATIENCE = 600
WRITES_PER_SECOND = 5
KEY = HookKey.of(EVENT, "greet")
MEMORY = Path("/dev/shm")

Row = Callable[[str, "float | str", "float | str", str], None]
StartConsul = Callable[..., AbstractContextManager[str]]


def measure(consul: StartConsul, row: Row) -> None:
    """Print rows for each step of a rollout, and for a fleet in which nothing happens."""
    with tempfile.TemporaryDirectory(prefix="p2fleet-bench-", dir=MEMORY if MEMORY.is_dir() else None) as directory:
        traffic, pid_file = Traffic(), Path(directory) / "consul.pid"
        # By default an agent takes 200 connections of one client; each host has three.
        options = ("-pid-file", str(pid_file), "-hcl", "limits { http_max_conns_per_client = 10000 }")
        for number_of_hosts, work in ((IDLE_HOSTS, Measurement.idle), (HOSTS, Measurement.steps)):
            with consul(*options) as url:
                measurement = Measurement(Path(directory), url, int(pid_file.read_text()), traffic, row)
                measurement.schedule()
                roots = [Path(directory) / f"{number_of_hosts}/node{number:04}" for number in range(number_of_hosts)]
                with hosts(roots, url) as fleet:
                    wait_until_all_have(roots, measurement.old)
                    work(measurement, fleet)


class Fleet:
    """The hosts, as the process sees them that measures."""

    def __init__(
        self, roots: Sequence[Path], connections: Sequence[Connection], processes: Sequence[BaseProcess]
    ) -> None:
        self.roots = roots
        self._connections = connections
        self._pids = [process.pid or 0 for process in processes]

    def cpu(self) -> float:
        """Return the seconds of CPU that all hosts have used."""
        return sum(map(cpu_seconds, self._pids))

    def traffic(self) -> Counter[str]:
        """Return what all hosts sent and got since the last time."""
        for connection in self._connections:
            connection.send(None)
        return sum((connection.recv() for connection in self._connections), Counter())

    def settled_traffic(self) -> Counter[str]:
        """Return the same, when for two seconds no host has asked for anything."""
        traffic, quiet = self.traffic(), 0
        while quiet < 2:
            time.sleep(1)
            more = self.traffic()
            quiet = 0 if more else quiet + 1
            traffic += more
        return traffic


@contextmanager
def hosts(roots: Sequence[Path], url: str) -> Iterator[Fleet]:
    """Have a listener for each host."""
    fork = multiprocessing.get_context("fork")
    ends, processes = [], []
    for number in range(PROCESSES):
        ours, theirs = fork.Pipe()
        arguments = (theirs, url, roots[number::PROCESSES])
        processes.append(fork.Process(target=run_listeners, args=arguments, daemon=True))
        processes[-1].start()
        ends.append(ours)
    try:
        yield Fleet(roots, ends, processes)
    finally:
        for process in processes:
            process.kill()
            process.join()


def run_listeners(parent: Connection, url: str, roots: Sequence[Path]) -> None:
    """Run a listener for each of ``roots``, and tell the parent what they sent and got whenever it asks."""
    traffic = Traffic()
    for root in roots:
        store = ConsulStore(connection_to(url))
        settings = Settings(
            Layout(str(root)), store, root.name, f"{root}.log", reconcile_every=300.0, report_every=10.0
        )
        listener = Listener(settings, log=complain, status=lambda text: None)
        threading.Thread(target=listener.run, daemon=True).start()
    while True:
        parent.recv()
        parent.send(traffic.take())


def wait_until_all_have(roots: Sequence[Path], pod: PodManifest) -> None:
    """Wait until it is installed everywhere, looking seldom: the hosts need the processors."""
    deadline, missing = time.monotonic() + PATIENCE, list(roots)
    version = pod.launchables[0].version or ""
    while missing:
        missing = [root for root in missing if not has(root / "pods" / str(KEY) / "installed", version)]
        if time.monotonic() > deadline:
            raise TimeoutError(f"{len(missing)} hosts do not have {pod.id} after {PATIENCE} s")
        time.sleep(0.5)


def complain(priority: int, text: str) -> None:
    """Show what goes wrong: then it is the machine that was measured."""
    if priority <= WARNING:
        print(text, file=sys.stderr)


def connection_to(url: str) -> ConsulConnection:
    return ConsulConnection(url=url, timeout=600.0)  # so many hosts on so few processors take their time


@dataclass
class Measurement:
    """Steers the rollout, and measures."""

    work: Path
    url: str
    consul_pid: int
    traffic: Traffic
    row: Row

    def __post_init__(self) -> None:
        self.store = ConsulStore(connection_to(self.url))
        self.old = self.build(KEY.id, "exit 0")

    def schedule(self) -> None:
        """Schedule the hook that all hosts have before; not by the engine, which makes the folder of rollouts."""
        plan = schedule.plan(self.store, {KEY: self.old}, upload_artifacts=True)
        self.old = parse(plan.after[KEY.store_key].encode(), KEY.store_key)
        uploads = [[Change(key, content, ABSENT)] for key, content in plan.uploads.items()]
        for batch in self.store.batches([*uploads, *plan.groups]):
            self.store.commit(batch)

    def idle(self, fleet: Fleet) -> None:
        """Print rows for a fleet without a rollout, while a host that is none of them reports all the time."""
        time.sleep(15)  # until they ask as seldom as they do
        self.show_idle(fleet, "no folder of rollouts")
        self.store.make_folder(ROLLOUT_PREFIX)
        fleet.settled_traffic()
        self.show_idle(fleet, "a folder of rollouts")

    def steps(self, fleet: Fleet) -> None:
        """Print rows for a rollout from its start on one host until all have it, and for larger answers."""
        self.store.make_folder(ROLLOUT_PREFIX)
        fleet.settled_traffic()
        wakes, writes = self.bare_wakes(), self.bare_writes()
        self.row(f"{HOSTS:,} bare blocking queries, the last", wakes, 1.0, "itself")
        self.row(f"{HOSTS:,} bare writes of reports", writes, 1.0, f"itself, on {BARE_CONNECTIONS} connections")
        new = self.build(KEY.id, "exit 1")
        having = 0
        for step, options in (
            ("start", {"state": "started", "nodes": [fleet.roots[0].name], "watch_for": 0.0}),
            ("widen to 10 %", {"state": "widened", "percent": 10.0}),
            ("widen to 50 %", {"state": "widened", "percent": 50.0}),
            ("promote", {"state": "promoted"}),
        ):
            self.traffic.take()
            cpu, cpu_of_hosts, began = cpu_seconds(self.consul_pid), fleet.cpu(), time.perf_counter()
            verdict = self.steer(new, options)
            took = (time.perf_counter() - began) * 1000
            controller, asked = self.traffic.take(), fleet.settled_traffic()
            cpu, cpu_of_hosts = cpu_seconds(self.consul_pid) - cpu, fleet.cpu() - cpu_of_hosts
            have = len(verdict.converged)
            added, having = have - having, have
            bare = wakes + writes * added / HOSTS
            self.row(
                f"{step}: {added} more hosts have it", took, took / bare, "bare queries of all, bare writes of these"
            )
            self.show(f"  all {HOSTS:,} hosts", asked)
            self.show("  the controller", controller)
            self.row("  CPU of Consul, ms", cpu * 1000, cpu * 1000 / HOSTS, "ms for each of all hosts")
            self.row("  CPU of the hosts, ms", cpu_of_hosts * 1000, cpu_of_hosts * 1000 / HOSTS, "ms for each of them")
        self.answer()

    def answer(self) -> None:
        """Print a row for what one host gets of many hooks."""
        pods = [self.build(f"many{number:03}", f"exit {number}") for number in range(MANY_HOOKS)]
        for pod in pods:
            self.store.commit([Change(f"bench-hooks/{pod.id}", pod.text.encode(), ABSENT)])
        self.traffic.take()
        self.store.read("bench-hooks/")
        self.show(f"{MANY_HOOKS} manifests of {len(pods[0].text)} bytes", self.traffic.take())

    def build(self, name: str, body: str) -> PodManifest:
        """Return the manifest of a new hook."""
        executable = self.work / name
        executable.write_text(f"#!/bin/sh\n{body}\n")
        executable.chmod(0o755)
        return bin2pod.build(str(executable), str(self.work / "build")).manifest

    def steer(self, pod: PodManifest, options: Mapping[str, Any]) -> Verdict:
        """Take a step, and wait for its end."""
        request = {**rollout_options.DEFAULTS, "upload_artifacts": True, "wait_timeout": PATIENCE, **options}
        steered = rollout_options.steer(self.store, KEY, pod, request, check=False)
        if steered.error:
            raise steered.error
        assert steered.verdict
        return steered.verdict

    def bare_writes(self) -> float:
        """Return how long it takes to write the reports as they are to other keys, in milliseconds."""
        reports = [entry.value for entry in self.store.read(STATUS_PREFIX).values()]
        address = urlsplit(self.url)

        def write(number: int) -> None:
            connection = http.client.HTTPConnection(address.hostname or "", address.port)
            for index in range(number, len(reports), BARE_CONNECTIONS):
                connection.request("PUT", f"/v1/kv/bench/{index}", reports[index])
                connection.getresponse().read()
            connection.close()

        began = time.perf_counter()
        with ThreadPoolExecutor(BARE_CONNECTIONS) as pool:
            list(pool.map(write, range(BARE_CONNECTIONS)))
        return (time.perf_counter() - began) * 1000

    def bare_wakes(self) -> float:
        """Return how long it takes until as many bare blocking queries as there are hosts have an answer, in ms."""
        times = []
        with bare_watchers(self.url, HOSTS) as wait_for_answers:
            for dummy in range(ROUNDS):
                began = time.perf_counter()
                self.put("bench/bare")
                wait_for_answers()
                times.append((time.perf_counter() - began) * 1000)
        return statistics.median(times)

    def put(self, key: str) -> None:
        entry = self.store.get(key)
        index = entry.index if entry else ABSENT  # makes each value another one, since the same would wake nobody
        self.store.commit([Change(key, str(index).encode(), index)])

    def show_idle(self, fleet: Fleet, name: str) -> None:
        fleet.traffic()
        cpu, deadline = cpu_seconds(self.consul_pid), time.monotonic() + IDLE_SECONDS
        writes = 0
        while time.monotonic() < deadline:
            self.put(f"{STATUS_PREFIX}other")
            writes += 1
            time.sleep(1 / WRITES_PER_SECOND)
        asked, cpu = fleet.traffic(), cpu_seconds(self.consul_pid) - cpu
        self.show(f"{len(fleet.roots)} hosts hear of {writes} reports, {name}", asked)
        self.row("  CPU of Consul", f"{cpu / IDLE_SECONDS:.1%}", count(asked) / IDLE_SECONDS, "requests a second")

    def show(self, who: str, traffic: Counter[str]) -> None:
        """Print a row with the number of requests, KiB on the wire, and which requests they were."""
        kinds = ", ".join(f"{traffic[kind]} {kind}" for kind in sorted(traffic.keys() - {WIRE, UNPACKED}))
        unpacked = f"KiB on the wire, {traffic[UNPACKED] / 1024:.0f} KiB unpacked: {kinds}"
        self.row(f"{who}, requests", str(count(traffic)), traffic[WIRE] / 1024, unpacked)


def count(traffic: Counter[str]) -> int:
    """Return how many requests there were."""
    return sum(traffic.values()) - traffic[WIRE] - traffic[UNPACKED]
