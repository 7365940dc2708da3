# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest
from p2hooks import schedule
from p2hooks.errors import ArtifactError, ManifestError, StoreConflict, StoreDenied, StoreError
from p2hooks.hook_key import HookKey
from p2hooks.manifest import PodManifest, from_mapping, parse
from p2hooks.store import Change, Entry
from p2hooks.store.directory import DirectoryStore

A = HookKey.of("before_install", "a")
B = HookKey.of("after_launch", "b")
G = HookKey.of(None, "g")


class WatchedStore(DirectoryStore):
    """A directory that counts what is asked of it, with the limits that Consul has, and that fails when told to."""

    batch_size = 64

    def __init__(self, path: Path) -> None:
        super().__init__(str(path), create=True)
        self.reads: list[str] = []
        self.commits: list[list[str]] = []
        #: What a commit raises after so many that were made.
        self.errors: dict[int, StoreError] = {}

    def read(self, prefix: str) -> dict[str, Entry]:
        self.reads.append(prefix)
        return super().read(prefix)

    def get(self, key: str) -> Entry | None:
        self.reads.append(key)
        return super().get(key)

    def batches(self, groups: Iterable[Sequence[Change]]) -> list[list[Change]]:
        batches: list[list[Change]] = []
        for group in groups:
            self._check_changes(group)
            if not batches or len(batches[-1]) + len(group) > self.batch_size:
                batches.append([])
            batches[-1] += group
        return batches

    def commit(self, changes: Sequence[Change]) -> None:
        if len(self.commits) in self.errors:
            raise self.errors[len(self.commits)]
        super().commit(changes)
        self.commits.append([change.key for change in changes])

    def forget(self) -> None:
        self.reads, self.commits = [], []


@pytest.fixture
def store(tmp_path: Path) -> WatchedStore:
    return WatchedStore(tmp_path / "store")


def pod(pod_id: str, location: str = "https://example.com/x_1.tar.gz", **changes: Any) -> PodManifest:
    launchable = {"launchable_type": "hoist", "location": location, **changes}
    return from_mapping({"id": pod_id, "launchables": {"main": launchable}}, pod_id)


def put(store: DirectoryStore, wanted: dict[HookKey, PodManifest | None], **options: bool) -> schedule.SchedulePlan:
    plan = schedule.plan(store, wanted, **options)
    schedule.apply(store, plan)
    return plan


def keys_of(plan: schedule.SchedulePlan) -> list[list[str]]:
    return [[change.key for change in group] for group in plan.groups]


def scheduled(store: DirectoryStore) -> dict[str, str]:
    """Return all that is there, but for what was replaced."""
    entries = DirectoryStore.read(store, "")
    return {key: entry.value.decode() for key, entry in entries.items() if not key.startswith("hooks-previous/")}


def previous(store: DirectoryStore) -> dict[str, str]:
    return {key: entry.value.decode() for key, entry in DirectoryStore.read(store, "hooks-previous/").items()}


def test_hooks_are_scheduled_at_their_keys(store: WatchedStore) -> None:
    plan = put(store, {A: pod("a"), G: pod("g")})
    assert scheduled(store) == {"hooks/before_install/a": pod("a").text, "hooks/g": pod("g").text}
    assert plan.before == {}
    assert plan.after == scheduled(store)


def test_a_plan_changes_nothing(store: WatchedStore, tmp_path: Path) -> None:
    schedule.plan(store, {A: pod("a")})
    assert not (tmp_path / "store").exists()


def test_a_manifest_is_scheduled_as_it_was_written(store: WatchedStore) -> None:
    text = f"# why this hook is there\n{pod('a').text}"
    put(store, {A: parse(text, "file")})
    assert scheduled(store) == {"hooks/before_install/a": text}


def test_only_what_differs_is_changed(store: WatchedStore) -> None:
    put(store, {A: pod("a"), B: pod("b"), G: pod("g")})
    plan = put(store, {A: pod("a"), B: pod("b", env={"X": "1"}), G: None})
    assert keys_of(plan) == [
        ["hooks/after_launch/b", "hooks-previous/after_launch/b"],
        ["hooks/g", "hooks-previous/g"],
    ]
    assert plan.before == {"hooks/after_launch/b": pod("b").text, "hooks/g": pod("g").text}
    assert plan.after == {"hooks/after_launch/b": pod("b", env={"X": "1"}).text}
    assert scheduled(store) == {"hooks/before_install/a": pod("a").text, **plan.after}


def test_who_schedules_over_a_rollout_is_warned(store: WatchedStore, monkeypatch: pytest.MonkeyPatch) -> None:
    store.commit([Change("hooks-rollout/before_install/a", b"", 0)])
    assert put(store, {G: pod("g")}).warnings == []
    (warning,) = schedule.plan(store, {A: pod("a"), B: pod("b")}).warnings
    assert warning.startswith(
        "before_install/a: a rollout of it is under way, which can be promoted only over what was "
    )

    def denied(prefix: str) -> dict[str, Entry]:
        if prefix == "hooks-rollout/":
            raise StoreDenied("the store: no")
        return WatchedStore.read(store, prefix)

    monkeypatch.setattr(store, "read", denied)
    assert put(store, {A: pod("a")}).warnings == []


def test_what_is_replaced_or_removed_is_kept(store: WatchedStore) -> None:
    first, second, third = (pod("a", env={"N": number}) for number in "123")
    put(store, {A: first, G: pod("g")})
    assert previous(store) == {}
    put(store, {A: second, G: None, B: pod("b")})
    kept = {"hooks-previous/before_install/a": first.text, "hooks-previous/g": pod("g").text}
    assert previous(store) == kept
    put(store, {A: second, G: pod("g")})
    assert previous(store) == kept
    put(store, {A: third}, exclusive=True)
    assert previous(store) == {
        **kept,
        "hooks-previous/before_install/a": second.text,
        "hooks-previous/after_launch/b": pod("b").text,
    }


def test_what_is_replaced_is_kept_in_the_same_transaction(store: WatchedStore) -> None:
    hooks = [HookKey.of(None, f"hook{number}") for number in range(40)]
    put(store, {key: pod(key.id) for key in hooks})
    store.forget()
    store.errors[1] = StoreError("the store: no")
    store.batch_size = 7
    with pytest.raises(StoreError, match=r"no; 3 of 40 changes were written before$"):
        put(store, {key: pod(key.id, env={"NEW": "1"}) for key in hooks})
    assert store.reads == ["hooks/", "hooks-previous/", "hooks-rollout/"]
    assert sorted(previous(store)) == [f"hooks-previous/hook{number}" for number in range(3)]
    assert sorted(key for key, text in scheduled(store).items() if "NEW" in text) == [
        "hooks/hook0",
        "hooks/hook1",
        "hooks/hook2",
    ]


def test_the_second_run_reads_once_and_writes_nothing(store: WatchedStore) -> None:
    wanted: dict[HookKey, PodManifest | None] = {A: pod("a"), B: None}
    put(store, wanted, exclusive=True)
    store.forget()
    plan = put(store, wanted, exclusive=True)
    assert (plan.groups, plan.uploads, plan.before, plan.after) == ([], {}, {}, {})
    assert (store.reads, store.commits) == (["hooks/"], [])


def test_to_remove_what_is_not_there_is_no_change(store: WatchedStore) -> None:
    assert put(store, {A: None}).groups == []


def test_of_two_schedulers_the_second_is_refused(tmp_path: Path) -> None:
    one, other = DirectoryStore(str(tmp_path), create=True), DirectoryStore(str(tmp_path), create=True)
    mine, theirs = pod("a", env={"WHO": "me"}), pod("a", env={"WHO": "them"})
    for state in ("absent", "present"):
        first = schedule.plan(one, {A: mine if state == "absent" else pod("a")})
        second = schedule.plan(other, {B: pod("b"), A: theirs})
        schedule.apply(one, first)
        before = scheduled(one)
        with pytest.raises(StoreConflict, match="'hooks/before_install/a' since it was read"):
            schedule.apply(other, second)
        assert scheduled(one) == before


def test_what_another_scheduler_changed_is_not_removed(tmp_path: Path) -> None:
    one, other = DirectoryStore(str(tmp_path), create=True), DirectoryStore(str(tmp_path), create=True)
    put(one, {A: pod("a"), B: pod("b")})
    removal = schedule.plan(one, {B: pod("b")}, exclusive=True)
    put(other, {A: pod("a", env={"NEW": "1"})})
    with pytest.raises(StoreConflict):
        schedule.apply(one, removal)
    assert "NEW" in scheduled(one)["hooks/before_install/a"]


def test_two_schedulers_of_different_hooks_do_not_meet(tmp_path: Path) -> None:
    one, other = DirectoryStore(str(tmp_path), create=True), DirectoryStore(str(tmp_path), create=True)
    first, second = schedule.plan(one, {A: pod("a")}), schedule.plan(other, {B: pod("b")})
    schedule.apply(one, first)
    schedule.apply(other, second)
    assert sorted(scheduled(one)) == ["hooks/after_launch/b", "hooks/before_install/a"]


def test_exclusive_removes_every_hook_that_is_not_named(store: WatchedStore) -> None:
    store.commit([Change("hooks-status/node1", b"up", 0), Change("hooks/lunch/break", b"not a hook", 0)])
    put(store, {A: pod("a"), B: pod("b"), G: pod("g")})
    plan = put(store, {A: pod("a"), B: None}, exclusive=True)
    assert sorted(plan.before) == ["hooks/after_launch/b", "hooks/g"]
    assert scheduled(store) == {
        "hooks/before_install/a": pod("a").text,
        "hooks/lunch/break": "not a hook",
        "hooks-status/node1": "up",
    }


@pytest.mark.parametrize("wanted", [{}, {A: None}, {A: None, B: None}])
def test_exclusive_never_removes_everything(store: WatchedStore, wanted: dict[HookKey, PodManifest | None]) -> None:
    put(store, {A: pod("a")})
    with pytest.raises(ManifestError, match="exclusive would remove all"):
        schedule.plan(store, wanted, exclusive=True)


def test_a_manifest_with_another_id(store: WatchedStore) -> None:
    with pytest.raises(ManifestError, match=r"^before_install/a: the manifest has the id b; it must be the hook's$"):
        schedule.plan(store, {A: pod("b")})


def test_a_thousand_hooks_in_sixteen_transactions(store: WatchedStore) -> None:
    wanted = {HookKey.of("before_install", f"hook{number}"): pod(f"hook{number}") for number in range(1000)}
    plan = put(store, dict(wanted))
    assert store.reads == ["hooks/", "hooks-rollout/"]
    assert [len(keys) for keys in store.commits] == [64] * 15 + [40]
    assert scheduled(store) == plan.after
    store.forget()
    assert put(store, dict(wanted)).groups == []
    assert (store.reads, store.commits) == (["hooks/"], [])


@pytest.mark.parametrize("kind", [StoreConflict, StoreDenied, StoreError])
def test_a_failure_says_how_much_was_written_before(store: WatchedStore, kind: type[StoreError]) -> None:
    store.errors[2] = kind("the store: no")
    wanted = {HookKey.of(None, f"hook{number}"): pod(f"hook{number}") for number in range(200)}
    with pytest.raises(kind) as caught:
        put(store, dict(wanted))
    assert caught.value.__class__ is kind
    assert str(caught.value) == "the store: no; 128 of 200 changes were written before"
    assert len(scheduled(store)) == 128

    store.errors.clear()
    assert len(put(store, dict(wanted)).groups) == 72


def test_a_failure_at_once_is_left_as_it_is(store: WatchedStore) -> None:
    store.errors[0] = StoreDenied("the store: no")
    with pytest.raises(StoreDenied, match=r"^the store: no$"):
        put(store, {A: pod("a")})


CONTENT = b"the artifact; its content is of no interest here"
DIGEST = hashlib.sha256(CONTENT).hexdigest()
ARTIFACT_KEY = f"hooks-artifacts/{DIGEST}/x_1.tar.gz"


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    path = tmp_path / "my build/x_1.tar.gz"
    path.parent.mkdir()
    path.write_bytes(CONTENT)
    return path


@pytest.mark.parametrize("pinned", [{"sha256": DIGEST}, {}])
def test_an_artifact_is_uploaded_before_its_manifest(
    store: WatchedStore, artifact: Path, pinned: dict[str, str]
) -> None:
    plan = put(store, {A: pod("a", artifact.as_uri(), env={"X": "1"}, **pinned)}, upload_artifacts=True)
    assert plan.uploads == {ARTIFACT_KEY: CONTENT}
    assert store.commits == [[ARTIFACT_KEY], ["hooks/before_install/a"]]
    assert scheduled(store)[ARTIFACT_KEY] == CONTENT.decode()
    (launchable,) = parse(scheduled(store)["hooks/before_install/a"], "store").launchables
    assert (launchable.location, launchable.sha256) == (f"store:{ARTIFACT_KEY}", DIGEST)
    assert (launchable.version, launchable.env) == ("1", {"X": "1"})


def test_the_second_upload_reads_once_and_writes_nothing(store: WatchedStore, artifact: Path) -> None:
    wanted = {A: pod("a", artifact.as_uri())}
    put(store, dict(wanted), upload_artifacts=True)
    store.forget()
    plan = put(store, dict(wanted), upload_artifacts=True)
    assert (plan.groups, plan.uploads) == ([], {})
    assert (store.reads, store.commits) == (["hooks/"], [])


def test_two_hooks_may_share_an_artifact(store: WatchedStore, artifact: Path) -> None:
    put(store, {A: pod("a", artifact.as_uri())}, upload_artifacts=True)
    plan = put(store, {B: pod("b", artifact.as_uri())}, upload_artifacts=True)
    assert keys_of(plan) == [["hooks/after_launch/b"]]
    assert len(scheduled(store)) == 3


def test_other_locations_stay_as_they_are(store: WatchedStore) -> None:
    plan = put(store, {A: pod("a")}, upload_artifacts=True)
    assert plan.uploads == {}
    assert scheduled(store) == {"hooks/before_install/a": pod("a").text}


def test_without_being_asked_nothing_is_uploaded(store: WatchedStore, artifact: Path) -> None:
    assert put(store, {A: pod("a", artifact.as_uri())}).uploads == {}
    assert list(scheduled(store)) == ["hooks/before_install/a"]


def test_given_manifests_are_not_changed(store: WatchedStore, artifact: Path) -> None:
    manifest = pod("a", artifact.as_uri())
    schedule.plan(store, {A: manifest}, upload_artifacts=True)
    assert manifest == pod("a", artifact.as_uri())


def refusal(store: WatchedStore, manifest: PodManifest, tmp_path: Path) -> str:
    with pytest.raises(ArtifactError) as caught:
        put(store, {B: pod("b"), A: manifest}, upload_artifacts=True)
    assert not (tmp_path / "store").exists()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_upload_of_a_missing_artifact(store: WatchedStore, artifact: Path, tmp_path: Path) -> None:
    artifact.unlink()
    message = refusal(store, pod("a", artifact.as_uri()), tmp_path)
    assert message.startswith(f"{artifact}: is missing; build it with bin2pod on this host")


def test_upload_of_another_artifact_than_the_manifest_says(store: WatchedStore, artifact: Path, tmp_path: Path) -> None:
    message = refusal(store, pod("a", artifact.as_uri(), sha256="0" * 64), tmp_path)
    assert message.startswith(f"{artifact}: has the SHA-256 {DIGEST}, but the manifest of before_install/a says 000")


def test_upload_of_an_artifact_that_the_store_cannot_take(store: WatchedStore, artifact: Path, tmp_path: Path) -> None:
    store.max_value_bytes = 1000
    os.truncate(artifact, 2**36)  # a sparse file that no memory holds
    message = refusal(store, pod("a", artifact.as_uri()), tmp_path)
    assert message.startswith(f"{artifact}: has {2**36} bytes, but the store in ")
    assert "takes no more than 1000; publish it on a web server, build it for that location" in message

    os.truncate(artifact, 1000)
    assert put(store, {A: pod("a", artifact.as_uri())}, upload_artifacts=True).groups


def test_upload_of_what_is_no_file(store: WatchedStore, artifact: Path, tmp_path: Path) -> None:
    for make in (os.mkdir, os.mkfifo):
        artifact.unlink() if artifact.is_file() else artifact.rmdir()
        make(artifact)
        assert refusal(store, pod("a", artifact.as_uri()), tmp_path).startswith(f"{artifact}: is no regular file")


def test_no_artifact_is_uploaded_for_changes_that_can_never_be_made(store: WatchedStore, artifact: Path) -> None:
    store.max_value_bytes = 60  # the artifact fits, its manifest does not
    plan = schedule.plan(store, {A: pod("a", artifact.as_uri())}, upload_artifacts=True)
    with pytest.raises(StoreError, match="the limit is 60"):
        schedule.apply(store, plan)
    assert scheduled(store) == {}


def test_a_manifest_is_never_scheduled_without_its_artifact(store: WatchedStore, artifact: Path) -> None:
    store.errors[0] = StoreError("the store: no")
    with pytest.raises(StoreError, match="no"):
        put(store, {A: pod("a", artifact.as_uri())}, upload_artifacts=True)
    assert scheduled(store) == {}


def test_an_artifact_that_is_there_already_is_not_uploaded_again(store: WatchedStore, artifact: Path) -> None:
    put(store, {A: pod("a", artifact.as_uri())}, upload_artifacts=True)
    plan = put(store, {B: pod("b", artifact.as_uri())}, upload_artifacts=True)
    assert (sorted(plan.after), plan.uploads) == (["hooks/after_launch/b"], {})


def test_a_plan_that_is_only_shown_needs_no_artifact_whose_digest_is_known(store: WatchedStore, tmp_path: Path) -> None:
    missing = (tmp_path / "a_1.tar.gz").as_uri()
    manifest = pod("a", missing, sha256="0" * 64)
    shown = schedule.plan(store, {A: manifest}, upload_artifacts=True, check=True)
    assert list(shown.uploads) == [f"hooks-artifacts/{'0' * 64}/a_1.tar.gz"]
    with pytest.raises(ArtifactError, match="is missing"):
        schedule.plan(store, {A: manifest}, upload_artifacts=True)


def test_what_was_written_before_a_failure_is_told(store: WatchedStore, artifact: Path) -> None:
    store.errors[1] = StoreDenied("the store: no")
    plan = schedule.plan(store, {A: pod("a", artifact.as_uri())}, upload_artifacts=True)
    with pytest.raises(StoreDenied):
        schedule.apply(store, plan)
    assert plan.written == set(plan.uploads)
