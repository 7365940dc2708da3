# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host makes of rollouts; its name is node1."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from p2hooks import install_plan
from p2hooks.errors import ManifestError, StoreDenied, StoreError
from p2hooks.hook_key import HookKey
from p2hooks.store import Entry
from p2hooks.store.directory import DirectoryStore
from support_host import Host, typed

A, B = typed("a"), typed("b")
ROLLOUT_OF_A = "hooks-rollout/before_install/a"


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    return Host(tmp_path)


@pytest.fixture
def cohort_host(host: Host) -> Host:
    """A host that has version 2 by a rollout; version 1 is scheduled."""
    host.schedule(A, host.pod("a", "1"))
    host.reconcile()
    host.roll_out(A, host.pod("a", "2"), "node1")
    assert host.reconcile() == (["upgrade before_install/a"], {})
    return host


@pytest.mark.parametrize("key", [A, HookKey.of(None, "a")])
def test_a_host_of_the_cohort_takes_the_manifest_of_the_rollout_and_others_do_not(host: Host, key: HookKey) -> None:
    base, new = host.pod("a", "1"), host.pod("a", "2")
    host.schedule(key, base)
    host.reconcile()
    host.roll_out(key, new, "node1")
    elsewhere = install_plan.plan_scheduled(host.layout, host.store, node="node2")
    assert (elsewhere.actions, elsewhere.scheduled, elsewhere.in_rollout) == ([], {key: base.sha}, [])
    here = install_plan.plan_scheduled(host.layout, host.store, node="node1")
    assert ([action.kind for action in here.actions], here.scheduled, here.in_rollout) == (
        ["upgrade"], {key: new.sha}, [key],
    )  # fmt: skip
    assert host.reconcile() == ([f"upgrade {key}"], {})
    assert host.runs(key.event) == {"a_main_launch": "a 2"}
    assert host.reconcile() == ([], {})


def test_a_share_of_all_hosts_takes_it(host: Host) -> None:
    host.schedule(A, host.pod("a", "1"))
    host.roll_out(A, host.pod("a", "2"), percent=40)
    plans = [install_plan.plan_scheduled(host.layout, host.store, node=f"node{number}") for number in range(100)]
    assert 20 < sum(plan.in_rollout == [A] for plan in plans) < 60


def test_an_aborted_rollout_puts_the_host_back_without_fetching_anything(cohort_host: Host) -> None:
    shutil.rmtree(cohort_host.artifacts)
    cohort_host.put(ROLLOUT_OF_A, None)
    assert cohort_host.reconcile() == (["upgrade before_install/a"], {})
    assert cohort_host.runs() == {"a_main_launch": "a 1"}


def test_a_promoted_rollout_changes_nothing_here(cohort_host: Host) -> None:
    cohort_host.schedule(A, cohort_host.pod("a", "2"))
    cohort_host.put(ROLLOUT_OF_A, None)
    before = cohort_host.identity()
    assert cohort_host.reconcile() == ([], {})
    assert cohort_host.identity() == before


def test_a_local_hook_stands_in_front_and_is_handed_back_to_the_rollout(cohort_host: Host) -> None:
    cohort_host.present(A, cohort_host.pod("a", "local"))
    plan = install_plan.plan_scheduled(cohort_host.layout, cohort_host.store, node="node1")
    assert (plan.actions, plan.overridden, plan.in_rollout) == ([], [A], [A])
    assert cohort_host.hand_back(A) == (["hand_back before_install/a"], {})
    assert cohort_host.runs() == {"a_main_launch": "a 2"}


class TestNewHook:
    """A hook that is not scheduled: only the cohort has it."""

    @pytest.fixture
    def new(self, host: Host) -> Host:
        host.roll_out(A, host.pod("a", "1"), "node1")
        assert host.reconcile() == (["install before_install/a"], {})
        assert host.reconcile() == ([], {})
        return host

    def test_is_removed_when_its_rollout_is_aborted_though_nothing_else_is_scheduled(self, new: Host) -> None:
        new.put(ROLLOUT_OF_A, None)
        assert new.reconcile() == (["remove before_install/a"], {})
        assert new.runs() == {}

    def test_is_no_excuse_for_the_removal_of_what_was_scheduled(self, new: Host) -> None:
        new.schedule(B, new.pod("b", "1"))
        new.reconcile()
        new.put(B.store_key, None)
        new.put(ROLLOUT_OF_A, None)
        with pytest.raises(StoreError, match=r"installed on this host \(1\)"):
            new.reconcile()
        assert sorted(new.runs().values()) == ["a 1", "b 1"]

    def test_that_was_promoted_is_protected_from_lost_data_as_any_other(self, new: Host) -> None:
        new.schedule(A, new.pod("a", "1"))
        new.put(ROLLOUT_OF_A, None)
        assert new.reconcile() == (["repair before_install/a"], {})
        assert new.reconcile() == ([], {})
        new.put(A.store_key, None)
        with pytest.raises(StoreError, match="nothing is scheduled"):
            new.reconcile()

    def test_stays_when_the_record_can_no_longer_be_read(self, new: Host) -> None:
        new.put(ROLLOUT_OF_A, b"{}")
        done, errors = new.reconcile()
        assert (done, list(errors)) == ([], [ROLLOUT_OF_A])
        assert new.runs() == {"a_main_launch": "a 1"}

    def test_is_handed_back_as_a_part_of_its_rollout(self, new: Host) -> None:
        new.present(A, new.pod("a", "local"))
        assert new.hand_back(A) == (["hand_back before_install/a"], {})
        new.put(ROLLOUT_OF_A, None)
        assert new.reconcile() == (["remove before_install/a"], {})


@pytest.mark.parametrize("record", [b"", b"[]", b'{"schema": 2}'])
def test_a_record_that_cannot_be_read_is_an_error_of_that_hook_alone(host: Host, record: bytes) -> None:
    for key in (A, B):
        host.schedule(key, host.pod(key.id, "1"))
        host.roll_out(key, host.pod(key.id, "2"), "node1")
    host.put(ROLLOUT_OF_A, record)
    done, errors = host.reconcile()
    assert done == ["install before_install/a", "install before_install/b"]
    assert list(errors) == [ROLLOUT_OF_A]
    assert sorted(host.runs().values()) == ["a 1", "b 2"]


def test_a_key_that_is_no_hook_is_an_error_of_its_own(host: Host) -> None:
    host.schedule(A, host.pod("a", "1"))
    host.put("hooks-rollout/no_event/a", b"{}")
    done, errors = host.reconcile()
    assert done == ["install before_install/a"]
    assert "hooks-rollout/no_event/a" in str(errors["hooks-rollout/no_event/a"])


def test_a_rollout_takes_the_place_of_a_scheduled_manifest_that_is_not_valid(host: Host) -> None:
    host.put(A.store_key, b"no manifest")
    host.roll_out(A, host.pod("a", "2"), "node1")
    assert host.reconcile() == (["install before_install/a"], {})
    host.put(ROLLOUT_OF_A, None)
    done, errors = host.reconcile()
    assert (done, list(errors)) == ([], [A.store_key])
    host.present(A, host.pod("a", "local"))
    with pytest.raises(ManifestError):
        host.hand_back(A)


def test_a_token_that_may_not_read_rollouts_leaves_the_host_on_what_is_scheduled(host: Host, tmp_path: Path) -> None:
    class Denying(DirectoryStore):
        def read(self, prefix: str) -> dict[str, Entry]:
            if prefix == "hooks-rollout/":
                raise StoreDenied("the store denies key:read")
            return super().read(prefix)

    host.schedule(A, host.pod("a", "1"))
    plan = install_plan.plan_scheduled(host.layout, Denying(str(tmp_path / "store")), node="node1")
    assert [action.kind for action in plan.actions] == ["install"]
    assert plan.warnings == ["the store denies key:read; rollouts were left out of account"]


def test_what_is_scheduled_is_read_after_the_rollouts_so_that_a_promotion_in_between_is_not_missed(
    cohort_host: Host, tmp_path: Path
) -> None:
    class Promoting(DirectoryStore):
        def read(self, prefix: str) -> dict[str, Entry]:
            found = super().read(prefix)
            if cohort_host.store.get(ROLLOUT_OF_A):
                cohort_host.schedule(A, cohort_host.pod("a", "2"))
                cohort_host.put(ROLLOUT_OF_A, None)
            return found

    promoting = Promoting(str(tmp_path / "store"))
    assert install_plan.plan_scheduled(cohort_host.layout, promoting, node="node1").actions == []
