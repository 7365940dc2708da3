# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a listener makes of rollouts; its host is node1."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from p2hooks.errors import StoreDenied, StoreUnavailable
from p2hooks.hook_key import SCHEDULE_PREFIX
from p2hooks.rollout_record import ROLLOUT_PREFIX
from p2hooks.sd_notify import WARNING
from p2hooks.store.watch import DOUBT_FOR
from support_listen import Listening

DENIED = StoreDenied("the store denies key:read")


@pytest.fixture
def listening(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Listening]:
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    with closing(Listening(tmp_path)) as listening:
        yield listening


def versions(listening: Listening) -> list[str]:
    return sorted(listening.host.runs().values())


def test_a_rollout_comes_at_once_and_goes_at_once(listening: Listening) -> None:
    listening.schedule("a")
    listening.run(1)
    listening.later(5, lambda: listening.roll_out("a", "2", "node1"))
    assert listening.run(5) == ["upgraded before_install/a 2"]
    reported = listening.report()["hooks"]["before_install/a"]
    assert reported["manifest_sha"] == reported["scheduled_sha"]
    shutil.rmtree(listening.host.artifacts)
    listening.later(5, lambda: listening.end_rollout("a"))
    assert listening.run(5) == ["returned before_install/a to 1"]
    assert versions(listening) == ["a 1"]
    listening.run(1)
    assert listening.shown.endswith("last change: returned before_install/a to 1")


def test_a_version_that_is_tried_again_is_no_return_but_one_that_is_put_back_is(listening: Listening) -> None:
    listening.schedule("a")
    listening.run(1)
    for change, line in (
        (lambda: listening.roll_out("a", "2", "node1"), "upgraded before_install/a 2"),
        (lambda: listening.end_rollout("a"), "returned before_install/a to 1"),
        (lambda: listening.roll_out("a", "2", "node1"), "upgraded before_install/a 2"),
        (lambda: listening.end_rollout("a"), "returned before_install/a to 1"),
        (lambda: listening.schedule("a", "3"), "upgraded before_install/a 3"),
        (lambda: listening.schedule("a"), "returned before_install/a to 1"),
        (lambda: listening.schedule("a", config={"level": 2}), "changed before_install/a 1"),
    ):
        listening.later(1, change)
        assert listening.run(2) == [line]


def test_a_rollout_to_others_changes_nothing(listening: Listening) -> None:
    listening.schedule("a")
    listening.run(1)
    listening.roll_out("a", "2", "node2")
    assert listening.run(400) == []
    assert versions(listening) == ["a 1"]


def test_nothing_is_done_before_rollouts_are_known_and_a_restart_undoes_none(
    tmp_path: Path, listening: Listening
) -> None:
    listening.schedule("a")
    listening.roll_out("a", "2", "node1")
    listening.store.rollout_script = [StoreUnavailable("the store cannot be reached")] * 3
    lines = listening.run(6)
    assert lines == ["the store cannot be reached; nothing changes until it answers"]
    assert versions(listening) == []
    assert listening.run(10) == ["the store answers again, after 7 s", "installed before_install/a 2"]


def test_failures_keep_a_rollout_and_are_told_once_for_both(listening: Listening) -> None:
    listening.schedule("a")
    listening.roll_out("a", "2", "node1")
    listening.run(1)
    for script in (listening.store.script, listening.store.rollout_script):
        script.extend([StoreUnavailable("the store cannot be reached")] * 3)
    listening.store.indexes = {prefix: index + 1 for prefix, index in listening.store.indexes.items()}
    lines = listening.run(350)
    assert lines[0] == "the store cannot be reached; nothing changes until it answers"
    assert lines[1].startswith("the store answers again, after ")
    assert len(lines) == 2
    assert versions(listening) == ["a 2"]


def test_a_token_that_may_not_read_rollouts_leaves_the_host_on_what_is_scheduled(listening: Listening) -> None:
    listening.schedule("a")
    listening.roll_out("a", "2", "node1")
    listening.store.rollout_script = [DENIED] * 100
    assert listening.run(60) == [
        "the store denies key:read; no rollout comes to this host until that works",
        "installed before_install/a 1",
    ]
    assert listening.lines[0][0] == WARNING
    listening.later(1, lambda: listening.schedule("b"))
    assert listening.run(2) == ["installed before_install/b 1"]
    assert listening.shown.startswith("watching the store, 2 hooks installed")
    listening.store.rollout_script = []
    assert listening.run(10) == ["upgraded before_install/a 2"]


def test_a_token_that_may_no_longer_read_rollouts_undoes_none(tmp_path: Path, listening: Listening) -> None:
    listening.roll_out("a", "2", "node1")
    listening.run(1)
    assert versions(listening) == ["a 2"]
    listening.store.rollout_script = [DENIED] * 1000
    listening.listener.reload(listening.settings())
    lines = listening.run(1)
    assert lines[0] == "the store denies key:read; no rollout comes to this host until that works"
    assert versions(listening) == ["a 2"]


def test_a_promotion_that_one_watch_sees_before_the_other_undoes_nothing(listening: Listening) -> None:
    """Both keys change in one write, but are watched by two requests."""
    listening.schedule("a")
    listening.roll_out("a", "2", "node1")
    listening.run(1)
    indexes = listening.store.indexes

    def promote() -> None:
        before = indexes[SCHEDULE_PREFIX]
        listening.schedule("a", "2")
        listening.later(2, lambda: indexes.update({SCHEDULE_PREFIX: listening.store.index}))
        indexes[SCHEDULE_PREFIX] = before  # the request for it hears of that later
        listening.end_rollout("a")

    listening.later(1, promote)
    listening.later(2, lambda: listening.roll_out("b", "1", "node1"))
    assert listening.run(5) == ["installed before_install/b 1"]
    assert versions(listening) == ["a 2", "b 1"]


class TestNewHook:
    """A hook that is not scheduled; nothing else is, either."""

    @pytest.fixture
    def new(self, listening: Listening) -> Listening:
        listening.roll_out("a", "1", "node1")
        assert listening.run(1) == ["installed before_install/a 1"]
        return listening

    def test_goes_with_its_rollout(self, new: Listening) -> None:
        new.later(5, lambda: new.end_rollout("a"))
        assert "removed before_install/a" in new.run(6)
        assert versions(new) == []

    def test_stays_for_a_while_when_the_store_has_lost_its_data(self, new: Listening) -> None:
        new.store.keys.clear()
        new.store.indexes = dict.fromkeys(new.store.indexes, 1)
        new.store.index = 1
        lines = new.run(DOUBT_FOR - 60)
        assert [line for line in lines if "not removed: the store: it was emptied" in line]
        assert versions(new) == ["a 1"]
        new.run(700)
        assert versions(new) == []

    def test_is_promoted_without_being_removed(self, new: Listening) -> None:
        new.later(1, lambda: new.schedule("a"))
        new.later(1, lambda: new.end_rollout("a"))
        assert new.run(5) == ["repaired before_install/a 1"]


def test_lost_data_puts_a_host_back_to_what_is_scheduled_and_removes_nothing(listening: Listening) -> None:
    listening.schedule("a")
    listening.roll_out("a", "2", "node1")
    listening.run(1)
    listening.end_rollout("a")
    listening.store.indexes[ROLLOUT_PREFIX] = 1
    assert listening.run(301) == ["upgraded before_install/a 1"]  # which it never had


def test_a_record_that_cannot_be_read_is_told_and_reported_for_its_hook(listening: Listening) -> None:
    listening.schedule("a")
    listening.store.put("hooks-rollout/before_install/a", b"{}")
    lines = listening.run(1)
    assert lines[0] == "installed before_install/a 1"
    assert "hooks-rollout/before_install/a: is no record of a rollout" in lines[1]
    assert "is no record of a rollout" in listening.report()["hooks"]["before_install/a"]["error"]


class TestFailure:
    """A run that fails while version 2 of the hook a is in rollout; b is just scheduled."""

    @pytest.fixture
    def rolling(self, listening: Listening) -> Listening:
        listening.schedule("a")
        listening.schedule("b")
        listening.roll_out("a", "2", "node1")
        listening.run(2)
        listening.store.commits.clear()
        return listening

    def test_is_reported_at_once(self, rolling: Listening) -> None:
        rolling.ran("failed", "2")
        rolling.run(1)
        assert len(rolling.store.commits) == 1
        hook = rolling.report()["hooks"]["before_install/a"]
        assert (hook["outcomes"], hook["last_failure"]["outcome"]) == ({"failed": 1}, "failed")

    @pytest.mark.parametrize(("outcome", "version", "pod_id"), [("succeeded", "2", "a"), ("failed", "1", "b")])
    def test_alone_is_so_urgent(self, rolling: Listening, outcome: str, version: str, pod_id: str) -> None:
        rolling.ran(outcome, version, pod_id)
        rolling.run(5)
        assert rolling.store.commits == []
        rolling.run(6)
        assert len(rolling.store.commits) == 1
        assert rolling.report()["hooks"][f"before_install/{pod_id}"]["outcomes"] == {outcome: 1}

    def test_that_goes_on_does_not_flood_the_store(self, rolling: Listening) -> None:
        for dummy in range(200):
            rolling.ran("failed", "2")
            rolling.run(0.5)
        assert len(rolling.store.commits) <= 2 * 100 / 10 + 1

    def test_is_not_looked_for_when_no_rollout_is_under_way(self, rolling: Listening) -> None:
        rolling.later(1, lambda: rolling.end_rollout("a"))
        rolling.run(20)
        rolling.store.commits.clear()
        rolling.ran("failed")
        rolling.run(0.5)
        assert rolling.store.commits == []
        rolling.run(10)
        assert rolling.report()["hooks"]["before_install/a"]["last_failure"]["outcome"] == "failed"

    def test_that_could_not_be_reported_is_reported_later(self, rolling: Listening) -> None:
        rolling.later(1, lambda: rolling.roll_out("c", "1", "node1"))
        rolling.store.commit_errors = [StoreUnavailable("the store cannot be reached")]
        rolling.run(2)
        rolling.ran("failed", pod_id="c")
        rolling.store.commit_errors = [StoreUnavailable("the store cannot be reached")]
        rolling.run(60)
        assert rolling.report()["hooks"]["before_install/c"]["outcomes"] == {"failed": 1}
