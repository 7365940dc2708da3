# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from p2hooks import install, install_plan
from p2hooks.errors import LayoutError, StoreDenied, StoreUnavailable
from p2hooks.hook_key import SCHEDULE_PREFIX
from p2hooks.sd_notify import ERROR, INFO, NOTICE, WARNING
from p2hooks.store import Change, Snapshot
from p2hooks.store.watch import DOUBT_FOR
from support_host import typed
from support_listen import Listening, ScriptedStore

AWAY = StoreUnavailable("the store cannot be reached")


@pytest.fixture
def listening(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Listening]:
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    with closing(Listening(tmp_path)) as listening:
        yield listening


def versions(listening: Listening) -> list[str]:
    return sorted(listening.host.runs().values())


# --- changes ----------------------------------------------------------------------------------------------------------


def test_what_is_scheduled_is_installed_at_once_and_then_every_change(listening: Listening) -> None:
    listening.schedule("a")
    lines = listening.run(1)
    assert lines == ["installed before_install/a 1"]
    assert versions(listening) == ["a 1"]
    assert listening.shown == "watching the store, 1 hooks installed, last change: installed before_install/a 1"
    listening.later(4, lambda: listening.schedule("a", "2"))
    listening.later(8, lambda: listening.schedule("b"))
    assert listening.run(8) == ["upgraded before_install/a 2", "installed before_install/b 1"]
    assert versions(listening) == ["a 2", "b 1"]
    listening.later(10, lambda: listening.put("a", None))
    assert listening.run(15) == ["removed before_install/a"]
    assert versions(listening) == ["b 1"]
    assert {priority for priority, dummy in listening.lines} == {INFO}


def test_a_change_is_asked_for_from_the_last_index_on(listening: Listening) -> None:
    listening.schedule("a")
    listening.run(1)
    assert [(asked.at, asked.index) for asked in listening.store.asked] == [(0, 0), (0, 11)]
    assert 200 < listening.store.asked[-1].seconds <= 300


def test_what_was_damaged_is_repaired_by_a_reconciliation(listening: Listening) -> None:
    listening.schedule("a")
    listening.run(1)
    shutil.rmtree(listening.host.exec)
    assert listening.run(200) == []
    assert listening.run(101) == ["repaired before_install/a 1"]


def test_a_root_that_runs_will_refuse_is_reported(listening: Listening) -> None:
    listening.schedule("a")
    listening.run(1)
    listening.host.root.chmod(0o775)
    (line,) = listening.run(3600)
    assert line == (
        f"hooks below {listening.host.root} will not run as long as this is so: "
        f"{listening.host.root} is writable by group or others; chmod go-w it"
    )
    assert listening.lines[-1][0] == ERROR
    assert listening.report()["error"] == line
    listening.schedule("a", "2")
    assert listening.run(300) == ["upgraded before_install/a 2"]
    listening.host.root.chmod(0o755)
    assert listening.run(300) == ["nothing keeps hooks from running any more"]
    assert listening.report()["error"] is None


def test_reconciliations_of_many_hosts_spread_out(listening: Listening) -> None:
    listening.schedule("a")
    listening.world.chance = 0
    listening.run(1)
    assert listening.store.asked[-1].seconds == 300
    listening.world.chance = 1
    listening.run(301)
    assert listening.store.asked[-1].seconds == 225


def test_nothing_happens_while_somebody_else_installs(listening: Listening, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(install, "LOCK_PATIENCE", 0.0)
    listening.schedule("a")
    with install.lock(listening.host.layout):
        (line,) = listening.run(1)
        assert "another installation has been at work here for 0 s" in line
        assert versions(listening) == []
        assert listening.report()["error"] == line
    assert listening.run(10) == ["installed before_install/a 1"]
    assert listening.report()["error"] is None


# --- a store in trouble -----------------------------------------------------------------------------------------------


def test_pauses_after_failures_double_up_to_ten_seconds_and_begin_anew(listening: Listening) -> None:
    listening.schedule("a")
    listening.store.script = [AWAY] * 6
    listening.run(60)
    assert [(asked.at, asked.index) for asked in listening.store.asked] == [
        *((at, 0) for at in (0, 1, 3, 7, 15, 25, 35)),
        (35, 11),
    ]
    listening.later(20, lambda: listening.store.script.extend([AWAY] * 2))
    listening.run(100)
    assert [(asked.at, asked.index) for asked in listening.store.asked[8:]] == [(81, 0), (83, 0), (83, 11)]


def test_pauses_are_a_random_part(listening: Listening) -> None:
    listening.world.chance = 0.25
    listening.store.script = [AWAY] * 3
    listening.run(2)
    assert [asked.at for asked in listening.store.asked[:4]] == [0, 0.25, 0.75, 1.75]


@pytest.mark.parametrize("error", [AWAY, StoreDenied("the store denies key:read"), StoreUnavailable("429")])
def test_failures_change_nothing_and_are_told_once(listening: Listening, error: Exception) -> None:
    listening.schedule("a")
    listening.run(1)
    listening.later(50, lambda: listening.store.script.extend([error] * 5))
    lines = listening.run(70)
    assert lines == [f"{error}; nothing changes until it answers"]
    assert listening.lines[-1][0] == WARNING
    assert versions(listening) == ["a 1"]
    assert listening.shown.startswith("no hooks from the store for 1")
    assert listening.shown.endswith(f" s: {error}")
    assert "the store answers again, after 25 s" in listening.run(20)
    assert (NOTICE, "the store answers again, after 25 s") in listening.lines


def test_an_unexpected_error_is_not_hidden(listening: Listening) -> None:
    listening.store.script = [ZeroDivisionError()]
    with pytest.raises(ZeroDivisionError):
        listening.run(1)


def test_a_store_that_answers_at_once_without_anything_new_is_not_asked_all_the_time(listening: Listening) -> None:
    listening.schedule("a")
    listening.run(1)
    listening.store.script = [listening.store.snapshot()] * 1000
    listening.listener.reload(listening.settings())
    listening.run(300)
    assert len([asked for asked in listening.store.asked if asked.at >= 1]) < 40


def lose_data(listening: Listening) -> None:
    """Let the store be empty, as after a restart without its data."""
    listening.store.index = 1
    listening.store.indexes = dict.fromkeys(listening.store.indexes, 1)
    listening.store.keys.clear()


def test_an_emptied_store_removes_nothing_and_is_told(listening: Listening) -> None:
    listening.schedule("a")
    listening.schedule("b")
    listening.run(1)
    listening.later(100, lambda: lose_data(listening))
    lines = listening.run(3600)
    assert len(lines) == 1
    assert "nothing is scheduled, but hooks from there are installed on this host (2). Nothing was removed" in lines[0]
    assert listening.lines[-1][0] == ERROR
    assert versions(listening) == ["a 1", "b 1"]
    assert listening.report()["error"] == lines[0][:500]
    listening.schedule("a", "2")
    lines = listening.run(300)
    assert lines[0] == "upgraded before_install/a 2"
    assert lines[1].startswith("before_install/b not removed: the store: it was emptied, or its index went back")
    listening.schedule("b", "3")
    assert listening.run(300) == ["upgraded before_install/b 3"]
    assert listening.report()["error"] is None


def test_what_is_missing_after_the_index_went_back_is_removed_only_later(listening: Listening) -> None:
    listening.schedule("a")
    listening.schedule("b")
    old = listening.store.keys["hooks/before_install/a"]
    listening.run(1)

    def restore() -> None:
        listening.store.index = listening.store.indexes[SCHEDULE_PREFIX] = 5
        listening.store.keys.clear()
        listening.store.keys["hooks/before_install/a"] = old

    listening.later(100, restore)
    (line,) = listening.run(DOUBT_FOR + 200)
    assert line.startswith("before_install/b not removed: the store: it was emptied, or its index went back")
    assert versions(listening) == ["a 1", "b 1"]
    assert listening.run(301) == ["removed before_install/b"]


def test_an_index_that_goes_back_with_nothing_missing_means_nothing(listening: Listening) -> None:
    """Consul's does, when it forgets the deletion of a key, a quarter of an hour later."""
    listening.schedule("a")
    listening.schedule("b")
    listening.run(1)
    before = listening.store.snapshot()

    def forget() -> None:
        listening.store.indexes[SCHEDULE_PREFIX] = 3
        listening.store.script.append(Snapshot(before.entries, 3))

    listening.later(10, forget)
    listening.run(20)
    assert listening.store.asked[-1].index == 3
    listening.later(10, lambda: listening.put("b", None))
    assert listening.run(20) == ["removed before_install/b"]


def test_a_removal_needs_a_second_read_that_agrees(listening: Listening) -> None:
    listening.schedule("a")
    listening.schedule("b")
    listening.run(1)
    whole = listening.store.snapshot()
    part = Snapshot({key: whole.entries[key] for key in list(whole.entries)[:1]}, whole.index + 1)

    def change_twice() -> None:
        listening.store.script.append(part)
        listening.store.indexes[SCHEDULE_PREFIX] += 2

    listening.later(10, change_twice)
    assert listening.run(11) == [
        "before_install/b not removed: the store: what was missing a moment ago is there again",
        "nothing keeps hooks from being installed or removed any more",
    ]
    assert listening.lines[-1][0] == NOTICE
    assert versions(listening) == ["a 1", "b 1"]
    assert listening.run(60) == []
    assert versions(listening) == ["a 1", "b 1"]
    assert listening.report()["error"] is None


@pytest.mark.parametrize("error", [AWAY, StoreDenied("denied")])
def test_a_removal_waits_for_a_second_read_that_works(listening: Listening, error: Exception) -> None:
    listening.schedule("a")
    listening.schedule("b")
    listening.run(1)
    listening.store.second_reads = [error]
    listening.later(10, lambda: listening.put("b", None))
    assert listening.run(11) == [f"before_install/b not removed: {error}"]
    assert versions(listening) == ["a 1", "b 1"]
    assert listening.run(6) == ["removed before_install/b"]


def test_additions_do_not_wait_for_removals_that_are_in_doubt(listening: Listening) -> None:
    listening.schedule("a")
    listening.schedule("b")
    listening.run(1)
    listening.store.second_reads = [AWAY]

    def change() -> None:
        listening.put("b", None)
        listening.schedule("c")

    listening.later(10, change)
    assert "installed before_install/c 1" in listening.run(11)
    assert versions(listening) == ["a 1", "b 1", "c 1"]


# --- hooks in trouble -------------------------------------------------------------------------------------------------


def test_a_hook_that_cannot_be_installed_is_told_once_retried_and_keeps_no_other(listening: Listening) -> None:
    listening.schedule("a")
    listening.schedule("b")
    artifact = listening.host.artifacts / "a_1.tar.gz"
    artifact.rename(f"{artifact}.away")
    listening.put("c", b"id: [")
    lines = listening.run(100)
    assert len(lines) == 3
    assert lines[0] == "installed before_install/b 1"
    assert any("before_install/a" in line and "a_1.tar.gz" in line for line in lines[1:])
    assert any("hooks/before_install/c" in line for line in lines[1:])
    hooks = listening.report()["hooks"]
    assert set(hooks) == {"before_install/a", "before_install/b", "before_install/c"}
    assert "a_1.tar.gz" in hooks["before_install/a"]["error"]
    assert "is no YAML" in hooks["before_install/c"]["error"]
    assert (hooks["before_install/a"]["installed"], hooks["before_install/b"]["error"]) == (None, None)
    assert "2 could not be installed" in listening.shown
    os.rename(f"{artifact}.away", artifact)
    assert listening.run(100) == ["installed before_install/a 1"]
    assert versions(listening) == ["a 1", "b 1"]
    assert listening.report()["hooks"]["before_install/a"]["error"] is None


def test_the_pauses_between_tries_double_up_to_a_reconciliation(
    listening: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[float] = []
    plan = install_plan.plan_scheduled

    def noting(*arguments: object, **options: object) -> install_plan.InstallPlan:
        tries.append(listening.world.time)
        return plan(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(install_plan, "plan_scheduled", noting)
    listening.put("a", b"id: [")
    listening.run(160)
    assert tries == [0, 5, 15, 35, 75, 155]


def test_a_new_reason_is_told(listening: Listening) -> None:
    listening.put("a", b"id: [")
    assert len(listening.run(9)) == 1
    listening.later(10, lambda: listening.put("a", b"id: other"))
    assert len(listening.run(20)) == 1


# --- the report -------------------------------------------------------------------------------------------------------


def test_the_report(listening: Listening) -> None:
    listening.schedule("a")
    listening.host.present(typed("local"), listening.host.pod("local", "7"))
    listening.run(1)
    report = listening.report()
    sha = {name: listening.host.pod(name, version).sha for name, version in (("a", "1"), ("local", "7"))}
    installed = {name: hook.pop("installed") for name, hook in report["hooks"].items()}
    assert all(len(moment) == len("2026-01-31T12:00:00.000Z") and moment.endswith("Z") for moment in installed.values())
    assert report == {
        "schema": 1,
        "node": "node1",
        "engine": "0.1.0",
        "reported": "2027-01-15T08:00:00.000Z",
        "valid_for": 1200,
        "error": None,
        "hooks": {
            "before_install/a": {
                "manifest_sha": sha["a"],
                "scheduled_sha": sha["a"],
                "versions": {"main": "1"},
                "origin": "store",
                "error": None,
                "outcomes": {},
                "last_failure": None,
            },
            "before_install/local": {
                "manifest_sha": sha["local"],
                "scheduled_sha": None,
                "versions": {"main": "7"},
                "origin": "local",
                "error": None,
                "outcomes": {},
                "last_failure": None,
            },
        },
    }
    value = listening.store.keys["hooks-status/node1"].value
    assert value == json.dumps(json.loads(value), sort_keys=True, separators=(",", ":")).encode()


def test_a_report_that_would_say_the_same_is_not_written_until_it_is_about_to_be_outdated(
    listening: Listening,
) -> None:
    listening.schedule("a")
    listening.run(3600)
    assert len(listening.store.commits) == 6  # renewed at half of its time at the latest
    assert listening.report()["reported"] >= "2027-01-15T08:50:00.000Z"


def test_what_ran_is_reported_at_most_every_ten_seconds(listening: Listening) -> None:
    listening.schedule("a")
    listening.run(1)
    for outcome in ("succeeded", "failed", "succeeded"):
        listening.ran(outcome)
        listening.run(1)
    assert len(listening.store.commits) == 1
    listening.run(10)
    assert listening.report()["hooks"]["before_install/a"]["outcomes"] == {"succeeded": 2, "failed": 1}
    for dummy in range(100):
        listening.ran()
        listening.run(0.5)
    assert len(listening.store.commits) <= 2 + 50 / 10 + 1


def test_what_was_installed_is_reported_at_once(listening: Listening) -> None:
    listening.schedule("a")
    listening.later(3, lambda: listening.schedule("a", "2"))
    listening.run(4)
    assert listening.store.commits == [0, 3]
    assert listening.report()["hooks"]["before_install/a"]["versions"] == {"main": "2"}


def test_outcomes_of_another_version_do_not_count(listening: Listening) -> None:
    listening.schedule("a")
    listening.run(1)
    listening.ran()
    listening.run(20)
    listening.schedule("a", "2")
    listening.listener.reload(listening.settings())
    listening.run(1)
    assert listening.report()["hooks"]["before_install/a"]["outcomes"] == {}
    listening.ran("failed", "2")
    listening.run(20)
    assert listening.report()["hooks"]["before_install/a"]["outcomes"] == {"failed": 1}


def test_a_listener_that_starts_again_writes_nothing_that_is_there(tmp_path: Path, listening: Listening) -> None:
    listening.schedule("a")
    listening.run(1)
    listening.listener.reload(listening.settings())
    listening.run(1)
    assert listening.store.commits == [0]


def test_a_report_that_is_gone_is_written_again(listening: Listening) -> None:
    listening.schedule("a")
    listening.run(1)
    listening.store.put("hooks-status/node1", None)
    listening.run(700)
    assert listening.report()["node"] == "node1"


def test_a_report_that_cannot_be_written_stops_nothing_and_is_told_once(listening: Listening) -> None:
    listening.store.commit_errors = [StoreDenied("the store denies key:write on 'hooks-status/node1'")] * 3
    listening.schedule("a")
    listening.later(30, lambda: listening.schedule("b"))
    lines = listening.run(200)
    assert lines == [
        "installed before_install/a 1",
        "the store denies key:write on 'hooks-status/node1'; this host's report is outdated until that works",
        "installed before_install/b 1",
        "this host's report is up to date again",
    ]
    assert listening.lines[-1][0] == NOTICE
    assert set(listening.report()["hooks"]) == {"before_install/a", "before_install/b"}


def test_what_ran_is_reported_though_the_first_try_failed(listening: Listening) -> None:
    listening.schedule("a")
    listening.run(1)
    listening.ran()
    listening.store.commit_errors = [AWAY]
    listening.run(60)
    assert listening.report()["hooks"]["before_install/a"]["outcomes"] == {"succeeded": 1}


def another_report(listening: Listening, seconds: float) -> None:
    """Have another host report by the same name, so long after this one."""
    report = listening.report()
    moment = datetime.fromisoformat(report["reported"].replace("Z", "+00:00")) + timedelta(seconds=seconds)
    other = {**report, "hooks": {}, "reported": moment.isoformat().replace("+00:00", "Z")}
    listening.store.put("hooks-status/node1", json.dumps(other).encode())


def test_two_hosts_of_one_name_are_told_once(listening: Listening) -> None:
    listening.schedule("a")
    listening.run(20)
    another_report(listening, 5)
    (line,) = listening.run(1300)
    assert line == (
        "the store: another listener reports as node1 as well, and each overwrites what the other has said; "
        "give each host a name of its own (node)"
    )
    another_report(listening, 5)
    assert listening.run(1300) == []


def test_a_report_of_before_that_was_put_back_is_no_other_host(listening: Listening) -> None:
    listening.schedule("a")
    listening.run(20)
    another_report(listening, -5)
    assert listening.run(1300) == []


def test_a_report_without_an_answer_is_no_other_host(listening: Listening) -> None:
    listening.schedule("a")
    listening.run(20)
    commit = listening.store.commit

    def unanswered(changes: Sequence[Change]) -> None:
        listening.store.commit = commit  # type: ignore[method-assign]
        commit(changes)
        raise StoreUnavailable("the store gave no complete answer")

    listening.store.commit = unanswered  # type: ignore[method-assign]
    listening.schedule("b")
    lines = listening.run(1300)
    assert lines[0] == "installed before_install/b 1"
    assert lines[1].startswith("the store gave no complete answer; this host's report is outdated")
    assert lines[2:] == ["this host's report is up to date again"]


def test_something_else_in_the_place_of_the_report_is_replaced(listening: Listening) -> None:
    for value in (b"", b"[]", b'{"reported": 1}', b"\xff"):
        listening.store.put("hooks-status/node1", value)
        listening.listener.reload(listening.settings())
        listening.run(1)
        assert listening.report()["node"] == "node1"


def test_long_errors_are_cut(listening: Listening, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*dummy: object, **options: object) -> install_plan.InstallPlan:
        raise LayoutError("x" * 10_000)

    monkeypatch.setattr(install_plan, "plan_scheduled", fail)
    listening.run(1)
    assert listening.report()["error"] == "x" * 500


# --- reloading --------------------------------------------------------------------------------------------------------


def test_a_reload_compares_everything_at_once_and_ignores_what_the_old_request_brings(listening: Listening) -> None:
    listening.schedule("a")
    listening.run(1)
    shutil.rmtree(listening.host.exec)
    listening.listener.reload(listening.settings())
    assert listening.run(1) == ["repaired before_install/a 1"]
    listening.store.script = [listening.store.snapshot()]
    assert listening.run(400) == []


def test_a_reload_changes_the_store(listening: Listening) -> None:
    listening.schedule("a")
    listening.run(1)
    other = ScriptedStore(listening.world)
    other.keys = dict(listening.store.keys)
    other.index = other.indexes[SCHEDULE_PREFIX] = 5
    listening.listener.reload(listening.settings(other, reconcile_every=60.0))
    b = listening.host.pod("b", "1").text.encode()
    listening.later(20, lambda: other.put("hooks/before_install/b", b))
    assert listening.run(30) == ["installed before_install/b 1"]
    assert {asked.seconds <= 60 for asked in other.asked} == {True}


def test_the_end_of_trouble_from_before_a_reload_is_told(listening: Listening) -> None:
    listening.schedule("a")
    listening.host.root.mkdir()
    listening.host.root.chmod(0o775)
    trouble = listening.run(1)[-1]
    assert "is writable by group or others; chmod go-w it" in trouble
    listening.listener.reload(listening.settings())
    assert listening.run(1) == [trouble]
    listening.host.root.chmod(0o755)
    listening.schedule("a", "2")
    listening.listener.reload(listening.settings())
    assert listening.run(1) == ["upgraded before_install/a 2", "nothing keeps hooks from running any more"]
    listening.listener.reload(listening.settings())
    assert listening.run(1) == []
    listening.store.commit_errors = [AWAY]
    listening.later(0, lambda: listening.schedule("a", "3"))
    assert "this host's report is outdated" in listening.run(1)[-1]
    listening.listener.reload(listening.settings())
    assert listening.run(30) == ["this host's report is up to date again"]


def test_a_store_that_a_reload_mends_is_said_to_answer(listening: Listening) -> None:
    listening.schedule("a")
    listening.store.script = [AWAY] * 9
    listening.run(60)
    listening.store.script = []
    listening.listener.reload(listening.settings())
    assert listening.run(1) == ["the store answers again, after 60 s", "installed before_install/a 1"]


def test_a_store_of_which_a_part_does_not_answer_is_not_said_to_answer_after_a_reload(listening: Listening) -> None:
    listening.schedule("a")
    listening.store.rollout_script = [AWAY] * 100
    listening.run(60)
    listening.listener.reload(listening.settings())
    assert [line for line in listening.run(5) if "answers again" in line] == []


def test_a_root_is_not_called_safe_by_a_reload_that_could_not_look(listening: Listening) -> None:
    listening.schedule("a")
    listening.host.root.mkdir()
    listening.host.root.chmod(0o775)
    listening.run(1)
    lose_data(listening)
    listening.listener.reload(listening.settings())
    assert [line for line in listening.run(5) if "running any more" in line] == []


def test_signs_of_life(listening: Listening) -> None:
    listening.schedule("a")
    listening.run(100)
    assert listening.listener.idle_seconds() <= 10
    listening.world.time += 50
    assert listening.listener.idle_seconds() >= 50


def test_waiting_for_long_is_no_lack_of_life(listening: Listening) -> None:
    listening.schedule("a")
    listening.listener.reload(listening.settings(reconcile_every=86400.0, report_every=86400.0))
    listening.run(3600)
    assert listening.listener.idle_seconds() <= 60
