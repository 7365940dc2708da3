# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rollouts in a real Consul: people who steer at once, and waiting by blocking queries."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from p2hooks import bin2pod, rollout, schedule
from p2hooks.errors import StoreConflict, StoreDenied
from p2hooks.hook_key import HookKey
from p2hooks.manifest import PodManifest, from_mapping
from p2hooks.rollout import RolloutPlan, Version
from p2hooks.rollout_record import Cohort
from p2hooks.rollout_wait import Waited, wait
from p2hooks.store import Store
from p2hooks.store.consul import ConsulConnection, ConsulStore

if TYPE_CHECKING:
    from conftest import Consul

COMMAND = Path(__file__).parents[3] / "bin/p2-hook"
KEY = HookKey.of("before_install", "greet")
RECORD, BASE, PREVIOUS = (f"{kind}/before_install/greet" for kind in ("hooks-rollout", "hooks", "hooks-previous"))


def pod(number: int) -> PodManifest:
    launchable = {"launchable_type": "hoist", "location": f"https://example.com/greet_{number}.tar.gz"}
    return from_mapping({"id": "greet", "launchables": {"greet": launchable}}, "greet")


OLD, NEW = pod(1), pod(2)


def store_at(url: str, token: str | None = None) -> ConsulStore:
    return ConsulStore(ConsulConnection(url, token=token))


def report(consul: Consul, node: str, manifest: PodManifest, **hook: Any) -> None:
    moment = datetime.now(timezone.utc).isoformat()
    installed = {"manifest_sha": manifest.sha, "scheduled_sha": manifest.sha, "origin": "store", "installed": moment}
    content = {
        "schema": 1, "node": node, "engine": "0.1.0", "reported": moment, "valid_for": 600, "error": None,
        "hooks": {str(KEY): {**installed, **hook}},
    }  # fmt: skip
    consul.put(f"hooks-status/{node}", json.dumps(content).encode())


def start(store: Store, **limits: Any) -> RolloutPlan:
    cohort = Cohort(percent=100)
    plan = rollout.plan_start(store, KEY, Version(NEW), cohort, limits, started_by="alice", now=time.time())
    schedule.apply(store, plan)
    return plan


def values(store: Store) -> dict[str, bytes]:
    return {key: entry.value for key, entry in store.read("hooks").items() if not key.startswith("hooks-status/")}


@pytest.fixture
def store(consul: Consul) -> ConsulStore:
    """Consul with a hook that two hosts have."""
    store = store_at(consul.url)
    schedule.apply(store, schedule.plan(store, {KEY: OLD}))
    for node in ("node1", "node2"):
        report(consul, node, OLD)
    return store


STEPS: dict[str, Callable[[Store], RolloutPlan]] = {
    "widen": lambda store: rollout.plan_widen(
        store, KEY, None, Cohort(("node1",)), {"failed_runs": 1}, now=time.time()
    ),
    "promote": lambda store: rollout.plan_promote(store, KEY, None, now=time.time()),
    "abort": lambda store: rollout.plan_abort(store, KEY, None),
}


@pytest.mark.parametrize("second", STEPS)
@pytest.mark.parametrize("first", STEPS)
def test_of_two_who_steer_one_after_the_other_the_first_wins(store: ConsulStore, first: str, second: str) -> None:
    start(store)
    plans = STEPS[first](store), STEPS[second](store)
    schedule.apply(store, plans[0])
    before = values(store)
    with pytest.raises(StoreConflict, match=r"somebody else changed 'hooks.*, so run this again$"):
        schedule.apply(store, plans[1])
    assert values(store) == before


def test_of_two_who_steer_at_once_one_wins(consul: Consul, store: ConsulStore) -> None:
    for dummy in range(20):
        start(store)
        at_once = threading.Barrier(2)
        conflicts: list[str] = []

        def steer(step: str, plan: RolloutPlan, barrier: threading.Barrier, told: list[str]) -> None:
            barrier.wait()
            try:
                schedule.apply(store_at(consul.url), plan)
            except StoreConflict:
                told.append(step)

        steerers = [
            threading.Thread(target=steer, args=(step, STEPS[step](store), at_once, conflicts))
            for step in ("promote", "abort")
        ]
        for steerer in steerers:
            steerer.start()
        for steerer in steerers:
            steerer.join()
        assert len(conflicts) == 1
        found = values(store)
        assert RECORD not in found
        assert found[BASE].decode() == (OLD if conflicts == ["promote"] else NEW).text
        if conflicts == ["abort"]:
            assert found[PREVIOUS].decode() == OLD.text
            schedule.apply(store, rollout.plan_rollback(store, KEY))


def test_a_rollback_and_a_start_at_once(store: ConsulStore) -> None:
    start(store)
    schedule.apply(store, rollout.plan_promote(store, KEY, None, now=time.time()))
    plan = rollout.plan_rollback(store, KEY)
    launch = rollout.plan_start(store, KEY, Version(OLD), Cohort(("node1",)), {}, started_by="bob", now=time.time())
    schedule.apply(store, launch)
    with pytest.raises(StoreConflict, match=RECORD):
        schedule.apply(store, plan)
    schedule.apply(store, rollout.plan_abort(store, KEY, None))
    for expected in (OLD, NEW):
        schedule.apply(store, rollout.plan_rollback(store, KEY))
        assert values(store)[BASE].decode() == expected.text


def test_waiting_notices_a_report_at_once(consul: Consul, store: ConsulStore) -> None:
    under_way = start(store, watch_for=0.1).rollout
    assert under_way

    def install() -> None:
        time.sleep(1.2)
        report(consul, "node1", NEW)
        report(consul, "node2", NEW)

    host = threading.Thread(target=install)
    host.start()
    started = time.monotonic()
    result = wait(store, under_way, timeout=30)
    host.join()
    assert (result.error, result.verdict.converged) == (None, ("node1", "node2"))
    assert time.monotonic() - started < 8


def test_waiting_aborts_what_breaks_its_limits(consul: Consul, store: ConsulStore) -> None:
    under_way = start(store).rollout
    assert under_way
    report(consul, "node1", NEW, outcomes={"failed": 1})
    result = wait(store, under_way, timeout=30)
    assert result.aborted
    assert values(store) == {BASE: OLD.text.encode()}


def folders(consul: Consul) -> list[str]:
    keys: list[str] = json.loads(consul.ask("GET", "/v1/kv/hooks?keys"))
    return [key for key in keys if key.endswith("/")]


def test_whoever_schedules_has_listeners_wait_for_a_first_rollout(guarded_consul: Consul) -> None:
    rules = [f'key_prefix "{prefix}/" {{ policy = "write" }}' for prefix in ("hooks", "hooks-previous")]
    scheduler = store_at(guarded_consul.url, guarded_consul.new_token("\n".join(rules)))
    schedule.apply(scheduler, schedule.plan(scheduler, {KEY: OLD}))
    assert folders(guarded_consul) == []
    rules.append('key "hooks-rollout/" { policy = "write" }')
    scheduler = store_at(guarded_consul.url, guarded_consul.new_token("\n".join(rules)))
    schedule.apply(scheduler, schedule.plan(scheduler, {KEY: NEW}))
    assert folders(guarded_consul) == ["hooks-rollout/"]


def test_the_rights_that_the_documents_name_are_enough(guarded_consul: Consul) -> None:
    rules = [
        f'key_prefix "{prefix}/" {{ policy = "write" }}' for prefix in ("hooks", "hooks-previous", "hooks-artifacts")
    ]
    scheduler = store_at(guarded_consul.url, guarded_consul.new_token("\n".join(rules)))
    schedule.apply(scheduler, schedule.plan(scheduler, {KEY: OLD}))
    report(guarded_consul, "node1", OLD)
    rules += ['key_prefix "hooks-rollout/" { policy = "write" }', 'key_prefix "hooks-status/" { policy = "read" }']
    store = store_at(guarded_consul.url, guarded_consul.new_token("\n".join(rules)))
    under_way = start(store, watch_for=0.0).rollout
    assert under_way
    with pytest.raises(StoreDenied, match="key:write on 'hooks-rollout/"):
        schedule.apply(scheduler, rollout.plan_abort(store, KEY, None))
    report(guarded_consul, "node1", NEW)
    assert wait(store, under_way, timeout=30).error is None
    schedule.apply(store, rollout.plan_promote(store, KEY, None, now=time.time()))
    schedule.apply(store, rollout.plan_rollback(store, KEY))
    schedule.apply(scheduler, schedule.plan(scheduler, {KEY: NEW}))


class Host:
    """A host with a real listener, and the command on it."""

    def __init__(self, consul: Consul, path: Path) -> None:
        self._common = ["--root", str(path / "root")]
        self._store = ["--store", "consul", "--consul-url", consul.url]
        self._audit = ["--audit-log", str(path / "audit.jsonl")]
        self._path = path
        self._environment = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}

    def __enter__(self) -> Host:
        options = [*self._common, *self._store, *self._audit, "--node", "node1", "--report-every", "1"]
        command = ["setpriv", "--pdeathsig=KILL", sys.executable, str(COMMAND), "listen", *options]
        self._listener = subprocess.Popen(command, env=self._environment, stderr=subprocess.DEVNULL)
        return self

    def __exit__(self, *dummy: object) -> None:
        self._listener.kill()
        self._listener.wait()

    def build(self, number: int, body: str) -> Version:
        executable = self._path / f"{number}/greet"
        executable.parent.mkdir()
        executable.write_text(f"#!/bin/sh\n{body}\n")
        executable.chmod(0o755)
        return Version(bin2pod.build(str(executable), str(self._path / "build")).manifest, upload_artifacts=True)

    def run(self) -> str:
        """Fire the event, and return what the hook wrote."""
        options = [*self._common, *self._audit, "--node", "node1", "--pod-root", str(self._path), "--json"]
        command = [sys.executable, str(COMMAND), "run", "before_install", "hello", *options]
        done = subprocess.run(command, env=self._environment, stdout=subprocess.PIPE, check=True)
        return "".join(hook["output"] for hook in json.loads(done.stdout)["hooks"])


def eventually(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "this did not come"
        time.sleep(0.1)


def test_a_real_host_takes_a_version_returns_from_a_bad_one_and_back(consul: Consul, tmp_path: Path) -> None:
    store = store_at(consul.url)
    with Host(consul, tmp_path) as host:
        good, bad = host.build(1, "echo good"), host.build(2, "echo bad; exit 3")
        schedule.apply(store, schedule.plan(store, {KEY: good.manifest}, upload_artifacts=True))
        eventually(lambda: store.get("hooks-status/node1") and host.run() == "good\n")

        def rolled_out(version: Version, watch_for: float) -> Waited:
            limits = {"watch_for": watch_for}
            plan = rollout.plan_start(
                store, KEY, version, Cohort(("node1",)), limits, started_by="alice", now=time.time()
            )
            schedule.apply(store, plan)
            assert plan.rollout
            return wait(store, plan.rollout, timeout=30)

        def fire() -> None:
            eventually(lambda: host.run() == "bad\n")

        deploy = threading.Thread(target=fire)
        deploy.start()
        result = rolled_out(bad, watch_for=20)
        deploy.join()
        assert result.aborted
        assert "failed with exit code 3" in str(result.error)
        assert 'having written "bad' in str(result.error)
        eventually(lambda: host.run() == "good\n")

        better = host.build(3, "echo better")
        assert rolled_out(better, watch_for=0.5).error is None
        assert host.run() == "better\n"
        schedule.apply(store, rollout.plan_promote(store, KEY, better, now=time.time()))
        schedule.apply(store, rollout.plan_rollback(store, KEY))
        eventually(lambda: host.run() == "good\n")
