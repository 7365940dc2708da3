# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A Consul that is away, or answers with something else: one line that says so, and no token."""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from p2hooks.errors import StoreDenied, StoreError, StoreUnavailable
from p2hooks.store import ABSENT, Change
from p2hooks.store.consul import ConsulConnection, ConsulStore

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Request, StandIn

    StartStandIn = Callable[[Callable[[Request], tuple[int, bytes, dict[str, str]]]], StandIn]
    StartRawServer = Callable[[Callable[[socket.socket], None]], str]

TOKEN = "8ba6a3de-0000-4000-8000-59c1a2cf3d0e"
ONE = [Change("hooks/a", b"x", ABSENT)]
TWO = [*ONE, Change("hooks/b", b"x", ABSENT)]
INDEX = {"X-Consul-Index": "7"}


def store_at(url: str, **options: object) -> ConsulStore:
    return ConsulStore(ConsulConnection(url, **{"token": TOKEN, "timeout": 5, **options}))  # type: ignore[arg-type]


def errors_of(store: ConsulStore, kind: type[StoreError]) -> list[str]:
    """Return the messages of every operation, each of which must fail with exactly ``kind``."""
    messages = []
    for operation in (
        lambda: store.read("hooks/"),
        lambda: store.get("hooks/a"),
        lambda: store.commit(ONE),
        lambda: store.commit(TWO),
    ):
        with pytest.raises(StoreError) as failed:
            operation()
        assert failed.value.__class__ is kind
        messages.append(str(failed.value))
    for message in messages:
        assert store.name in message
        assert "\n" not in message
        assert len(message) < 500
        assert TOKEN not in message
    return messages


def test_nobody_listens(unused_port: int) -> None:
    store = store_at(f"http://127.0.0.1:{unused_port}")
    for message in errors_of(store, StoreUnavailable):
        assert "cannot be reached: Connection refused; is Consul running there? set consul_url" in message


def test_a_host_that_does_not_exist() -> None:
    for message in errors_of(store_at("http://consul.invalid"), StoreUnavailable):
        assert "cannot be reached" in message


MAY_HAVE_BEEN_MADE = "the change may have been made: run this again to find out"


def test_a_change_without_an_answer_may_have_been_made(raw_server: StartRawServer, stand_in: StartStandIn) -> None:
    closing = raw_server(lambda connection: connection.close())
    failing = stand_in(lambda dummy: (500, b"rpc error making call: EOF", {})).url
    for url in (closing, failing):
        messages = errors_of(store_at(url), StoreUnavailable)
        assert [MAY_HAVE_BEEN_MADE in message for message in messages] == [False, False, True, True]


def test_a_change_that_was_not_sent_has_not_been_made(unused_port: int) -> None:
    for message in errors_of(store_at(f"http://127.0.0.1:{unused_port}"), StoreUnavailable):
        assert MAY_HAVE_BEEN_MADE not in message


def test_a_server_that_never_answers(raw_server: StartRawServer) -> None:
    def hold(connection: socket.socket) -> None:
        connection.recv(1 << 20)
        time.sleep(1.2)

    url = raw_server(hold)
    started = time.monotonic()
    with pytest.raises(StoreUnavailable, match="gave no complete answer within 1 s"):
        store_at(url, timeout=1).read("hooks/")
    assert time.monotonic() - started < 2


@pytest.mark.parametrize(
    "head", [b"", b"HTTP/1.1 200 OK\r\nX-Consul-Index: 1\r\n\r\n["], ids=["in the head", "in the body"]
)
def test_a_server_whose_answer_drips_in_for_ever(raw_server: StartRawServer, head: bytes) -> None:
    def drip(connection: socket.socket) -> None:
        connection.recv(1 << 20)
        connection.sendall(head or b"HTTP/1.1 200 OK\r\nX-Slow: ")
        for dummy in range(100):
            connection.sendall(b" ")
            time.sleep(0.02)

    started = time.monotonic()
    with pytest.raises(StoreUnavailable, match="gave no complete answer within 1 s"):
        store_at(raw_server(drip), timeout=1).read("hooks/")
    assert time.monotonic() - started < 2


def test_an_answer_that_is_not_http(raw_server: StartRawServer) -> None:
    def greet(connection: socket.socket) -> None:
        connection.sendall(b"220 mail.example ESMTP\r\n" * 3)
        connection.recv(1 << 20)

    errors_of(store_at(raw_server(greet)), StoreUnavailable)


def test_an_answer_that_breaks_off(raw_server: StartRawServer) -> None:
    body = b'[{"Key": "hooks/a", "Value": "eA==", "ModifyIndex": 3}]'

    def break_off(connection: socket.socket) -> None:
        connection.recv(1 << 20)
        head = f"HTTP/1.1 200 OK\r\nX-Consul-Index: 3\r\nContent-Length: {len(body)}\r\n\r\n"
        connection.sendall(head.encode() + body[:-10])

    errors_of(store_at(raw_server(break_off)), StoreError)


@pytest.mark.parametrize(
    ("status", "body", "kind", "text"),
    [
        (
            500,
            b"No cluster leader",
            StoreUnavailable,
            "could not answer (500): 'No cluster leader'; see to its cluster",
        ),
        (500, b"rpc error making call: EOF", StoreUnavailable, "rpc error making call: EOF"),
        (503, b"line 1\nline 2\n" * 500, StoreUnavailable, "'line 1 line 2 line 1"),
        (429, b"", StoreUnavailable, "got more requests than it allows (429); try again later"),
        (403, b"Permission denied", StoreDenied, "Permission denied"),
        (401, b"ACL support disabled", StoreDenied, "ACL support disabled"),
        (400, b"Client sent an HTTP request to an HTTPS server.\n", StoreError, "HTTPS server.'"),
        (413, b"Request body too large", StoreError, "(413): 'Request body too large'"),
        (418, f"You sent {TOKEN}\x1b[2J".encode(), StoreError, r"You sent ***\x1b[2J"),
        (301, b"", StoreError, "redirects (301), which is not followed; set consul_url to Consul itself"),
        (204, b"", StoreError, "(204)"),
    ],
)
def test_a_status_that_is_no_success(
    stand_in: StartStandIn, status: int, body: bytes, kind: type[StoreError], text: str
) -> None:
    store = store_at(stand_in(lambda dummy: (status, body, INDEX)).url)
    for message in errors_of(store, kind):
        assert text in message


GARBAGE = {
    "no JSON": b"hooks",
    "empty": b"",
    "HTML": b"<!DOCTYPE html>\n<html><body>Log in</body></html>",
    "a number": b"7",
    "a string": b'"hooks"',
    "an object": b"{}",
    "objects in an object": b'{"Results": {"a": 1}, "Errors": null}',
    "strings in a list": b'["hooks/a"]',
    "numbers in a list": b"[1]",
    "nested lists": b"[" * 100_000,
    "not UTF-8": b"\xff\xfe[]",
    "no key": b'[{"Value": "eA==", "ModifyIndex": 3}]',
    "no value": b'[{"Key": "hooks/a", "ModifyIndex": 3}]',
    "no index": b'[{"Key": "hooks/a", "Value": "eA=="}]',
    "an index that is a string": b'[{"Key": "hooks/a", "Value": "eA==", "ModifyIndex": "3"}]',
    "an index that is true": b'[{"Key": "hooks/a", "Value": "eA==", "ModifyIndex": true}]',
    "an index of 0": b'[{"Key": "hooks/a", "Value": "eA==", "ModifyIndex": 0}]',
    "a key that was not asked for": b'[{"Key": "hook", "Value": "eA==", "ModifyIndex": 3}]',
    "a key that is a number": b'[{"Key": 1, "Value": "eA==", "ModifyIndex": 3}]',
    "a value that is a number": b'[{"Key": "hooks/a", "Value": 1, "ModifyIndex": 3}]',
    "a value that is broken base64": b'[{"Key": "hooks/a", "Value": "eA=", "ModifyIndex": 3}]',
}


@pytest.mark.parametrize("body", GARBAGE.values(), ids=GARBAGE)
def test_garbage(stand_in: StartStandIn, body: bytes) -> None:
    store = store_at(stand_in(lambda dummy: (200, body, INDEX)).url)
    for message in errors_of(store, StoreError):
        assert "gave an answer that is not Consul's; does consul_url lead to Consul itself?" in message


@pytest.mark.parametrize(("status", "body"), [(404, b"<html>Not found</html>"), (404, b""), (200, b"[]")])
def test_an_empty_answer_of_something_else_is_not_taken_for_an_empty_store(
    stand_in: StartStandIn, status: int, body: bytes
) -> None:
    errors_of(store_at(stand_in(lambda dummy: (status, body, {})).url), StoreError)


@pytest.mark.parametrize(
    "body",
    [
        *(
            b"",
            b"<html>",
            b"null",
            b"{}",
            b'{"Errors": null}',
            b'{"Errors": []}',
            b'{"Errors": {"a": 1}}',
            b"[" * 100_000,
        ),
        *(b'{"Errors": [{"OpIndex": 9, "What": "stale"}]}', b'{"Errors": [{"OpIndex": "0", "What": "stale"}]}'),
    ],
)
def test_a_refused_transaction_without_a_reason(stand_in: StartStandIn, body: bytes) -> None:
    with pytest.raises(StoreError, match="not Consul's"):
        store_at(stand_in(lambda dummy: (409, body, {})).url).commit(TWO)


def test_a_transaction_refused_for_another_reason(stand_in: StartStandIn) -> None:
    body = json.dumps({"Errors": [{"OpIndex": 1, "What": "over\nquota"}]}).encode()
    with pytest.raises(StoreError, match=r"'hooks/b' was not written, nor anything of its transaction: 'over\\nquota'"):
        store_at(stand_in(lambda dummy: (409, body, {})).url).commit(TWO)


def test_fewer_results_than_writes_are_no_success(stand_in: StartStandIn) -> None:
    body = b'{"Results": [{"KV": {}}], "Errors": null}'
    with pytest.raises(StoreError, match="not Consul's"):
        store_at(stand_in(lambda dummy: (200, body, {})).url).commit(TWO)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_the_token_does_not_follow_a_redirect(stand_in: StartStandIn, status: int) -> None:
    elsewhere = stand_in(lambda dummy: (200, b"[]", INDEX))
    redirecting = stand_in(lambda request: (status, b"", {"Location": elsewhere.url + request.path}))
    errors_of(store_at(redirecting.url), StoreError)
    assert len(redirecting.requests) == 4
    assert elsewhere.requests == []


class Certificate:
    """A certificate for 127.0.0.1 that signs itself."""

    def __init__(self, directory: Path) -> None:
        self.path, self.key = str(directory / "certificate.pem"), str(directory / "key.pem")
        subprocess.run(
            [
                *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=consul.test"),
                *("-addext", "subjectAltName=IP:127.0.0.1", "-out", self.path, "-keyout", self.key),
            ],
            check=True,
            capture_output=True,
        )


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return Certificate(tmp_path_factory.mktemp("certificate"))


def serve_tls(server: StandIn, certificate: Certificate, *, demand: bool = False) -> str:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.path, certificate.key)
    if demand:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(certificate.path)
    server.server.socket = context.wrap_socket(server.server.socket, server_side=True, do_handshake_on_connect=False)
    return server.url.replace("http:", "https:")


def test_a_certificate_of_an_unknown_authority(stand_in: StartStandIn, certificate: Certificate) -> None:
    server = stand_in(lambda dummy: (404, b"", INDEX))
    url = serve_tls(server, certificate)
    for message in errors_of(store_at(url), StoreError):
        assert "certificate verify failed" in message
        assert "set consul_ca_path" in message
    assert server.requests == []


def test_a_certificate_of_the_authority_that_was_named(stand_in: StartStandIn, certificate: Certificate) -> None:
    url = serve_tls(stand_in(lambda dummy: (404, b"", INDEX)), certificate)
    assert store_at(url, ca_path=certificate.path).read("hooks/") == {}


def test_a_certificate_for_another_host(stand_in: StartStandIn, certificate: Certificate) -> None:
    url = serve_tls(stand_in(lambda dummy: (404, b"", INDEX)), certificate).replace("127.0.0.1", "localhost")
    for message in errors_of(store_at(url, ca_path=certificate.path), StoreError):
        assert "'localhost'" in message


def test_a_certificate_that_is_not_to_be_checked(stand_in: StartStandIn, certificate: Certificate) -> None:
    url = serve_tls(stand_in(lambda dummy: (404, b"", INDEX)), certificate)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert store_at(url, validate_certs=False).read("hooks/") == {}
    assert caught == []


def test_a_server_that_demands_a_certificate(stand_in: StartStandIn, certificate: Certificate) -> None:
    url = serve_tls(stand_in(lambda dummy: (404, b"", INDEX)), certificate, demand=True)
    ours = {"client_cert": certificate.path, "client_key": certificate.key}
    assert store_at(url, ca_path=certificate.path, **ours).read("hooks/") == {}
    with pytest.raises(StoreError):
        store_at(url, ca_path=certificate.path).read("hooks/")


def test_tls_files_that_hold_no_certificate(stand_in: StartStandIn, certificate: Certificate, tmp_path: Path) -> None:
    url = serve_tls(stand_in(lambda dummy: (404, b"", INDEX)), certificate)
    (tmp_path / "empty").touch()
    for options in ({"ca_path": str(tmp_path / "empty")}, {"client_cert": str(tmp_path / "empty")}):
        errors_of(store_at(url, **options), StoreError)


def test_tls_with_a_server_that_has_none(stand_in: StartStandIn) -> None:
    url = stand_in(lambda dummy: (404, b"", INDEX)).url.replace("http:", "https:")
    with pytest.raises(StoreError, match="no TLS connection"):
        store_at(url).read("hooks/")


def test_a_token_that_comes_back_in_a_failed_transaction_is_not_shown(stand_in: StartStandIn) -> None:
    what = "denied\nfor s3cr3t-token"
    body = json.dumps({"Errors": [{"OpIndex": 0, "What": what}]}).encode()
    with pytest.raises(StoreDenied) as failed:
        store_at(stand_in(lambda dummy: (409, body, {})).url, token="s3cr3t-token").commit(TWO)
    assert "s3cr3t" not in str(failed.value)
    assert "\n" not in str(failed.value)
