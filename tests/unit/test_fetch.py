# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import socket
import ssl
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from p2hooks.errors import ArtifactError
from p2hooks.fetch import fetch, obstacle
from p2hooks.manifest import Launchable, from_mapping
from p2hooks.store import ABSENT, Change
from p2hooks.store.directory import DirectoryStore

CONTENT = bytes(range(256)) * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
SECRET = "X-Signature=s3cr3t"
MAX_BYTES = 1_000_000

Answer = Callable[[socket.socket, bytes], None]


def launchable(location: str, sha256: str | None = SHA256) -> Launchable:
    stanza = {"launchable_type": "hoist", "location": location, "sha256": sha256}
    [only] = from_mapping({"id": "a", "launchables": {"main": stanza}}, "test").launchables
    return only


def refused(
    location: str, *, store: DirectoryStore | None = None, max_bytes: int = MAX_BYTES, seconds: float = 30.0
) -> str:
    """Return the message with which fetching from ``location`` fails."""
    with tempfile.TemporaryDirectory() as directory, pytest.raises(ArtifactError) as caught:
        fetch(launchable(location), f"{directory}/destination", store, max_bytes=max_bytes, seconds=seconds)
    message = str(caught.value)
    assert message.isprintable()
    assert len(message) < 600
    assert "s3cr3t" not in message
    return message


@pytest.fixture
def destination(tmp_path: Path) -> Path:
    return tmp_path / "destination"


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


class TestFile:
    def test_is_copied_and_its_digest_told(self, tmp_path: Path, destination: Path) -> None:
        (tmp_path / "a_1.tar.gz").write_bytes(CONTENT)
        location = f"file://{tmp_path}/a_1.tar.gz"
        assert fetch(launchable(location), str(destination), None, max_bytes=len(CONTENT)) == SHA256
        assert destination.read_bytes() == CONTENT

    def test_may_have_blanks_in_its_path(self, tmp_path: Path, destination: Path) -> None:
        path = tmp_path / "a b%c/a_1.tar.gz"
        path.parent.mkdir()
        path.write_bytes(CONTENT)
        assert fetch(launchable(f"file://{quote(str(path))}"), str(destination), None, max_bytes=MAX_BYTES) == SHA256

    def test_need_not_have_a_digest(self, tmp_path: Path, destination: Path) -> None:
        (tmp_path / "a_1.tar.gz").write_bytes(CONTENT)
        location = f"file://{tmp_path}/a_1.tar.gz"
        assert fetch(launchable(location, None), str(destination), None, max_bytes=MAX_BYTES) == SHA256

    def test_that_is_missing(self, tmp_path: Path) -> None:
        message = refused(f"file://{tmp_path}/a_1.tar.gz")
        assert message.startswith(f"file://{tmp_path}/a_1.tar.gz: No such file or directory; put the artifact there")

    def test_that_is_a_directory(self, tmp_path: Path) -> None:
        (tmp_path / "a_1.tar.gz").mkdir()
        descriptors = os.listdir("/proc/self/fd")
        assert "Is a directory" in refused(f"file://{tmp_path}/a_1.tar.gz")
        assert os.listdir("/proc/self/fd") == descriptors

    def test_that_is_a_fifo_does_not_hold_us_up(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "a_1.tar.gz")
        assert "is no regular file" in refused(f"file://{tmp_path}/a_1.tar.gz")

    def test_that_is_too_large(self, tmp_path: Path) -> None:
        (tmp_path / "a_1.tar.gz").write_bytes(CONTENT)
        message = refused(f"file://{tmp_path}/a_1.tar.gz", max_bytes=len(CONTENT) - 1)
        assert f"is larger than {len(CONTENT) - 1} bytes; raise max_unpacked_size" in message

    def test_that_is_not_what_the_manifest_says(self, tmp_path: Path) -> None:
        (tmp_path / "a_1.tar.gz").write_bytes(b"x")
        message = refused(f"file://{tmp_path}/a_1.tar.gz")
        assert f"has the SHA-256 {hashlib.sha256(b'x').hexdigest()}, but the manifest says {SHA256}" in message

    def test_whose_path_is_no_utf8(self, tmp_path: Path) -> None:
        assert "/x%ff/a_1.tar.gz: No such file" in refused(f"file://{tmp_path}/x%ff/a_1.tar.gz")

    def test_never_replaces_what_is_there(self, tmp_path: Path, destination: Path) -> None:
        (tmp_path / "a_1.tar.gz").write_bytes(CONTENT)
        destination.write_text("before")
        with pytest.raises(FileExistsError):
            fetch(launchable(f"file://{tmp_path}/a_1.tar.gz"), str(destination), None, max_bytes=MAX_BYTES)
        assert destination.read_text() == "before"


class TestStore:
    LOCATION = "store:hooks-artifacts/x/a_1.tar.gz"

    @pytest.fixture
    def store(self, tmp_path: Path) -> DirectoryStore:
        return DirectoryStore(str(tmp_path / "store"), create=True)

    def test_key_is_copied(self, store: DirectoryStore, destination: Path) -> None:
        store.commit([Change("hooks-artifacts/x/a_1.tar.gz", CONTENT, ABSENT)])
        assert fetch(launchable(self.LOCATION), str(destination), store, max_bytes=MAX_BYTES) == SHA256
        assert destination.read_bytes() == CONTENT

    def test_key_that_is_missing(self, store: DirectoryStore) -> None:
        message = refused(self.LOCATION, store=store)
        assert message.startswith(f"{self.LOCATION}: {store.name} has no such key; unschedule the hook, then")

    def test_key_that_is_too_large(self, store: DirectoryStore) -> None:
        store.commit([Change("hooks-artifacts/x/a_1.tar.gz", CONTENT, ABSENT)])
        assert "is larger than 9 bytes" in refused(self.LOCATION, store=store, max_bytes=9)

    def test_is_needed(self) -> None:
        assert refused(self.LOCATION) == f"{self.LOCATION}: lies in the store; give the store's options as well"


class Server:
    """Says whatever a test wants it to, to one connection after the other."""

    def __init__(self, answer: Answer, context: ssl.SSLContext | None = None) -> None:
        self.requests: list[bytes] = []
        self._answer = answer
        self._context = context
        self._done = threading.Event()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._socket.settimeout(0.05)
        self._thread = threading.Thread(target=self._serve)
        self.address = f"127.0.0.1:{self._socket.getsockname()[1]}"
        self.location = f"{'https' if context else 'http'}://{self.address}/a_1.tar.gz?{SECRET}"

    def __enter__(self) -> Server:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._done.set()
        self._thread.join()
        self._socket.close()

    def wait(self, seconds: float) -> None:
        """Return when the test is over, or after ``seconds``."""
        self._done.wait(seconds)

    def _serve(self) -> None:
        while not self._done.is_set():
            try:
                connection, dummy = self._socket.accept()
            except socket.timeout:  # only since Python 3.10 is that the same as TimeoutError
                continue
            connection.settimeout(5)
            with contextlib.suppress(OSError), connection:
                if self._context:
                    with self._context.wrap_socket(connection, server_side=True) as encrypted:
                        self._converse(encrypted)
                else:
                    self._converse(connection)

    def _converse(self, connection: socket.socket) -> None:
        request = b""
        while b"\r\n\r\n" not in request:
            received = connection.recv(65536)
            if not received:
                return
            request += received
        self.requests.append(request)
        self._answer(connection, request)


@contextlib.contextmanager
def server(answer: Answer | bytes, context: ssl.SSLContext | None = None) -> Iterator[Server]:
    says: Answer = (lambda connection, dummy: connection.sendall(answer)) if isinstance(answer, bytes) else answer
    with Server(says, context) as running:
        yield running


def ok(content: bytes = CONTENT, announced: int | None = None, more: str = "") -> bytes:
    length = len(content) if announced is None else announced
    return f"HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n{more}\r\n".encode() + content


def redirect(location: str) -> bytes:
    return f"HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n".encode()


class TestServer:
    @pytest.mark.parametrize(
        "answer",
        [
            pytest.param(ok(), id="with a length"),
            pytest.param(b"HTTP/1.0 200 OK\r\n\r\n" + CONTENT, id="until it closes"),
            pytest.param(
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(CONTENT), CONTENT),
                id="in chunks",
            ),
        ],
    )
    def test_content_is_downloaded(self, destination: Path, answer: bytes) -> None:
        with server(answer) as running:
            assert fetch(launchable(running.location), str(destination), None, max_bytes=len(CONTENT)) == SHA256
        assert destination.read_bytes() == CONTENT
        assert running.requests[0].startswith(b"GET /a_1.tar.gz?X-Signature=s3cr3t HTTP/1.1\r\n")

    def test_that_keeps_the_connection_open_does_not_hold_us_up(self, destination: Path) -> None:
        def answer(connection: socket.socket, dummy: bytes) -> None:
            connection.sendall(ok())
            running.wait(5)

        start = time.monotonic()
        with server(answer) as running:
            assert fetch(launchable(running.location), str(destination), None, max_bytes=MAX_BYTES) == SHA256
            assert time.monotonic() - start < 3

    @pytest.mark.parametrize("code", [301, 304, 401, 403, 404, 410, 500, 503])
    def test_that_answers_with_an_error(self, code: int) -> None:
        with server(f"HTTP/1.1 {code} s3cr3t\r\nContent-Length: 6\r\n\r\ns3cr3t".encode()) as running:
            message = refused(running.location)
            expected = f"http://{running.address}/a_1.tar.gz: the server answered {code}; publish the artifact there"
            assert message.startswith(expected)

    def test_that_ends_too_early(self) -> None:
        with server(ok(CONTENT[:1000], announced=len(CONTENT))) as running:
            assert f"ended after 1000 of {len(CONTENT)} bytes; run this again" in refused(running.location)

    def test_that_ends_in_the_middle_of_a_chunk(self) -> None:
        with server(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffff\r\nabc") as running:
            assert "could not be downloaded: " in refused(running.location)

    def test_whose_content_is_too_large_is_left_at_once(self) -> None:
        def endless(connection: socket.socket, dummy: bytes) -> None:
            connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            while True:
                connection.sendall(bytes(65536))

        with server(endless) as running:
            assert "is larger than 1000000 bytes" in refused(running.location)

    def test_whose_content_is_not_what_the_manifest_says(self) -> None:
        with server(ok(b"<html>")) as running:
            assert "has the SHA-256" in refused(running.location)

    @pytest.mark.parametrize(
        ("start", "drip"),
        [
            pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", b"x", id="body"),
            pytest.param(b"HTTP/1.1 200 OK\r\n\r\n", b"x", id="body without a length"),
            pytest.param(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n", id="chunks"),
            pytest.param(b"HTTP/1.1 200 OK\r\nX-Header: ", b"x", id="headers"),
            pytest.param(b"", b"H", id="status line"),
            pytest.param(b"", b"", id="nothing"),
        ],
    )
    def test_that_drips_is_left_when_the_time_is_up(self, start: bytes, drip: bytes) -> None:
        def answer(connection: socket.socket, dummy: bytes) -> None:
            connection.sendall(start)
            for _times in range(100):
                connection.sendall(drip)
                running.wait(0.05)

        with server(answer) as running:
            begin = time.monotonic()
            message = refused(running.location, seconds=0.5)
            assert 0.4 < time.monotonic() - begin < 2
            assert message.endswith("took longer than 0.5 s; check the server and the network")

    def test_that_is_reached_when_the_time_is_up_already(self) -> None:
        def answer(connection: socket.socket, dummy: bytes) -> None:
            running.wait(5)

        with server(answer) as running:
            begin = time.monotonic()
            assert "took longer than 0 s" in refused(running.location, seconds=0)
            assert time.monotonic() - begin < 2

    def test_that_drips_after_redirects_has_no_more_time_than_others(self) -> None:
        def answer(connection: socket.socket, request: bytes) -> None:
            running.wait(0.2)
            connection.sendall(redirect("/b.tar.gz" if b"/a_1" in request else f"/c{len(running.requests)}.tar.gz"))

        with server(answer) as running:
            begin = time.monotonic()
            message = refused(running.location, seconds=0.5)
            assert time.monotonic() - begin < 2
            assert "took longer than 0.5 s" in message

    @pytest.mark.parametrize(
        "garbage", [b"\x1b[31mrubbish\r\n\r\n", b"\0" * 9999, b"x" * 200_000, b"HTTP/1.1 abc\r\n\r\n"]
    )
    def test_that_speaks_no_http(self, garbage: bytes) -> None:
        with server(garbage) as running:
            message = refused(running.location)
            assert "a_1.tar.gz: could not be downloaded: no valid answer (" in message

    def test_that_sends_back_what_it_is_sent(self) -> None:
        with server(lambda connection, request: connection.sendall(request)) as running:
            assert "could not be downloaded" in refused(running.location)

    def test_that_hangs_up(self) -> None:
        with server(b"") as running:
            assert "could not be downloaded" in refused(running.location)

    def test_that_is_not_there(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as closed:
            port = closed.getsockname()[1]
        message = refused(f"http://127.0.0.1:{port}/a_1.tar.gz?{SECRET}")
        assert f"http://127.0.0.1:{port}/a_1.tar.gz: could not be downloaded: Connection refused; " in message

    def test_whose_name_is_not_known(self) -> None:
        assert "could not be downloaded: " in refused(f"http://no-such-host.invalid/a_1.tar.gz?{SECRET}")


class TestRedirects:
    @pytest.mark.parametrize("hops", [1, 5])
    def test_are_followed(self, destination: Path, hops: int) -> None:
        def answer(connection: socket.socket, dummy: bytes) -> None:
            done = len(running.requests) > hops
            connection.sendall(ok() if done else redirect(f"/hop{len(running.requests)}?x={SECRET}"))

        with server(answer) as running:
            assert fetch(launchable(running.location), str(destination), None, max_bytes=MAX_BYTES) == SHA256
        assert len(running.requests) == hops + 1

    def test_are_not_followed_more_than_five_times(self) -> None:
        def answer(connection: socket.socket, dummy: bytes) -> None:
            connection.sendall(redirect(f"/hop{len(running.requests)}?{SECRET}"))

        with server(answer) as running:
            assert "the server answered 302" in refused(running.location)
        assert len(running.requests) == 6

    def test_that_loop_are_not_followed_for_ever(self) -> None:
        with server(redirect(f"/a_1.tar.gz?{SECRET}")) as running:
            assert "the server answered 302" in refused(running.location)
        assert len(running.requests) <= 6

    @pytest.mark.parametrize("target", ["file:///etc/hostname", "ftp://127.0.0.1/x?s3cr3t", "data:,s3cr3t", "gopher:x"])
    def test_to_another_kind_of_place_are_not_followed(self, target: str) -> None:
        with server(redirect(target)) as running:
            refused(running.location)
        assert len(running.requests) == 1

    def test_from_https_to_http_are_not_followed(self, trusted: ssl.SSLContext) -> None:
        with server(ok()) as plain, server(redirect(plain.location), trusted) as running:
            assert "redirects from https to something else; fix the server" in refused(running.location)
        assert plain.requests == []

    def test_from_http_to_https_are_followed(self, destination: Path, trusted: ssl.SSLContext) -> None:
        with server(ok(), trusted) as secure, server(redirect(secure.location)) as running:
            assert fetch(launchable(running.location), str(destination), None, max_bytes=MAX_BYTES) == SHA256


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("there is no openssl to make a certificate with")
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    subject = ["-subj", "/CN=test", "-addext", "subjectAltName=IP:127.0.0.1"]
    command = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *subject]
    subprocess.run([*command, "-keyout", path, "-out", f"{path}.crt"], check=True, capture_output=True)
    with path.open("ab") as file:
        file.write(Path(f"{path}.crt").read_bytes())
    return path


@pytest.fixture
def untrusted(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


@pytest.fixture
def trusted(untrusted: ssl.SSLContext, certificate: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    monkeypatch.setenv("SSL_CERT_FILE", f"{certificate}.crt")
    return untrusted


class TestHttps:
    @pytest.mark.parametrize("sha256", [SHA256, None])
    def test_content_is_downloaded_from_a_server_that_is_trusted(
        self, destination: Path, trusted: ssl.SSLContext, sha256: str | None
    ) -> None:
        with server(ok(), trusted) as running:
            assert fetch(launchable(running.location, sha256), str(destination), None, max_bytes=MAX_BYTES) == SHA256
        assert destination.read_bytes() == CONTENT

    def test_a_server_with_a_certificate_of_its_own_is_refused(self, untrusted: ssl.SSLContext) -> None:
        with server(ok(), untrusted) as running:
            assert "certificate verify failed" in refused(running.location)
        assert running.requests == []

    def test_a_server_with_another_name_is_refused(self, trusted: ssl.SSLContext) -> None:
        with server(ok(), trusted) as running:
            message = refused(running.location.replace("127.0.0.1", "localhost"))
            assert "certificate verify failed" in message
        assert running.requests == []

    def test_a_server_that_drips_is_left_when_the_time_is_up(self, trusted: ssl.SSLContext) -> None:
        def answer(connection: socket.socket, dummy: bytes) -> None:
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
            for _times in range(100):
                connection.sendall(b"x")
                running.wait(0.05)

        with server(answer, trusted) as running:
            begin = time.monotonic()
            assert "took longer than 0.5 s" in refused(running.location, seconds=0.5)
            assert time.monotonic() - begin < 2

    def test_a_server_that_ends_too_early(self, trusted: ssl.SSLContext) -> None:
        with server(ok(b"x", announced=9), trusted) as running:
            message = refused(running.location)
            assert "ended after 1 of 9 bytes" in message or "could not be downloaded: " in message


def test_what_cannot_be_had_shows_without_fetching_it(tmp_path: Path) -> None:
    artifact = tmp_path / "a.tar.gz"
    store = DirectoryStore(str(tmp_path / "store"), create=True)
    locations = [f"file://{artifact}", "store:hooks-artifacts/x/a.tar.gz"]
    missing = [obstacle(launchable(location), store) for location in locations]
    assert missing == [refused(location, store=store) for location in locations]
    artifact.write_bytes(CONTENT)
    store.commit([Change("hooks-artifacts/x/a.tar.gz", CONTENT, ABSENT)])
    assert [obstacle(launchable(location), store) for location in locations] == [None, None]
    assert obstacle(launchable("https://nowhere.invalid/a.tar.gz"), store) is None
