# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Real Consul servers on free ports, and servers that stand in for one that misbehaves."""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

MANAGEMENT_TOKEN = "8ba6a3de-0000-4000-8000-59c1a2cf3d0e"
ACL_CONFIGURATION = f'acl {{ enabled = true  default_policy = "deny"  tokens {{ master = "{MANAGEMENT_TOKEN}" }} }}'


class Consul(NamedTuple):
    """A real server, to be asked with whatever token."""

    url: str

    def ask(self, method: str, path: str, body: bytes | None = None, token: str = MANAGEMENT_TOKEN) -> bytes:
        headers = {"X-Consul-Token": token}
        request = urllib.request.Request(self.url + path, data=body, method=method, headers=headers)
        with urllib.request.urlopen(request, timeout=5) as answer:
            content: bytes = answer.read()
        return content

    def put(self, key: str, value: bytes) -> None:
        self.ask("PUT", f"/v1/kv/{key}", value)

    def new_token(self, rules: str) -> str:
        name = f"test-{time.monotonic_ns()}"
        self.ask("PUT", "/v1/acl/policy", json.dumps({"Name": name, "Rules": rules}).encode())
        answer = self.ask("PUT", "/v1/acl/token", json.dumps({"Policies": [{"Name": name}]}).encode())
        return str(json.loads(answer)["SecretID"])

    def remove_all(self) -> None:
        self.ask("DELETE", "/v1/kv/?recurse")

    def is_ready(self) -> bool:
        try:
            # A leader answers, and knows the token, only when it has set up its own state.
            self.ask("PUT", "/v1/kv/ready", b"")
        except OSError:
            return False
        return True


def ports_of_consul() -> dict[str, int]:
    return dict(zip(["http", "server", "serf-lan", "serf-wan"], free_ports(4)))


@contextlib.contextmanager
def running_consul(
    directory: Path,
    configuration: str = "",
    *,
    ports: dict[str, int] | None = None,
    mode: Sequence[str] = ("-dev",),
    has_leader: bool = True,
) -> Iterator[Consul]:
    binary = os.environ.get("P2_CONSUL_BIN") or pytest.fail("set P2_CONSUL_BIN to the path of a consul binary")
    (directory / "consul.hcl").write_text(configuration)
    ports = ports or ports_of_consul()
    options = [
        *mode,
        "-bind=127.0.0.1",
        "-dns-port=-1",
        "-grpc-port=-1",
        *(f"-{name}-port={port}" for name, port in ports.items()),
    ]
    with open(directory / "log", "wb") as log:
        process = subprocess.Popen(
            # It dies with pytest, however that ends.
            [
                "setpriv",
                "--pdeathsig=KILL",
                binary,
                "agent",
                f"-config-file={directory / 'consul.hcl'}",
                *options,
            ],
            stdout=log,
            stderr=log,
        )
    try:
        consul = Consul(f"http://127.0.0.1:{ports['http']}")
        deadline = time.monotonic() + 30
        while has_leader and not consul.is_ready():
            if process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"{binary} did not start: {(directory / 'log').read_text()[-2000:]}")
            time.sleep(0.1)
        yield consul
    finally:
        process.terminate()
        process.wait()


@pytest.fixture(scope="session")
def _open_consul(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Consul]:
    with running_consul(tmp_path_factory.mktemp("consul")) as consul:
        yield consul


@pytest.fixture(scope="session")
def _guarded_consul(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Consul]:
    with running_consul(tmp_path_factory.mktemp("consul-acl"), ACL_CONFIGURATION) as consul:
        yield consul


@pytest.fixture
def consul(_open_consul: Consul) -> Consul:
    """An empty Consul that lets everybody do everything."""
    _open_consul.remove_all()
    return _open_consul


@pytest.fixture
def guarded_consul(_guarded_consul: Consul) -> Consul:
    """An empty Consul that demands a token for everything."""
    _guarded_consul.remove_all()
    return _guarded_consul


class Request(NamedTuple):
    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    def __str__(self) -> str:
        return f"{self.method} {self.path} {self.body!r}"


class Answer(NamedTuple):
    status: int
    body: bytes = b""
    headers: dict[str, str] = {}  # noqa: RUF012 (never changed)


class StandIn:
    """An HTTP server that answers as a test says, and remembers what it was asked."""

    def __init__(self, answer: Callable[[Request], Answer]) -> None:
        self.requests: list[Request] = []
        requests = self.requests

        class Handler(http.server.BaseHTTPRequestHandler):
            def handle_any(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                request = Request(self.command, self.path, dict(self.headers), body)
                requests.append(request)
                status, content, headers = answer(request)
                self.send_response(status)
                for name, value in {"Content-Length": str(len(content)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_PUT = handle_any  # noqa: N815 (the names that the base class calls)

            def log_message(self, *dummy: object) -> None:
                pass

        class Server(http.server.ThreadingHTTPServer):
            def handle_error(self, *dummy: object) -> None:
                """Say nothing of a client that ends the connection; the test does."""

        self.server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def stand_in() -> Iterator[Callable[[Callable[[Request], Answer]], StandIn]]:
    """Start a :class:`StandIn`."""
    with contextlib.ExitStack() as cleanup:

        def start(answer: Callable[[Request], Answer]) -> StandIn:
            started = StandIn(answer)
            cleanup.callback(started.server.server_close)
            thread = threading.Thread(target=started.server.serve_forever, kwargs={"poll_interval": 0.01})
            thread.start()
            cleanup.callback(thread.join)
            cleanup.callback(started.server.shutdown)
            return started

        yield start


@pytest.fixture
def recorder(stand_in: Callable[[Callable[[Request], Answer]], StandIn]) -> Callable[[Consul], StandIn]:
    """Start a :class:`StandIn` that passes each request on to a real Consul, and its answer back."""

    def start(consul: Consul) -> StandIn:
        def pass_on(request: Request) -> Answer:
            headers = {name: value for name, value in request.headers.items() if name.startswith("X-Consul-")}
            forwarded = urllib.request.Request(
                consul.url + request.path, data=request.body or None, method=request.method, headers=headers
            )
            try:
                answer = urllib.request.urlopen(forwarded, timeout=5)
            except urllib.error.HTTPError as error:
                answer = error
            with answer:
                index = {name: value for name, value in answer.headers.items() if name == "X-Consul-Index"}
                return Answer(answer.status, answer.read(), index)

        return stand_in(pass_on)

    return start


@pytest.fixture
def raw_server() -> Iterator[Callable[[Callable[[socket.socket], None]], str]]:
    """Start a TCP server that does with each connection as a test says, and return its URL."""
    with contextlib.ExitStack() as cleanup:

        def start(behave: Callable[[socket.socket], None]) -> str:
            listening = socket.create_server(("127.0.0.1", 0))
            stop = threading.Event()

            def serve() -> None:
                listening.settimeout(0.02)
                while not stop.is_set():
                    with contextlib.suppress(TimeoutError, socket.timeout):
                        connection, dummy = listening.accept()
                        with connection, contextlib.suppress(OSError):
                            connection.settimeout(10)
                            behave(connection)

            thread = threading.Thread(target=serve)
            thread.start()
            cleanup.callback(listening.close)
            cleanup.callback(thread.join)
            cleanup.callback(stop.set)
            return f"http://127.0.0.1:{listening.getsockname()[1]}"

        yield start


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as sockets:
        bound = [sockets.enter_context(socket.socket()) for dummy in range(count)]
        for each in bound:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in bound]


@pytest.fixture
def unused_port() -> int:
    """A port that nobody listens on."""
    return free_ports(1)[0]
