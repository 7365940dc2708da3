# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``p2-hook listen`` as a service: a process of its own, a real Consul, real signals, a real socket of systemd."""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import ACL_CONFIGURATION, MANAGEMENT_TOKEN, Consul, ports_of_consul, running_consul
from p2hooks import bin2pod, install, schedule
from p2hooks.hook_key import HookKey
from p2hooks.layout import Layout
from p2hooks.manifest import PodManifest
from p2hooks.rollout_record import Cohort, Limits, Rollout
from p2hooks.store import ABSENT, Change, Store
from p2hooks.store.consul import ConsulConnection, ConsulStore
from p2hooks.store.directory import DirectoryStore

COMMAND = Path(__file__).parents[3] / "bin/p2-hook"
HOST_RULES = """
key_prefix "hooks/" { policy = "read" }
key_prefix "hooks-rollout/" { policy = "read" }
key_prefix "hooks-artifacts/" { policy = "read" }
key "hooks-status/node1" { policy = "write" }
"""
ACL_NOT_FOUND = "denies key:read on 'hooks/': 'ACL not found'"


def eventually(condition: Callable[[], object], seconds: float = 20) -> float:
    """Wait until ``condition`` holds, and return for how long."""
    started = time.monotonic()
    while not condition():
        assert time.monotonic() < started + seconds, "this did not come"
        time.sleep(0.01)
    return time.monotonic() - started


class Service:
    """A listener, and the systemd that it thinks has started it."""

    def __init__(self, path: Path, *options: str, watchdog: float | None = None) -> None:
        self.root = path / "root"
        self.exec = self.root / "exec/before_install"
        self._log = path / "stderr"
        self._options = [
            *options,
            "--root",
            str(self.root),
            "--audit-log",
            str(path / "audit.jsonl"),
            "--node",
            "node1",
        ]
        self._address = str(path / "notify")
        self._watchdog = watchdog
        self.heard: list[str] = []
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Service:
        self._receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._receiver.bind(self._address)
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._hear)
        self._thread.start()
        environment = {"PATH": os.environ["PATH"], "NOTIFY_SOCKET": self._address}
        if "PYTHONPATH" in os.environ:  # another library consul
            environment["PYTHONPATH"] = os.environ["PYTHONPATH"]
        if self._watchdog:
            environment["WATCHDOG_USEC"] = str(int(self._watchdog * 1e6))
        with open(self._log, "ab") as log:
            self.process = subprocess.Popen(
                ["setpriv", "--pdeathsig=KILL", sys.executable, str(COMMAND), "listen", *self._options],
                stderr=log,
                env=environment,
            )
        return self

    def __exit__(self, *dummy: object) -> None:
        assert self.process
        self.process.kill()
        self.process.wait()
        self._is_over.set()
        self._thread.join()
        self._receiver.close()

    @property
    def lines(self) -> list[str]:
        return self._log.read_text().splitlines()

    def says(self, pattern: str, seconds: float = 20) -> str:
        """Wait for a line in the journal."""
        eventually(lambda: any(re.search(pattern, line) for line in self.lines) or self.has_died(), seconds)
        return next(line for line in self.lines if re.search(pattern, line))

    def has_died(self) -> bool:
        assert self.process
        assert self.process.poll() is None, self.lines
        return False

    def shows(self, pattern: str, seconds: float = 20) -> None:
        """Wait for a status."""
        eventually(lambda: any(re.search(pattern, state) for state in self.heard), seconds)

    def hooks(self) -> list[str]:
        """Return what the hooks that would run say."""
        if not self.exec.is_dir():
            return []
        # A link that is being made has a name that begins with a dot.
        hooks = [path for path in self.exec.iterdir() if not path.name.startswith(".")]
        return sorted(path.read_text().rpartition("echo ")[2].strip() for path in hooks)

    def installs(self, *hooks: str, seconds: float = 20) -> float:
        return eventually(lambda: self.hooks() == sorted(hooks) or self.has_died(), seconds)

    def signal(self, number: int) -> None:
        assert self.process
        self.process.send_signal(number)

    def stops(self) -> float:
        """Stop it; return how long that took."""
        assert self.process
        started = time.monotonic()
        self.signal(signal.SIGTERM)
        assert self.process.wait(10) == 0
        return time.monotonic() - started

    def memory(self) -> int:
        """Return the resident memory, in KiB."""
        assert self.process
        (line,) = re.findall(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{self.process.pid}/status").read_text())
        return int(line)

    def _hear(self) -> None:
        while not self._is_over.is_set():
            if select.select([self._receiver], [], [], 0.05)[0]:
                self.heard.append(self._receiver.recv(65536).decode())


class Scheduler:
    """Whoever schedules hooks."""

    def __init__(self, path: Path, store: Store) -> None:
        self._path = path
        self._path.mkdir(exist_ok=True)
        self.store = store

    def put(self, name: str, says: str) -> None:
        self._apply({HookKey.of("before_install", name): self._built(name, says)})

    def roll_out(self, name: str, says: str, *nodes: str, ends: str = "") -> None:
        """Have these hosts take a version, which does ``ends`` before it says anything."""
        key, pod = HookKey.of("before_install", name), self._built(name, says, ends)
        moment = "2026-01-31T12:00:00.000Z"
        rollout = Rollout(key, pod, Cohort(nodes), Limits(), None, "alice", moment, moment)
        self.store.commit([self._new(rollout.store_key, rollout.encode())])

    def abort(self, name: str) -> None:
        self.store.commit([self._new(f"hooks-rollout/before_install/{name}", None)])

    def promote(self, name: str, says: str) -> None:
        """Schedule a version and end its rollout, in one transaction."""
        key = f"before_install/{name}"
        manifest = self._built(name, says).text.encode()
        self.store.commit([self._new(f"hooks-rollout/{key}", None), self._new(f"hooks/{key}", manifest)])

    def remove(self, name: str) -> None:
        self._apply({HookKey.of("before_install", name): None})

    def report(self) -> dict[str, Any]:
        entry = self.store.get("hooks-status/node1")
        return dict(json.loads(entry.value)) if entry else {}

    def _built(self, name: str, says: str, ends: str = "") -> PodManifest:
        executable = self._path / name
        executable.write_text(f"#!/bin/sh\n{ends}echo {says}\n")
        executable.chmod(0o755)
        return bin2pod.build(str(executable), str(self._path / "build"), pod_id=name).manifest

    def _new(self, store_key: str, value: bytes | None) -> Change:
        entry = self.store.get(store_key)
        return Change(store_key, value, entry.index if entry else ABSENT)

    def _apply(self, wanted: dict[HookKey, Any]) -> None:
        schedule.apply(self.store, schedule.plan(self.store, wanted, upload_artifacts=True))


def scheduler_at(path: Path, url: str, token: str | None = None) -> Scheduler:
    return Scheduler(path / "scheduler", ConsulStore(ConsulConnection(url, token=token)))


def consul_options(url: str, *more: str) -> list[str]:
    return ["--store", "consul", "--consul-url", url, *more]


@pytest.fixture
def scheduler(tmp_path: Path, consul: Consul) -> Scheduler:
    return scheduler_at(tmp_path, consul.url)


@pytest.fixture
def service(tmp_path: Path, consul: Consul) -> Iterator[Service]:
    with Service(tmp_path, *consul_options(consul.url)) as service:
        yield service


# --- the main thing ---------------------------------------------------------------------------------------------------


def test_what_is_scheduled_is_there_within_a_second_and_reported(service: Service, scheduler: Scheduler) -> None:
    service.shows("^STATUS=watching Consul at http.*, 0 hooks installed$")
    scheduler.put("a", "one")
    assert service.installs("one") < 1
    service.says("installed before_install/a [0-9a-f]{40}$")
    scheduler.put("b", "two")
    assert service.installs("one", "two") < 1
    scheduler.put("a", "three")
    assert service.installs("three", "two") < 1
    scheduler.remove("b")
    assert service.installs("three") < 1
    eventually(lambda: set(scheduler.report().get("hooks", {})) == {"before_install/a"}, 2)
    report = scheduler.report()
    hook = report["hooks"]["before_install/a"]
    assert (report["node"], report["error"], hook["origin"], hook["error"]) == ("node1", None, "store", None)
    assert hook["manifest_sha"] == hook["scheduled_sha"]
    (nothing,) = (line for line in service.lines if "nothing is scheduled" in line)
    done = [line.split()[1] for line in service.lines if line != nothing]
    assert done == ["listening", "installed", "installed", "upgraded", "removed"]
    service.shows("1 hooks installed, last change: removed before_install/b")


def test_memory_and_what_a_change_costs(service: Service, scheduler: Scheduler) -> None:
    for number in range(5):
        scheduler.put(f"hook{number}", "x")
    service.installs(*["x"] * 5)
    scheduler.remove("hook0")
    service.installs(*["x"] * 4)
    assert service.memory() < 40 * 1024


def test_it_waits_while_somebody_else_installs(service: Service, scheduler: Scheduler) -> None:
    with install.lock(Layout(str(service.root))):
        scheduler.put("a", "one")
        time.sleep(0.7)
        assert service.hooks() == []
    service.installs("one")


def test_what_ran_is_reported(tmp_path: Path, scheduler: Scheduler, consul: Consul) -> None:
    with Service(tmp_path, *consul_options(consul.url, "--report-every", "1")) as service:
        scheduler.put("a", "one")
        service.installs("one")
        run = [
            "run",
            "before_install",
            "hello",
            "--root",
            str(service.root),
            "--audit-log",
            str(tmp_path / "audit.jsonl"),
        ]
        for dummy in range(3):
            subprocess.run([sys.executable, str(COMMAND), *run], check=True, stdout=subprocess.DEVNULL)
        eventually(lambda: scheduler.report()["hooks"]["before_install/a"]["outcomes"] == {"succeeded": 3}, 5)


def test_a_rollout_comes_and_goes_within_a_second_and_its_failure_is_reported_as_soon(
    tmp_path: Path, guarded_consul: Consul
) -> None:
    file = tmp_path / "token"
    file.write_text(guarded_consul.new_token(HOST_RULES))
    scheduler = scheduler_at(tmp_path, guarded_consul.url, MANAGEMENT_TOKEN)
    options = consul_options(guarded_consul.url, "--consul-token-file", str(file), "--report-every", "30")
    scheduler.put("a", "one")
    scheduler.roll_out("other", "x", "node2")  # while there is none, Consul has nothing to watch
    with Service(tmp_path, *options) as service:
        service.installs("one")
        scheduler.roll_out("a", "two", "node1", ends="false || exit 7; ")
        assert service.installs("two") < 1
        run = ["run", "before_install", "hello", "--root", str(service.root)]
        run += ["--audit-log", str(tmp_path / "audit.jsonl")]
        subprocess.run([sys.executable, str(COMMAND), *run], check=True, stdout=subprocess.DEVNULL)
        eventually(lambda: scheduler.report()["hooks"]["before_install/a"]["last_failure"], 5)
        assert scheduler.report()["hooks"]["before_install/a"]["last_failure"]["exit_code"] == 7
        scheduler.abort("a")
        assert service.installs("one") < 1
        scheduler.roll_out("a", "three", "node1")
        service.installs("three")
        scheduler.promote("a", "three")
        scheduler.roll_out("b", "four", "node1")
        service.installs("three", "four")
        scheduler.abort("b")
        service.installs("three")
        service.says("removed before_install/b")
        done = [" ".join(line.split()[1:3]) for line in service.lines if "before_install/" in line]
        a, b = "before_install/a", "before_install/b"
        there_and_back = [f"upgraded {a}", f"returned {a}"]
        promoted = f"upgraded {a}"
        assert done == [f"installed {a}", *there_and_back, promoted, f"installed {b}", f"removed {b}"]


def test_a_token_that_may_not_read_rollouts_leaves_the_host_on_what_is_scheduled(
    tmp_path: Path, guarded_consul: Consul
) -> None:
    file = tmp_path / "token"
    file.write_text(guarded_consul.new_token(HOST_RULES.replace('key_prefix "hooks-rollout/"', 'key_prefix "other/"')))
    scheduler = scheduler_at(tmp_path, guarded_consul.url, MANAGEMENT_TOKEN)
    scheduler.put("a", "one")
    scheduler.roll_out("a", "two", "node1")
    options = consul_options(guarded_consul.url, "--consul-token-file", str(file), "--reconcile-every", "1")
    with Service(tmp_path, *options) as service:
        service.installs("one")
        scheduler.put("b", "three")
        assert service.installs("one", "three") < 1
        file.write_text(guarded_consul.new_token(HOST_RULES))
        service.installs("two", "three")


# --- Consul in trouble ------------------------------------------------------------------------------------------------


def test_a_consul_that_lost_everything_removes_nothing(tmp_path: Path) -> None:
    ports = ports_of_consul()
    with contextlib.ExitStack() as first:
        consul = first.enter_context(running_consul(tmp_path, ports=ports))
        scheduler = scheduler_at(tmp_path, consul.url)
        scheduler.put("a", "one")
        scheduler.put("b", "two")
        with Service(tmp_path, *consul_options(consul.url, "--reconcile-every", "2")) as service:
            service.installs("one", "two")
            first.close()
            service.says("cannot be reached: Connection refused")
            service.shows("STATUS=no hooks from the store for [0-9]+ s: Consul at http.* cannot be reached")
            with running_consul(tmp_path, ports=ports):
                service.says("answers again, after")
                service.says("nothing is scheduled, but hooks from there are installed on this host .2.")
                eventually(lambda: "nothing is scheduled" in (scheduler.report().get("error") or ""))
                assert service.hooks() == ["one", "two"]
                # Whoever puts them back does so one by one.
                scheduler.put("a", "new")
                service.installs("new", "two")
                service.says("before_install/b not removed: .* it was emptied, or its index went back")
                time.sleep(3)
                assert service.hooks() == ["new", "two"]


def test_a_cluster_without_a_leader(tmp_path: Path) -> None:
    ports = [ports_of_consul(), ports_of_consul()]

    def server(number: int, *, has_leader: bool) -> contextlib.AbstractContextManager[Consul]:
        directory = tmp_path / f"server{number}"
        directory.mkdir(exist_ok=True)
        mode = [
            "-server",
            "-bootstrap-expect=2",
            f"-node=server{number}",
            f"-data-dir={directory / 'data'}",
            f"-retry-join=127.0.0.1:{ports[1 - number]['serf-lan']}",
            "-retry-interval=1s",
        ]
        configuration = "performance { raft_multiplier = 1 }"
        return running_consul(directory, configuration, ports=ports[number], mode=mode, has_leader=has_leader)

    url = f"http://127.0.0.1:{ports[0]['http']}"
    options = consul_options(url, "--reconcile-every", "2")
    with server(0, has_leader=False), Service(tmp_path, *options) as service:
        service.says(r"could not answer \(500\): '.*[Ll]eader")
        with server(1, has_leader=True):
            service.says("answers again")
            scheduler = scheduler_at(tmp_path, url)
            scheduler.put("a", "one")
            service.installs("one")
        count = len(service.lines)
        eventually(lambda: any("(500)" in line for line in service.lines[count:]))
        assert service.hooks() == ["one"]
        with server(1, has_leader=True):
            scheduler.put("b", "two")
            service.installs("one", "two")


def test_a_token_that_is_deleted_and_replaced_in_its_file(tmp_path: Path, guarded_consul: Consul) -> None:
    token = guarded_consul.new_token(HOST_RULES)
    file = tmp_path / "token"
    file.write_text(token)
    scheduler = scheduler_at(tmp_path, guarded_consul.url, MANAGEMENT_TOKEN)
    scheduler.put("a", "one")
    options = consul_options(guarded_consul.url, "--consul-token-file", str(file), "--reconcile-every", "1")
    with Service(tmp_path, *options) as service:
        service.installs("one")
        eventually(lambda: "before_install/a" in scheduler.report().get("hooks", {}))
        accessor = json.loads(guarded_consul.ask("GET", "/v1/acl/token/self", token=token))["AccessorID"]
        guarded_consul.ask("DELETE", f"/v1/acl/token/{accessor}")
        service.says(ACL_NOT_FOUND, 40)
        assert service.hooks() == ["one"]
        service.says("consul_token_file .* is readable by others; chmod o-r it")
        file.unlink()
        service.says("consul_token_file .* cannot be read: No such file or directory")
        file.write_text(guarded_consul.new_token(HOST_RULES))
        scheduler.put("a", "two")
        service.installs("two")
        assert not any(token in line for line in service.lines)


def test_a_token_that_may_not_read_hooks_removes_nothing(tmp_path: Path, guarded_consul: Consul) -> None:
    file = tmp_path / "token"
    file.write_text(guarded_consul.new_token(HOST_RULES))
    scheduler = scheduler_at(tmp_path, guarded_consul.url, MANAGEMENT_TOKEN)
    scheduler.put("a", "one")
    options = consul_options(guarded_consul.url, "--consul-token-file", str(file), "--reconcile-every", "1")
    with Service(tmp_path, *options) as service:
        service.installs("one")
        file.write_text(guarded_consul.new_token('key_prefix "other/" { policy = "read" }'))
        service.says("nothing is scheduled, but hooks from there are installed on this host .1.")
        service.says("denies key:read on 'hooks-status/node1'.*this host's report is outdated")
        assert service.hooks() == ["one"]


class Proxy:
    """A TCP proxy that can stop to pass anything on, with all connections open."""

    def __init__(self, url: str) -> None:
        self._target = ("127.0.0.1", int(url.rpartition(":")[2]))
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self.is_silent = False
        self._is_over = threading.Event()
        self._threads = [threading.Thread(target=self._serve)]

    def __enter__(self) -> Proxy:
        self._threads[0].start()
        return self

    def __exit__(self, *dummy: object) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join()
        self._listening.close()

    def _serve(self) -> None:
        while not self._is_over.is_set():
            if select.select([self._listening], [], [], 0.05)[0]:
                self._threads.append(threading.Thread(target=self._pass_on, args=self._listening.accept()[:1]))
                self._threads[-1].start()

    def _pass_on(self, client: socket.socket) -> None:
        is_dead = self.is_silent
        with client, socket.create_connection(self._target) as server:
            while not self._is_over.is_set():
                is_dead = is_dead or self.is_silent
                for ready in select.select([client, server], [], [], 0.05)[0]:
                    try:
                        content = ready.recv(65536)
                        if content and not is_dead:
                            (server if ready is client else client).sendall(content)
                    except OSError:  # one of the two has ended meanwhile, and reset the connection
                        return
                    if not content:
                        return


def test_a_connection_that_dies_silently_is_noticed(tmp_path: Path, consul: Consul, scheduler: Scheduler) -> None:
    options = ["--reconcile-every", "2", "--consul-timeout", "1"]
    with Proxy(consul.url) as proxy, Service(tmp_path, *consul_options(proxy.url, *options)) as service:
        scheduler.put("a", "one")
        service.installs("one")
        proxy.is_silent = True
        service.says("gave no complete answer within", 6)
        scheduler.put("a", "two")
        assert service.hooks() == ["one"]
        assert service.stops() < 1


def test_when_the_network_comes_back_it_goes_on(tmp_path: Path, consul: Consul, scheduler: Scheduler) -> None:
    options = ["--reconcile-every", "2", "--consul-timeout", "1"]
    with Proxy(consul.url) as proxy, Service(tmp_path, *consul_options(proxy.url, *options)) as service:
        scheduler.put("a", "one")
        service.installs("one")
        proxy.is_silent = True
        service.says("gave no complete answer within", 6)
        scheduler.put("a", "two")
        proxy.is_silent = False
        service.installs("two")
        service.says("answers again")


# --- systemd ----------------------------------------------------------------------------------------------------------


def test_systemd_hears_of_start_reload_and_stop(service: Service, scheduler: Scheduler) -> None:
    service.shows("^READY=1$")
    scheduler.put("a", "one")
    service.installs("one")
    shutil.rmtree(service.exec)
    service.signal(signal.SIGHUP)
    service.says("repaired before_install/a", 3)
    assert service.hooks() == ["one"]
    assert service.stops() < 1
    states = [state for state in service.heard if not state.startswith("STATUS=")]
    assert states[0] == "READY=1"
    assert re.fullmatch(r"RELOADING=1\nMONOTONIC_USEC=\d+", states[1])
    assert states[2:] == ["READY=1", "STOPPING=1"]
    assert service.lines[-1] == "p2-hook: stopped"


def test_the_watchdog_is_kept_quiet(tmp_path: Path, consul: Consul) -> None:
    with Service(tmp_path, *consul_options(consul.url), watchdog=0.6) as service:
        time.sleep(1.5)
        assert 4 <= service.heard.count("WATCHDOG=1") <= 8


def test_it_is_ready_though_consul_is_away(tmp_path: Path, unused_port: int) -> None:
    with Service(tmp_path, *consul_options(f"http://127.0.0.1:{unused_port}")) as service:
        service.shows("^READY=1$")
        service.says("cannot be reached: Connection refused")
        assert service.stops() < 1


def test_it_stops_at_once_while_it_waits_for_an_installation(service: Service, scheduler: Scheduler) -> None:
    with install.lock(Layout(str(service.root))):
        scheduler.put("a", "one")
        time.sleep(0.5)
        assert service.stops() < 1


def test_it_stops_at_once_while_an_artifact_comes_in(tmp_path: Path, consul: Consul, scheduler: Scheduler) -> None:
    with Service(tmp_path, *consul_options(consul.url)) as service, socket.create_server(("127.0.0.1", 0)) as server:
        location = f"https://127.0.0.1:{server.getsockname()[1]}/a_1.tar.gz"
        manifest = {"id": "a", "launchables": {"a": {"launchable_type": "hoist", "location": location}}}
        consul.put("hooks/before_install/a", json.dumps(manifest).encode())
        server.settimeout(10)
        connection = server.accept()[0]
        with connection:
            service.shows("installing from Consul at .*: before_install/a")
            assert service.stops() < 1


def test_a_reload_with_a_mistake_goes_on_as_before(tmp_path: Path, guarded_consul: Consul) -> None:
    file = tmp_path / "token"
    file.write_text(guarded_consul.new_token(HOST_RULES))
    with Service(tmp_path, *consul_options(guarded_consul.url, "--consul-token-file", str(file))) as service:
        service.shows("watching")
        content = file.read_text()
        file.unlink()
        service.signal(signal.SIGHUP)
        service.says("not reloaded, going on as before: consul_token_file .* cannot be read")
        file.write_text(content)
        scheduler_at(tmp_path, guarded_consul.url, MANAGEMENT_TOKEN).put("a", "one")
        service.installs("one")


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--consul-url", "ftp://x"], 78, "consul_url is not of the form"),
        (["--consul-timeout", "0"], 78, "consul_timeout is 0"),
        (["--root", str(COMMAND)], 78, "root .*p2-hook is no directory"),
        # which may be there later
        (["--consul-token-file", "/does/not/exist"], 1, "consul_token_file '/does/not/exist' cannot be read"),
        (
            ["--consul-ca-path", "/does/not/exist"],
            1,
            "consul_ca_path '/does/not/exist' does not exist or cannot be read",
        ),
    ],
)
def test_a_wrong_configuration_does_not_start(consul: Consul, options: list[str], code: int, message: str) -> None:
    command = [sys.executable, str(COMMAND), "listen", *consul_options(consul.url), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10)
    assert done.returncode == code
    assert re.fullmatch(rf"p2-hook: {message}[^\n]*\n", done.stderr)


# --- a directory ------------------------------------------------------------------------------------------------------


def test_a_directory_is_watched_as_well(tmp_path: Path) -> None:
    path = tmp_path / "store"
    scheduler = Scheduler(tmp_path / "scheduler", DirectoryStore(str(path), create=True))
    scheduler.put("a", "one")
    with Service(tmp_path, "--store-path", str(path), "--reconcile-every", "5") as service:
        service.installs("one")
        scheduler.put("b", "two")
        assert service.installs("one", "two") < 2.5
        scheduler.remove("b")
        assert service.installs("one") < 2.5
        eventually(lambda: set(scheduler.report().get("hooks", {})) == {"before_install/a"}, 3)
        path.rename(f"{path}.away")
        service.says("does not exist; schedule a hook first, or mount it")
        path.mkdir()
        service.says("nothing is scheduled, but hooks from there are installed")
        assert service.hooks() == ["one"]
        assert service.memory() < 40 * 1024
        assert service.stops() < 1


def test_acl_configuration_is_the_one_of_the_documentation() -> None:
    """The rules that hosts get here are those that docs/stores.md recommends."""
    text = (COMMAND.parents[1] / "docs/stores.md").read_text()
    assert ACL_CONFIGURATION
    for line in HOST_RULES.strip().splitlines():
        assert line.replace("node1", "NODE") in text
