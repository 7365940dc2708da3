# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure running hooks, scheduling and installing, each beside something that costs what the machine costs.

Run it with ``make bench``. Machines are noisy: read the ratios, and compare only figures of one run.
"""

from __future__ import annotations

import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

TOP = Path(__file__).parents[2]
sys.path.insert(0, str(TOP / "plugins/module_utils"))

import fleet_info  # noqa: E402
import listening  # noqa: E402
import reporting  # noqa: E402
import rolling_out  # noqa: E402
import running  # noqa: E402
from p2hooks import bin2pod, manifest, schedule  # noqa: E402
from p2hooks.hook_key import HookKey  # noqa: E402
from p2hooks.store import Store  # noqa: E402
from p2hooks.store.consul import ConsulConnection, ConsulStore  # noqa: E402
from p2hooks.store.directory import DirectoryStore  # noqa: E402

ROUNDS = 5
TRIVIAL_HOOK = "#!/bin/sh\nexit 0\n"


def main() -> None:
    running.main()
    print()
    with tempfile.TemporaryDirectory(prefix="p2fleet-bench-", dir=TOP / ".cache") as directory, consul() as url:
        work = Path(directory)
        row("work", "median ms", "ratio", "to")
        measure_scheduling(work, url)
        measure_installing(work, url)
        listening.measure(work, consul, row)
        fleet_info.measure(work, url, manifests, timed, row)
        reporting.measure(work, row)
        rolling_out.measure(consul, row)


def measure_scheduling(work: Path, url: str) -> None:
    """Schedule 1,000 hooks in Consul and in a directory: the first time, and again with nothing to do."""
    consul_store = ConsulStore(ConsulConnection(url=url))
    one_read = timed(lambda: consul_store.read("hooks/"), ROUNDS)
    for name, store in (("Consul", consul_store), ("directory", DirectoryStore(str(work / "scheduling"), create=True))):
        first = timed(lambda store=store: schedule_all(store), ROUNDS, before=lambda store=store: clear(store))
        again = timed(lambda store=store: schedule_all(store), ROUNDS)
        row(f"schedule 1,000 hooks, {name}", first, first / one_read, "one read of an empty Consul")
        row(f"the same again, {name}", again, again / one_read, "one read of an empty Consul")
    full_read = timed(lambda: consul_store.read("hooks/"), ROUNDS)
    row("one read of 1,000 hooks, Consul", full_read, full_read / one_read, "one read of an empty Consul")
    clear(consul_store)


def measure_installing(work: Path, url: str) -> None:
    """Install 100 hooks by a task, and again with nothing to do, each beside a bare ping."""
    hook = work / "hook"
    hook.write_text(TRIVIAL_HOOK)
    hook.chmod(0o755)
    pods = {
        HookKey.of("before_install", name): bin2pod.build(str(hook), str(work / "build"), pod_id=name).manifest
        for name in (f"hook{number:03}" for number in range(100))
    }
    path = str(work / "store")
    stores: list[tuple[Store, dict[str, str]]] = [
        (DirectoryStore(path, create=True), {"store": "directory", "store_path": path}),
        (ConsulStore(ConsulConnection(url=url)), {"store": "consul", "consul_url": url}),
    ]
    for store, options in stores:
        name = options["store"]
        schedule.apply(store, schedule.plan(store, pods, upload_artifacts=True))
        times = task_times(work, options)
        ping = statistics.median(times["ping"])
        row(f"ping, {name}", ping, 1.0, "ping")
        for task in ("install 100 hooks", "the same again"):
            median = statistics.median(times[task])
            row(f"{task}, {name}", median, median / ping, "ping")


def task_times(work: Path, options: dict[str, str]) -> dict[str, list[float]]:
    """Return, for each task of the playbook, how long it took in each round, in milliseconds."""
    variables = {"options": options, "work": str(work), "rounds": ROUNDS}
    environment = {
        **os.environ,
        "ANSIBLE_CALLBACK_PLUGINS": str(Path(__file__).parent / "callback_plugins"),
        "ANSIBLE_CALLBACKS_ENABLED": "task_times",
        "TASK_TIMES": str(work / "times.jsonl"),
    }
    (work / "times.jsonl").unlink(missing_ok=True)
    command = ["ansible-playbook", "-e", json.dumps(variables), str(Path(__file__).parent / "install.yml")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    times: dict[str, list[float]] = {}
    for line in (work / "times.jsonl").read_text().splitlines():
        entry = json.loads(line)
        times.setdefault(entry["task"].lower(), []).append(entry["seconds"] * 1000)
    return times


def manifests(count: int) -> dict[HookKey, manifest.PodManifest | None]:
    """Return so many hooks' manifests, each validated as those that a task gives are."""
    location = "https://artifacts.example.com/{0}_0123456789abcdef0123456789abcdef01234567.tar.gz"
    return {
        HookKey.of("before_install", name): manifest.from_mapping(
            {"id": name, "launchables": {name: {"launchable_type": "hoist", "location": location.format(name)}}}, name
        )
        for name in (f"hook{number:04}" for number in range(count))
    }


def schedule_all(store: Store) -> None:
    schedule.apply(store, schedule.plan(store, manifests(1000)))


def clear(store: Store) -> None:
    keys = [HookKey.from_store_key(key) for key in store.read("hooks/")]
    schedule.apply(store, schedule.plan(store, dict.fromkeys(keys)))


def timed(work: Callable[[], object], rounds: int, before: Callable[[], object] = lambda: None) -> float:
    """Return the median of how long ``work`` takes, in milliseconds."""
    durations = []
    for dummy in range(rounds):
        before()
        start = time.perf_counter()
        work()
        durations.append((time.perf_counter() - start) * 1000)
    return statistics.median(durations)


def row(work: str, median: float | str, ratio: float | str, base: str) -> None:
    numbers: Sequence[str] = [cell if isinstance(cell, str) else f"{cell:.1f}" for cell in (median, ratio)]
    print(f"{work:<36} {numbers[0]:>10} {numbers[1]:>8}  {base}")


@contextmanager
def consul(*more: str) -> Iterator[str]:
    """Run a Consul of our own, with ``more`` options, and give its URL."""
    ports = free_ports(4)
    options = dict(zip(("http", "server", "serf-lan", "serf-wan"), ports))
    command = [os.environ["P2_CONSUL_BIN"], "agent", "-dev", "-log-level=err", "-dns-port=-1", "-grpc-port=-1"]
    command += [f"-{name}-port={port}" for name, port in options.items()]
    command += more
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{options['http']}"
    try:
        wait_for_leader(ConsulStore(ConsulConnection(url=url)))
        yield url
    finally:
        server.terminate()
        server.wait()


def wait_for_leader(store: Store) -> None:
    from p2hooks.errors import StoreError
    from p2hooks.store import ABSENT, Change

    deadline = time.monotonic() + 30
    while True:
        try:
            store.commit([Change("bench/ready", b"", ABSENT)])
            return
        except StoreError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for dummy in range(count)]
    try:
        return [server.getsockname()[1] for server in sockets]
    finally:
        for server in sockets:
            server.close()


if __name__ == "__main__":
    main()
