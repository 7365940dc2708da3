# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import fcntl
import multiprocessing
import os
import resource
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from p2hooks.errors import StoreConflict, StoreError, StoreUnavailable
from p2hooks.store import ABSENT, Change, Snapshot, directory
from p2hooks.store.directory import DirectoryStore

A = "hooks/before_install/a"
B = "hooks/after_install/b"

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to somebody else")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def store(path: Path) -> DirectoryStore:
    return DirectoryStore(str(path), create=True)


def put(store: DirectoryStore, **keys: bytes) -> None:
    store.commit([Change(key, value, index_of(store, key)) for key, value in keys.items()])


def index_of(store: DirectoryStore, key: str) -> int:
    entry = store.get(key)
    return entry.index if entry else ABSENT


def values(store: DirectoryStore, prefix: str = "") -> dict[str, bytes]:
    return {key: entry.value for key, entry in store.read(prefix).items()}


def files_below(path: Path) -> list[str]:
    return sorted(str(file.relative_to(path)) for file in path.rglob("*") if file.is_file() and file.name != ".lock")


def test_what_is_committed_is_read(store: DirectoryStore, path: Path) -> None:
    put(store, **{A: b"one\0\xff", B: b"", "hooks/everywhere": b"global"})
    assert values(store) == {B: b"", A: b"one\0\xff", "hooks/everywhere": b"global"}
    assert list(values(store)) == sorted(values(store))
    assert store.get(A) == store.read(A)[A]
    assert (path / A).read_bytes() == b"one\0\xff"


def test_a_prefix_is_one_of_the_whole_key(store: DirectoryStore) -> None:
    put(store, **{A: b"", "hooks/before_launch/a": b"", B: b"", "hooks-status/host": b""})
    assert list(values(store, "hooks/before_")) == [A, "hooks/before_launch/a"]
    assert list(values(store, "hooks/before_install")) == [A]
    assert list(values(store, "hooks/before_install/")) == [A]
    assert list(values(store, "hooks")) == ["hooks-status/host", B, A, "hooks/before_launch/a"]
    assert list(values(store, "hooks/")) == [B, A, "hooks/before_launch/a"]
    assert values(store, "other/") == values(store, "hooks/before_install/a/") == {}


def test_a_directory_is_no_key(store: DirectoryStore) -> None:
    put(store, **{A: b""})
    assert store.get("hooks/before_install") is None
    assert store.get(f"{A}/below") is None


def test_files_and_directories_get_plain_modes_and_no_debris(store: DirectoryStore, path: Path) -> None:
    put(store, **{A: b"x"})
    assert path.stat().st_mode & 0o777 == 0o755
    assert (path / A).parent.stat().st_mode & 0o777 == 0o755
    assert (path / A).stat().st_mode & 0o777 == 0o644
    assert (path / ".lock").stat().st_mode & 0o777 == 0o600
    assert files_below(path) == [A]


def test_what_a_crash_left_behind_is_no_key_and_goes_away(store: DirectoryStore, path: Path) -> None:
    put(store, **{A: b"x"})
    (path / A).with_name(".tmp-0").write_bytes(b"half")
    assert list(values(store)) == [A]
    put(store, **{A: b"y"})
    assert files_below(path) == [A]


def test_hidden_files_are_no_keys(store: DirectoryStore, path: Path) -> None:
    put(store, **{A: b"x"})
    (path / ".git").mkdir(mode=0o777)
    (path / ".git" / "config").write_text("")
    (path / "hooks" / ".keep").symlink_to("/etc/passwd")
    assert list(values(store)) == [A]


@pytest.mark.parametrize("index", [ABSENT, 1])
def test_a_change_based_on_another_value_is_a_conflict(store: DirectoryStore, index: int) -> None:
    put(store, **{A: b"theirs"})
    with pytest.raises(StoreConflict, match=f"{A}.*nothing of this transaction was written"):
        store.commit([Change(B, b"ours", ABSENT), Change(A, b"ours", index)])
    with pytest.raises(StoreConflict, match=A):
        store.commit([Change(A, None, index)])
    assert values(store) == {A: b"theirs"}


def test_a_change_of_what_was_deleted_is_a_conflict(store: DirectoryStore) -> None:
    put(store, **{A: b"x"})
    index = index_of(store, A)
    store.commit([Change(A, None, index)])
    with pytest.raises(StoreConflict, match=A):
        store.commit([Change(A, b"y", index)])


def test_deleting_what_is_gone_already_is_none(store: DirectoryStore) -> None:
    put(store, **{A: b"x", B: b"y"})
    store.commit([Change(A, None, 1234) for A in ["hooks/gone", "hooks/gone/too"]])
    assert values(store) == {A: b"x", B: b"y"}


def test_deleting_what_must_exist_and_is_gone_is_a_conflict(store: DirectoryStore) -> None:
    put(store, **{A: b"x"})
    removal = Change(A, None, index_of(store, A), must_exist=True)
    store.commit([removal])
    with pytest.raises(StoreConflict, match=A):
        store.commit([Change(B, b"y", ABSENT), removal])
    assert values(store) == {}


def test_a_key_that_must_not_exist_is_a_conflict_where_it_does(store: DirectoryStore) -> None:
    store.commit([Change(A, None, ABSENT), Change(B, b"x", ABSENT)])
    put(store, **{A: b"x"})
    with pytest.raises(StoreConflict, match=A):
        store.commit([Change(B, b"y", index_of(store, B)), Change(A, None, ABSENT)])
    assert values(store) == {A: b"x", B: b"x"}


def test_deleting_removes_directories_that_become_empty(store: DirectoryStore, path: Path) -> None:
    put(store, **{A: b"x", "hooks/everywhere": b"y"})
    store.commit([Change(A, None, index_of(store, A))])
    assert not (path / A).parent.exists()
    store.commit([Change("hooks/everywhere", None, index_of(store, "hooks/everywhere"))])
    assert list(path.iterdir()) == [path / ".lock"]
    assert values(store) == {}


def test_an_index_holds_in_a_copy_of_the_directory(store: DirectoryStore, path: Path) -> None:
    put(store, **{A: b"x"})
    shutil.copytree(path, path.with_name("checkout"))
    copy = DirectoryStore(str(path.with_name("checkout")))
    assert copy.read("") == store.read("")
    copy.commit([Change(A, b"y", index_of(store, A))])
    assert values(copy) == {A: b"y"}


def test_all_changes_are_one_batch(store: DirectoryStore) -> None:
    changes = [Change(f"hooks/{number}", b"x" * 1000, ABSENT) for number in range(1000)]
    assert store.batches([changes[:2], changes[2:]]) == [changes]
    assert store.batches([]) == []
    store.commit(changes)
    assert len(store.read("hooks/")) == 1000


def test_a_missing_directory_is_an_error_unless_it_may_be_created(path: Path) -> None:
    missing = DirectoryStore(str(path))
    for attempt in (
        lambda: missing.read("hooks/"),
        lambda: missing.get(A),
        lambda: missing.commit([Change(A, b"x", ABSENT)]),
    ):
        with pytest.raises(StoreUnavailable, match="does not exist; schedule a hook first, or mount it"):
            attempt()
    assert not path.exists()

    created = DirectoryStore(str(path / "deeper"), create=True)
    assert created.read("hooks/") == {}
    assert created.get(A) is None
    assert not path.exists()
    put(created, **{A: b"x"})
    assert values(created) == {A: b"x"}


def test_a_file_in_place_of_the_directory_is_refused(path: Path, store: DirectoryStore) -> None:
    path.write_text("")
    with pytest.raises(StoreError, match="is a file; name a directory"):
        store.read("")


@pytest.mark.parametrize(
    "key",
    ["", "/hooks/a", "hooks//a", "hooks/a/", "hooks/../a", "..", "./a", ".git/config", "hooks/.tmp-a", "a\0b", "a\nb"],
)
def test_a_key_that_could_lead_elsewhere_is_refused(store: DirectoryStore, key: str, path: Path) -> None:
    with pytest.raises(StoreError, match="cannot be a key") as refused:
        store.get(key)
    assert "\n" not in str(refused.value)
    with pytest.raises(StoreError, match="cannot be a key"):
        store.commit([Change(key, b"x", ABSENT)])
    with pytest.raises(StoreError, match="cannot be a key"):
        store.batches([[Change("hooks/fine", b"x", ABSENT), Change(key, b"x", ABSENT)]])
    assert not path.exists()


@pytest.mark.parametrize("prefix", ["/", "../", "hooks/../", "hooks//"])
def test_a_prefix_that_could_lead_elsewhere_is_refused(store: DirectoryStore, prefix: str) -> None:
    with pytest.raises(StoreError, match="cannot be a key"):
        store.read(prefix)


@pytest.mark.parametrize("where", [A, "hooks/before_install", "hooks", "."])
@pytest.mark.parametrize("mode", [0o775, 0o757])
def test_what_others_can_write_is_refused(store: DirectoryStore, path: Path, where: str, mode: int) -> None:
    put(store, **{A: b"x"})
    (path / where).chmod(mode)
    for attempt in (lambda: store.read("hooks/"), lambda: store.get(A), lambda: put(store, **{A: b"y"})):
        with pytest.raises(
            StoreError, match=r"writable by others, who could then run code as root; chmod go-w "
        ) as refused:
            attempt()
        assert str((path / where).resolve()) in str(refused.value)


@needs_root
@pytest.mark.parametrize("where", [A, "hooks/before_install", "hooks", "."])
def test_what_belongs_to_somebody_else_is_refused(store: DirectoryStore, path: Path, where: str) -> None:
    put(store, **{A: b"x"})
    os.chown(path / where, 12345, -1)
    for attempt in (lambda: store.read("hooks/"), lambda: store.get(A)):
        with pytest.raises(
            StoreError, match="belongs to the user with id 12345, who could then run code as root; chown"
        ):
            attempt()


@pytest.mark.parametrize("mode", [0o775, 0o757])
def test_a_store_that_others_could_replace_is_refused(tmp_path: Path, mode: int) -> None:
    parent = tmp_path / "parent"
    (parent / "between").mkdir(parents=True)
    path = parent / "between" / "store"
    refusal = (
        f"the store in '{path}' can be replaced by others, who could then run code as root: "
        f"{parent} is writable by group or others; chmod go-w it"
    )
    store = DirectoryStore(str(path), create=True)
    parent.chmod(mode)
    for attempt in (lambda: store.read("hooks/"), lambda: put(store, **{A: b"x"})):
        with pytest.raises(StoreError) as refused:
            attempt()
        assert str(refused.value) == refusal
    assert not path.exists()
    parent.chmod(0o755)
    put(store, **{A: b"x"})
    parent.chmod(mode)
    for look in (lambda: store.read("hooks/"), lambda: store.get(A), lambda: store.wait("hooks/", 0, 0)):
        with pytest.raises(StoreError) as refused:
            look()
        assert str(refused.value) == refusal
    parent.chmod(0o1777)
    assert values(store) == {A: b"x"}


@needs_root
def test_a_checkout_belongs_to_root_or_to_who_installs_from_it() -> None:
    with tempfile.TemporaryDirectory() as directory:
        os.chown(directory, 65534, -1)
        store = DirectoryStore(f"{directory}/checkout", create=True)
        os.seteuid(65534)
        try:
            put(store, **{A: b"x"})
            assert values(store) == {A: b"x"}
        finally:
            os.seteuid(0)
        os.chown(f"{directory}/checkout", 0, -1)
        with pytest.raises(StoreError, match=f"as root: {directory} belongs to user 65534; chown it to root$"):
            store.read("hooks/")


@needs_root
def test_who_may_only_read_can_read() -> None:
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o755)
        store = DirectoryStore(directory)
        put(store, **{A: b"x"})
        os.seteuid(65534)
        try:
            assert values(store) == {A: b"x"}
            with pytest.raises(StoreError, match="Permission denied"):
                put(store, **{B: b"x"})
        finally:
            os.seteuid(0)


def test_symbolic_links_are_refused(store: DirectoryStore, path: Path) -> None:
    put(store, **{A: b"x"})
    elsewhere = path.with_name("elsewhere")
    elsewhere.mkdir()
    (elsewhere / "a").write_text("x")
    (path / "hooks/file").symlink_to(elsewhere / "a")
    (path / "linked").symlink_to(elsewhere)
    for attempt in (
        lambda: store.read("hooks/"),
        lambda: store.get("hooks/file"),
        lambda: store.read("linked/"),
        lambda: store.get("linked/a"),
        lambda: store.commit([Change("linked/a", b"y", ABSENT)]),
        lambda: store.commit([Change("hooks/file", b"y", ABSENT)]),
    ):
        with pytest.raises(StoreError, match="neither a plain file nor a directory"):
            attempt()
    assert (elsewhere / "a").read_text() == "x"


def test_the_store_itself_may_be_reached_through_a_link(store: DirectoryStore, path: Path) -> None:
    put(store, **{A: b"x"})
    path.with_name("link").symlink_to(path)
    assert values(DirectoryStore(str(path.with_name("link")))) == {A: b"x"}


def test_a_named_pipe_and_a_socket_are_refused_without_waiting(store: DirectoryStore, path: Path) -> None:
    put(store, **{A: b"x"})
    os.mkfifo(path / "hooks/pipe")
    with pytest.raises(StoreError, match="pipe' is neither a plain file"):
        store.read("hooks/")
    (path / "hooks/pipe").unlink()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path / "hooks/socket"))
        with pytest.raises(StoreError, match="socket' is neither a plain file"):
            store.read("hooks/")


def test_a_key_below_a_key_and_one_in_place_of_a_directory_are_errors(store: DirectoryStore) -> None:
    put(store, **{A: b"x"})
    for key in (f"{A}/below", "hooks/before_install"):
        with pytest.raises(StoreError, match=r"hooks/before_install.*: (File exists|Is a directory); correct that"):
            store.commit([Change(B, b"y", ABSENT), Change(key, b"y", ABSENT)])
    assert values(store) == {A: b"x"}


def test_a_name_that_is_too_long_is_an_error(store: DirectoryStore) -> None:
    with pytest.raises(StoreError, match="File name too long"):
        store.commit([Change("hooks/" + "x" * 300, b"y", ABSENT)])


def test_a_write_that_fails_changes_nothing(store: DirectoryStore, path: Path) -> None:
    put(store, **{A: b"old"})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(StoreError, match="File too large"):
            put(store, **{A: b"new", B: b"x" * 2000})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert values(store) == {A: b"old"}
    assert files_below(path) == [A]


def test_a_lock_that_is_never_released_ends_the_wait(store: DirectoryStore, path: Path) -> None:
    put(store, **{A: b"x"})
    impatient = DirectoryStore(str(path), timeout=0.1)
    with open(path / ".lock", "rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for attempt in (
            lambda: impatient.read(""),
            lambda: impatient.commit([Change(A, b"y", index_of(impatient, A))]),
        ):
            with pytest.raises(StoreUnavailable, match=r"locked by another process for 0\.1 s"):
                attempt()
    assert values(impatient) == {A: b"x"}


def _count_up(path: str, times: int) -> None:
    store = DirectoryStore(path, create=True)
    while times:
        entry = store.get("counter")
        number = int(entry.value) if entry else 0
        try:
            store.commit([Change("counter", b"%d" % (number + 1), entry.index if entry else ABSENT)])
            times -= 1
        except StoreConflict:
            pass


def test_no_writer_overwrites_another(store: DirectoryStore, path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_count_up, args=(str(path), 20)) for dummy in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0, 0, 0, 0]
    assert values(store) == {"counter": b"80"}


def test_a_reader_sees_all_of_a_transaction_or_nothing(store: DirectoryStore, path: Path) -> None:
    keys = [f"hooks/{number}" for number in range(20)]
    store.commit([Change(key, b"0", ABSENT) for key in keys])
    stop = threading.Event()

    def write() -> None:
        writer, number = DirectoryStore(str(path)), 0
        while not stop.wait(0.02):
            number += 1
            writer.commit([Change(key, b"%d" % number, entry.index) for key, entry in writer.read("hooks/").items()])

    thread = threading.Thread(target=write)
    thread.start()
    seen: set[tuple[bytes, ...]] = set()
    try:
        while len(seen) < 8:
            seen.add(tuple(sorted(set(values(store, "hooks/").values()))))
    finally:
        stop.set()
        thread.join()
    assert all(len(versions) == 1 for versions in seen)


# --- waiting ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def quick_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(directory, "_LOOK_EVERY", 0.01)
    monkeypatch.setattr(directory, "_MAX_LOAD", 1.0)


def after(seconds: float, work: Callable[[], object]) -> threading.Timer:
    timer = threading.Timer(seconds, work)
    timer.start()
    return timer


def test_waiting_from_the_beginning_is_reading(store: DirectoryStore) -> None:
    assert store.wait("hooks/", 0, 60) == Snapshot({}, 1)
    put(store, **{A: b"x", "other/a": b"y"})
    assert store.wait("hooks/", 0, 60) == Snapshot(store.read("hooks/"), 2)


@pytest.mark.usefixtures("quick_looks")
@pytest.mark.parametrize(
    "change",
    [
        lambda store, path: put(store, **{B: b"new"}),
        lambda store, path: put(store, **{A: b"other"}),
        lambda store, path: store.commit([Change(A, None, index_of(store, A))]),
        lambda store, path: (path / A).write_bytes(b"edited in place"),
        lambda store, path: shutil.rmtree(path / "hooks"),
    ],
    ids=["put", "replaced", "deleted", "edited", "all gone"],
)
def test_waiting_ends_with_a_change(
    store: DirectoryStore, path: Path, change: Callable[[DirectoryStore, Path], object]
) -> None:
    put(store, **{A: b"old"})
    index = store.wait("hooks/", 0, 60).index
    timer = after(0.1, lambda: change(store, path))
    snapshot = store.wait("hooks/", index, 60)
    timer.join()
    assert snapshot.index > index
    assert store.wait("hooks/", 0, 60).entries == store.read("hooks/")


@pytest.mark.usefixtures("quick_looks")
def test_a_change_between_two_waits_is_not_missed(store: DirectoryStore) -> None:
    index = store.wait("hooks/", 0, 60).index
    put(store, **{A: b"x"})
    assert list(store.wait("hooks/", index, 60).entries) == [A]


@pytest.mark.usefixtures("quick_looks")
def test_waiting_ends_in_time_and_other_prefixes_do_not_count(store: DirectoryStore, path: Path) -> None:
    put(store, **{A: b"x"})
    first = store.wait("hooks/", 0, 60)
    timer = after(0.05, lambda: put(store, **{"hooks-status/node": b"x"}))
    started = time.monotonic()
    assert store.wait("hooks/", first.index, 0.2) == first
    assert time.monotonic() - started >= 0.2
    timer.join()


def test_waiting_for_a_store_that_is_not_there_is_an_error(path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="does not exist; schedule a hook first"):
        DirectoryStore(str(path)).wait("hooks/", 0, 60)


def test_looking_costs_next_to_nothing(store: DirectoryStore) -> None:
    store.commit([Change(f"hooks/before_install/hook{number}", b"x", ABSENT) for number in range(100)])
    index = store.wait("hooks/", 0, 60).index
    store._marks("hooks/")
    before = time.thread_time()
    store.wait("hooks/", index, 2.5)
    assert time.thread_time() - before < 0.1  # three looks and a read
