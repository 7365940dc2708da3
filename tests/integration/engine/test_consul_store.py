# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Consul store against a real Consul."""

from __future__ import annotations

import base64
import json
import os
import re
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from conftest import Answer
from p2hooks.errors import StoreConflict, StoreDenied, StoreError, StoreUnavailable
from p2hooks.store import ABSENT, Change, Snapshot, Store
from p2hooks.store.consul import ConsulConnection, ConsulStore

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Consul, StandIn

A = "hooks/before_install/a"
B = "hooks/after_install/b"
TOKEN = "8ba6a3de-0000-4000-8000-59c1a2cf3d0e"
UNKNOWN_TOKEN = "11111111-2222-3333-4444-555555555555"
KIB = 1024


def store_at(url: str, **options: object) -> ConsulStore:
    return ConsulStore(ConsulConnection(url, **options))  # type: ignore[arg-type]


@pytest.fixture
def store(consul: Consul) -> ConsulStore:
    return store_at(consul.url)


def values(store: Store, prefix: str = "hooks/") -> dict[str, bytes]:
    return {key: entry.value for key, entry in store.read(prefix).items()}


def index_of(store: Store, key: str) -> int:
    entry = store.get(key)
    return entry.index if entry else ABSENT


def test_what_is_committed_is_read(store: ConsulStore) -> None:
    store.commit([Change(A, b"one\0\xff", ABSENT), Change(B, b"", ABSENT), Change("hooks-status/host", b"x", ABSENT)])
    assert values(store) == {B: b"", A: b"one\0\xff"}
    assert values(store, "") == {B: b"", A: b"one\0\xff", "hooks-status/host": b"x"}
    assert list(values(store, "hooks")) == ["hooks-status/host", B, A]
    assert store.get(A) == store.read(A)[A]
    store.commit([Change(A, b"two", index_of(store, A)), Change(B, None, index_of(store, B))])
    assert values(store) == {A: b"two"}
    assert store.get(B) is None
    store.commit([Change(A, None, index_of(store, A))])
    assert values(store) == {}


def test_keys_need_no_care_of_url_syntax(store: ConsulStore) -> None:
    keys = [f"hooks/{name}" for name in ("a b", "a%2Fb", "a+b", "a?b", "a#b", "a&b=c", "ä", "a:b@c")]
    for key in keys:
        store.commit([Change(key, b"x", ABSENT)])
        assert index_of(store, key) != ABSENT
    assert set(values(store)) == set(keys)


def test_the_folders_of_the_web_interface_are_no_keys(consul: Consul, store: ConsulStore) -> None:
    consul.put("hooks/before_install/", b"")
    consul.put(A, b"x")
    assert values(store) == {A: b"x"}


def test_a_key_that_could_lead_elsewhere_is_refused(store: ConsulStore) -> None:
    for key in ("/hooks/a", "hooks/../a", "hooks//a", "hooks/a/", "hooks/a\n", "hooks/.a", ""):
        with pytest.raises(StoreError, match="cannot be a key"):
            store.get(key)
        with pytest.raises(StoreError, match="cannot be a key"):
            store.commit([Change(key, b"x", ABSENT)])
        with pytest.raises(StoreError, match="cannot be a key"):
            store.batches([[Change("hooks/fine", b"x", ABSENT), Change(key, b"x", ABSENT)]])


@pytest.mark.parametrize("others", [[], [Change(B, b"x", ABSENT)]], ids=["alone", "in a transaction"])
def test_a_change_of_what_somebody_else_changed_is_a_conflict(store: ConsulStore, others: list[Change]) -> None:
    store.commit([Change(A, b"old", ABSENT)])
    index = index_of(store, A)
    store.commit([Change(A, b"theirs", index)])
    for change in (Change(A, b"ours", index), Change(A, b"ours", ABSENT), Change(A, None, index)):
        with pytest.raises(StoreConflict, match=f"'{A}'.*nothing of this transaction was written, so run this again"):
            store.commit([*others, change])
    assert values(store) == {A: b"theirs"}


def test_a_change_of_what_was_deleted_is_a_conflict(store: ConsulStore) -> None:
    store.commit([Change(A, b"x", ABSENT)])
    index = index_of(store, A)
    store.commit([Change(A, None, index)])
    with pytest.raises(StoreConflict):
        store.commit([Change(A, b"y", index)])
    assert values(store) == {}


def test_deleting_what_is_gone_already_is_none(store: ConsulStore) -> None:
    store.commit([Change(A, None, 1234)])
    store.commit([Change(A, None, 1234), Change(B, b"x", ABSENT)])
    assert values(store) == {B: b"x"}


def test_deleting_what_must_exist_and_is_gone_is_a_conflict(store: ConsulStore) -> None:
    store.commit([Change(A, b"x", ABSENT)])
    removal = Change(A, None, index_of(store, A), must_exist=True)
    store.commit([removal])
    for others in ([], [Change(B, b"x", ABSENT)]):
        with pytest.raises(StoreConflict, match=f"'{A}'.*nothing of this transaction was written"):
            store.commit([*others, removal])
    assert values(store) == {}
    store.commit([Change(A, b"x", ABSENT)])
    with pytest.raises(StoreConflict, match=f"'{A}'"):
        store.commit([removal])


def test_a_key_that_must_not_exist_is_a_conflict_where_it_does(store: ConsulStore) -> None:
    store.commit([Change(A, None, ABSENT), Change(B, b"x", ABSENT)])
    store.commit([Change(A, b"x", ABSENT)])
    with pytest.raises(StoreConflict, match=f"'{A}'"):
        store.commit([Change(B, b"y", index_of(store, B)), Change(A, None, ABSENT)])
    assert values(store) == {A: b"x", B: b"x"}


def test_no_writer_overwrites_another(consul: Consul) -> None:
    def count_up() -> None:
        store, times = store_at(consul.url), 10
        while times:
            entry = store.get("counter")
            number, index = (int(entry.value), entry.index) if entry else (0, ABSENT)
            try:
                store.commit([Change("counter", b"%d" % (number + 1), index)])
                times -= 1
            except StoreConflict:
                pass

    writers = [threading.Thread(target=count_up) for dummy in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert values(store_at(consul.url), "counter") == {"counter": b"40"}


@pytest.mark.parametrize("count", [1, 2, 64, 65, 200])
def test_many_changes_take_as_few_transactions_as_consul_allows(store: ConsulStore, count: int) -> None:
    changes = [Change(f"hooks/{number:03}", b"x" * 100, ABSENT) for number in range(count)]
    batches = store.batches([[change] for change in changes])
    assert [change for batch in batches for change in batch] == changes
    assert len(batches) == -(-count // 64)
    for batch in batches:
        store.commit(batch)
    assert len(values(store)) == count


def test_what_belongs_together_is_in_one_transaction(store: ConsulStore) -> None:
    groups = [[Change(f"hooks/{group}-{number}", b"x", ABSENT) for number in range(3)] for group in range(30)]
    batches = store.batches(groups)
    assert [len(batch) for batch in batches] == [63, 27]
    removals = [[Change(f"hooks/{number}", None, 7, must_exist=True)] for number in range(33)]  # two operations each
    assert [len(batch) for batch in store.batches(removals)] == [32, 1]
    with pytest.raises(StoreError, match=r"'hooks/a' and 'hooks/b' have to be changed together, and are too large"):
        store.batches([[Change("hooks/a", b"x" * 200 * KIB, ABSENT), Change("hooks/b", b"x" * 200 * KIB, ABSENT)]])


def test_no_changes_are_no_transaction(store: ConsulStore) -> None:
    assert store.batches([]) == []
    store.commit([])


@pytest.mark.parametrize("size", [100 * KIB, 300 * KIB, 512 * KIB])
def test_large_values_are_split_by_the_size_of_the_request(store: ConsulStore, size: int) -> None:
    changes = [Change(f"hooks/{number}", bytes([number]) * size, ABSENT) for number in range(8)]
    batches = store.batches([[change] for change in changes])
    assert len(batches) == (3 if size == 100 * KIB else 8)
    for batch in batches:
        store.commit(batch)
    assert values(store) == {change.key: change.value for change in changes}


def test_a_transaction_may_be_exactly_as_large_as_consul_allows(
    consul: Consul, recorder: Callable[[Consul], StandIn]
) -> None:
    recording = recorder(consul)
    store = store_at(recording.url)
    first = Change("hooks/a", b"x" * 196_500, ABSENT)
    for size in range(196_500, 196_700):
        changes = [first, Change("hooks/b", b"y" * size, ABSENT)]
        if len(store.batches([[change] for change in changes])) > 1:
            break
        largest = changes
    store.commit(largest)
    assert 512 * KIB - 4 < len(recording.requests[-1].body) <= 512 * KIB
    assert len(values(store)) == 2


def test_a_value_over_the_limit_is_refused_before_anything_is_sent(
    consul: Consul, recorder: Callable[[Consul], StandIn]
) -> None:
    recording = recorder(consul)
    store = store_at(recording.url)
    changes = [Change(A, b"x", ABSENT), Change(B, b"x" * (512 * KIB + 1), ABSENT)]
    for attempt in (lambda: store.batches([changes]), lambda: store.commit(changes), lambda: store.commit(changes[1:])):
        with pytest.raises(StoreError, match=f"'{B}' has 524289 bytes, and the limit is 524288"):
            attempt()
    assert recording.requests == []


def test_a_read_is_one_request_and_not_stale(consul: Consul, recorder: Callable[[Consul], StandIn]) -> None:
    for number in range(100):
        consul.put(f"hooks/{number}", b"x")
    recording = recorder(consul)
    assert len(values(store_at(recording.url))) == 100
    assert [str(request) for request in recording.requests] == ["GET /v1/kv/hooks/?recurse=1 b''"]


@pytest.mark.parametrize("given", ["token", "token_file"])
def test_the_token_is_in_a_header_of_every_request_and_nowhere_else(
    guarded_consul: Consul, recorder: Callable[[Consul], StandIn], tmp_path: Path, given: str
) -> None:
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    recording = recorder(guarded_consul)
    store = store_at(recording.url, **{given: TOKEN if given == "token" else str(tmp_path / "token")})
    store.commit([Change(A, b"x", ABSENT)])
    store.commit([Change(A, b"y", index_of(store, A)), Change(B, b"y", ABSENT)])
    store.commit([Change(B, None, index_of(store, B))])
    assert values(store) == {A: b"y"}
    assert len(recording.requests) == 6
    assert {request.headers["X-Consul-Token"] for request in recording.requests} == {TOKEN}
    assert not any(TOKEN in str(request) for request in recording.requests)


def test_a_token_file_is_read_anew_for_each_request(guarded_consul: Consul, tmp_path: Path) -> None:
    guarded_consul.put(A, b"x")
    file = tmp_path / "token"
    file.write_text(UNKNOWN_TOKEN)
    store = store_at(guarded_consul.url, token_file=str(file))
    with pytest.raises(StoreDenied):
        store.read("hooks/")
    file.write_text(TOKEN)
    assert values(store) == {A: b"x"}
    file.unlink()
    with pytest.raises(StoreError, match=r"consul_token_file .* cannot be read: No such file"):
        store.read("hooks/")


@pytest.mark.skipif(os.geteuid() != 0, reason="only what root reads has to be safe, and only root can give files away")
@pytest.mark.parametrize("option", ["token_file", "ca_path"])
def test_a_file_that_others_could_change_is_refused(tmp_path: Path, option: str) -> None:
    (tmp_path / "etc").mkdir()
    path = tmp_path / "etc" / "file"
    path.write_text(TOKEN)
    store_at("https://consul", **{option: str(path)})

    def refused(path: Path = path) -> str:
        with pytest.raises(StoreError) as caught:
            store_at("https://consul", **{option: str(path)})
        assert not isinstance(caught.value, StoreUnavailable)  # which a listener would try again and again
        what, dummy, refusal = str(caught.value).partition("give a copy in a safe place, or mend this: ")
        assert what == f"consul_{option} '{path}' could be changed by others; "
        return refusal

    path.chmod(0o664)
    store_at("http://consul", ca_path=str(path))  # which has no use for it
    store_at("https://consul", ca_path=str(path), validate_certs=False)
    assert refused() == f"{path} is writable by group or others; chmod go-w it"
    path.chmod(0o600)
    os.chown(path, 12345, -1)
    assert refused() == f"{path} belongs to user 12345; chown it to root"
    os.chown(path, 0, -1)
    (tmp_path / "etc").chmod(0o777)
    assert refused() == f"{tmp_path}/etc is writable by group or others; chmod go-w it"
    (tmp_path / "link").symlink_to("etc/file")
    assert refused(tmp_path / "link") == f"{tmp_path}/etc is writable by group or others; chmod go-w it"


@pytest.mark.skipif(os.geteuid() != 0, reason="only what root reads has to be safe")
def test_a_directory_where_others_could_put_a_certificate_is_refused(tmp_path: Path) -> None:
    store_at("https://consul", ca_path=str(tmp_path))
    tmp_path.chmod(0o1777)
    with pytest.raises(StoreError, match=f"{tmp_path} is writable by group or others; chmod go-w it"):
        store_at("https://consul", ca_path=str(tmp_path))


@pytest.mark.skipif(os.geteuid() != 0, reason="only what root reads has to be safe")
def test_a_token_file_is_looked_at_anew_for_each_request(guarded_consul: Consul, tmp_path: Path) -> None:
    guarded_consul.put(A, b"x")
    file = tmp_path / "token"
    file.write_text(TOKEN)
    store = store_at(guarded_consul.url, token_file=str(file))
    assert values(store) == {A: b"x"}
    file.chmod(0o666)
    with pytest.raises(StoreError, match=r"consul_token_file .* could be changed by others"):
        store.read("hooks/")


def test_files_of_who_is_not_root_are_theirs_to_protect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text(TOKEN)
    (tmp_path / "file").chmod(0o664)  # as git makes it with a umask of 002
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    store_at("consul", token_file=str(tmp_path / "file"), ca_path=str(tmp_path / "file"))


def test_the_options_do_not_show_the_token() -> None:
    assert TOKEN not in repr(ConsulConnection(token=TOKEN))


def denied(store: Store, *changes: Change) -> str:
    with pytest.raises(StoreDenied, match="give a token that has this right, by consul_token") as refused:
        store.commit(changes)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_without_a_token_nothing_is_seen_and_nothing_can_be_written(guarded_consul: Consul) -> None:
    guarded_consul.put(A, b"x")
    store = store_at(guarded_consul.url)
    assert values(store) == {}
    with pytest.raises(StoreDenied, match=f"denies key:read on '{A}': 'Permission denied'"):
        store.get(A)
    assert f"denies key:write on '{A}'" in denied(store, Change(A, b"y", ABSENT))
    assert f"denies key:write on '{B}'" in denied(store, Change(B, b"y", ABSENT), Change(A, b"y", ABSENT))


def test_an_unknown_token_is_denied_and_not_shown(guarded_consul: Consul) -> None:
    store = store_at(guarded_consul.url, token=UNKNOWN_TOKEN)
    with pytest.raises(StoreDenied, match="denies key:read on 'hooks/': 'ACL not found'") as refused:
        store.read("hooks/")
    assert UNKNOWN_TOKEN not in str(refused.value)
    for changes in ([Change(A, b"y", ABSENT)], [Change(A, b"y", ABSENT), Change(B, b"y", ABSENT)]):
        message = denied(store, *changes)
        assert "key:write" in message
        assert UNKNOWN_TOKEN not in message


def test_a_token_with_rights_to_a_part_sees_and_writes_that_part(guarded_consul: Consul) -> None:
    guarded_consul.put(A, b"x")
    guarded_consul.put(B, b"x")
    rules = (
        'key_prefix "hooks/before_install/" { policy = "write" } key_prefix "hooks/after_launch/" { policy = "read" }'
    )
    store = store_at(guarded_consul.url, token=guarded_consul.new_token(rules))
    assert values(store) == {A: b"x"}
    store.commit([Change(A, b"y", index_of(store, A))])
    readable = "hooks/after_launch/c"
    assert f"'{readable}'" in denied(store, Change(readable, b"z", ABSENT))
    assert f"'{readable}'" in denied(store, Change(A, b"z", index_of(store, A)), Change(readable, b"z", ABSENT))
    assert values(store) == {A: b"y"}


def test_waiting_from_the_beginning_is_reading(consul: Consul, store: ConsulStore) -> None:
    empty = store.wait("hooks/", 0, 60)
    assert (empty.entries, empty.index > 0) == ({}, True)
    consul.put(A, b"one\0\xff")
    consul.put(B, b"")
    consul.put("hooks/folder/", b"")
    snapshot = store.wait("hooks/", 0, 60)
    assert snapshot.entries == store.read("hooks/")
    assert {key: entry.value for key, entry in snapshot.entries.items()} == {A: b"one\0\xff", B: b""}


@pytest.mark.parametrize("change", ["put", "delete"])
def test_waiting_ends_with_a_change(consul: Consul, store: ConsulStore, change: str) -> None:
    consul.put(A, b"x")
    before = store.wait("hooks/", 0, 60)
    timer = threading.Timer(0.2, consul.ask, ("PUT", f"/v1/kv/{B}") if change == "put" else ("DELETE", f"/v1/kv/{A}"))
    timer.start()
    after = store.wait("hooks/", before.index, 60)
    timer.join()
    assert set(after.entries) == ({A, B} if change == "put" else set())
    assert after.index > before.index


def test_waiting_for_what_a_folder_is_to_hold_ends_with_that_alone(consul: Consul, store: ConsulStore) -> None:
    store.make_folder("hooks-rollout/")
    store.make_folder("hooks-rollout/")
    before = store.wait("hooks-rollout/", 0, 60)
    assert before.entries == store.read("hooks") == {}
    consul.put("hooks-status/node1", b"")
    unchanged = store.wait("hooks-rollout/", before.index, 0.5)
    assert unchanged == before, "it was woken by a key elsewhere"
    thread = threading.Timer(0.5, consul.put, ("hooks-rollout/greet", b""))
    thread.start()
    assert list(store.wait("hooks-rollout/", before.index, 60).entries) == ["hooks-rollout/greet"]
    thread.join()
    consul.ask("DELETE", "/v1/kv/hooks-rollout/greet")
    assert store.wait("hooks-rollout/", 0, 60).entries == {}


def test_waiting_ends_in_time_and_may_take_longer_than_a_request(consul: Consul) -> None:
    store = store_at(consul.url, timeout=0.5)
    consul.put(A, b"x")
    before = store.wait("hooks/", 0, 1)
    started = time.monotonic()
    assert store.wait("hooks/", before.index, 1) == before
    assert 1 <= time.monotonic() - started < 1.5


def test_a_connection_on_which_nothing_is_said_is_looked_after(consul: Consul, store: ConsulStore) -> None:
    thread = threading.Thread(target=store.wait, args=("hooks/", store.wait("hooks/", 0, 1).index, 1))
    thread.start()
    time.sleep(0.3)
    port = f"{int(consul.url.rpartition(':')[2]):04X}"
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    timers = {line[5][:2] for line in lines if line[2].endswith(f":{port}") and line[3] == "01"}
    thread.join()
    assert timers == {"02"}  # keep-alive, see proc(5) on /proc/net/tcp


def test_an_index_below_one_never_reaches_consul(consul: Consul, stand_in: Callable[..., StandIn]) -> None:
    url = stand_in(lambda dummy: Answer(404, b"", {"X-Consul-Index": "0"})).url
    assert store_at(url).wait("hooks/", 0, 1) == Snapshot({}, 1)


def test_an_answer_without_what_the_token_may_not_read_is_denied(stand_in: Callable[..., StandIn]) -> None:
    headers = {"X-Consul-Index": "7", "X-Consul-Results-Filtered-By-ACLs": "true"}
    store = store_at(stand_in(lambda dummy: Answer(200, b"[]", headers)).url)
    with pytest.raises(StoreDenied, match=r"denies key:read on some of hooks/: it leaves them out.*consul_token"):
        store.wait("hooks/", 0, 1)


def test_the_datacenter_is_named_in_every_request(consul: Consul, recorder: Callable[[Consul], StandIn]) -> None:
    recording = recorder(consul)
    store = store_at(recording.url, datacenter="dc1")
    store.commit([Change(A, b"x", ABSENT)])
    store.commit([Change(A, b"y", index_of(store, A)), Change(B, b"x", ABSENT)])
    assert values(store) == {A: b"y", B: b"x"}
    assert all("dc=dc1" in request.path for request in recording.requests)

    elsewhere = store_at(consul.url, datacenter="nowhere")
    for attempt in (
        lambda: elsewhere.read("hooks/"),
        lambda: elsewhere.get(A),
        lambda: elsewhere.commit([Change(A, b"z", ABSENT)]),
        lambda: elsewhere.commit([Change(A, None, 1), Change(B, b"z", ABSENT)]),
    ):
        with pytest.raises(StoreUnavailable, match="No path to datacenter"):
            attempt()


def test_the_namespace_is_named(consul: Consul) -> None:
    with pytest.raises(StoreError, match="Namespaces are a Consul Enterprise feature"):
        store_at(consul.url, namespace="team").read("hooks/")


@pytest.mark.parametrize("address", ["127.0.0.1:1", "http://127.0.0.1:1", "nonsense"])
def test_the_environment_decides_nothing(
    guarded_consul: Consul, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me password secret\n")
    (tmp_path / ".netrc").chmod(0o600)
    environment = {
        "HOME": str(tmp_path),
        "CONSUL_HTTP_ADDR": address,
        "CONSUL_HTTP_TOKEN": UNKNOWN_TOKEN,
        "CONSUL_HTTP_SSL": "true",
        "CONSUL_HTTP_SSL_VERIFY": "false",
        "HTTP_PROXY": "http://127.0.0.1:1",
        "http_proxy": "http://127.0.0.1:1",
        "ALL_PROXY": "http://127.0.0.1:1",
        "NO_PROXY": "",
        "REQUESTS_CA_BUNDLE": "/nonexistent",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    store = store_at(guarded_consul.url, token=TOKEN)
    store.commit([Change(A, b"x", ABSENT), Change(B, b"x", ABSENT)])
    assert values(store) == {A: b"x", B: b"x"}
    assert values(store_at(guarded_consul.url)) == {}


def test_the_url_may_leave_out_what_is_usual(consul: Consul) -> None:
    consul.put(A, b"x")
    for url in (
        consul.url,
        f"{consul.url}/",
        consul.url.replace("http://", ""),
        consul.url.replace("127.0.0.1", "localhost"),
    ):
        assert values(store_at(url)) == {A: b"x"}
    assert store_at("consul.example").name == "Consul at http://consul.example:8500"
    assert store_at("https://consul.example").name == "Consul at https://consul.example:8501"
    assert store_at("[::1]").name == "Consul at http://[::1]:8500"


@pytest.mark.parametrize(
    "url",
    [
        *("", "ftp://consul:1", "unix:///run/consul.sock", "http://", "http://consul:port", "http://consul:99999"),
        *("http://me:S3cret@consul:8500", "me:S3cret@consul:8500", "http://S3cret@consul"),
        *("http://consul:8500/v1/kv", "http://consul/?token=S3cret", "http://consul/#S3cret", "con sul"),
    ],
)
def test_a_url_of_another_form_is_refused_and_not_shown(url: str) -> None:
    with pytest.raises(StoreError, match="consul_url is not of the form http://host:port") as refused:
        store_at(url)
    assert "S3cret" not in str(refused.value)


@pytest.mark.parametrize("token", ["S3cret\n", "S3 cret", "S3cret\r\nX-Evil: 1", "S3crét"])
def test_a_token_that_no_header_can_carry_is_refused_and_not_shown(token: str) -> None:
    with pytest.raises(StoreError, match="consul_token is empty, or holds spaces") as refused:
        store_at("consul", token=token)
    assert "S3" not in str(refused.value)


def test_unusable_options_are_refused(tmp_path: Path) -> None:
    missing = str(tmp_path / "missing")
    (tmp_path / "empty").touch()
    cases: list[tuple[dict[str, object], str]] = [
        ({"token": TOKEN, "token_file": missing}, "consul_token and consul_token_file are both given"),
        ({"token_file": missing}, "consul_token_file .*missing' cannot be read: No such file"),
        ({"token_file": str(tmp_path)}, "consul_token_file .* cannot be read: Is a directory"),
        ({"token_file": str(tmp_path / "empty")}, "consul_token_file is empty"),
        ({"ca_path": missing}, "consul_ca_path .* does not exist or cannot be read"),
        ({"client_cert": missing}, "consul_client_cert .* does not exist or cannot be read"),
        ({"client_key": str(tmp_path / "empty")}, "consul_client_key is given without consul_client_cert"),
        ({"namespace": "a\nb"}, "consul_namespace .* holds spaces"),
        ({"timeout": 0}, "consul_timeout is 0"),
        ({"timeout": float("nan")}, "consul_timeout is nan"),
        ({"timeout": 1e9}, "at most 3600"),
    ]
    for options, message in cases:
        with pytest.raises(StoreError, match=message):
            store_at("consul", **options)


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "consul", None)
    monkeypatch.delitem(sys.modules, "consul.base", raising=False)
    who = re.escape(sys.executable)
    with pytest.raises(StoreError, match=rf"consul cannot be imported by {who} .*; install py-consul or python-consul"):
        store_at("consul")


def test_a_library_that_knows_no_transactions_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    store_at("consul")
    library = sys.modules["consul.base"]
    monkeypatch.delattr(library if hasattr(library, "Txn") else library.Consul, "Txn")
    with pytest.raises(StoreError, match="library consul is too old for transactions; install py-consul"):
        store_at("consul")


def test_an_index_is_consuls_own(consul: Consul, store: ConsulStore) -> None:
    store.commit([Change(A, b"x", ABSENT)])
    (item,) = json.loads(consul.ask("GET", f"/v1/kv/{A}"))
    assert base64.b64decode(item["Value"]) == b"x"
    assert store.read(A)[A].index == item["ModifyIndex"]
