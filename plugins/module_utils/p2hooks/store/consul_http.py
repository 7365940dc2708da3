# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How requests get to Consul: all of them by the same rules, whatever the ``consul`` library would do."""

from __future__ import annotations

import importlib
import os
import queue
import re
import socket
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

from .. import site_packages, vetting
from ..errors import HookRefused, StoreDenied, StoreError, StoreUnavailable, reason_of, shown

#: Where the keys are, and where transactions go: https://developer.hashicorp.com/consul/api-docs
KEY_PATH = "/v1/kv/"
TRANSACTION_PATH = "/v1/txn"

_MAX_TIMEOUT = 3600.0
_MAX_TOKEN_FILE_BYTES = 4096
_DEFAULT_PORTS = {"http": 8500, "https": 8501}

#: A connection on which nothing is said is tried after 30 s, and given up when three tries in a row have no answer.
_SOCKET_OPTIONS = (
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 30),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
)

_HOST = re.compile(r"[0-9A-Za-z._-]+|[0-9a-f:.]+")
_HEADER = re.compile(r"[!-~]+")


@dataclass(frozen=True)
class ConsulConnection:
    """Where Consul is and how to speak to it. Nothing else counts: no ``CONSUL_*`` variable, proxy or ``.netrc``.

    Attributes:
        url: ``http`` or ``https``, host and port. Without a scheme ``http``; without a port 8500, for ``https`` 8501.
        token: the ACL token. It is sent as a header, and never shown.
        token_file: a file to read the token from, in place of ``token``; it is read anew for each request.
        ca_path: a file, or a directory, of the CA certificates that Consul's own is checked against.
        client_cert: a file with our certificate, for a Consul that demands one.
        client_key: the file with its key, if that is not in ``client_cert``.
        validate_certs: whether to check Consul's certificate at all.
        datacenter: whose keys are meant; by default those of the datacenter of the agent that is asked.
        namespace: of Consul Enterprise.
        timeout: seconds within which each request must be answered completely.
    """

    url: str = "http://127.0.0.1:8500"
    token: str | None = field(default=None, repr=False)
    token_file: str | None = None
    ca_path: str | None = None
    client_cert: str | None = None
    client_key: str | None = None
    validate_certs: bool = True
    datacenter: str | None = None
    namespace: str | None = None
    timeout: float = 10.0


class RolledBackError(Exception):
    """Consul refused a transaction; ``body`` says why."""

    def __init__(self, body: str) -> None:
        super().__init__(body)
        self.body = body


class Response(NamedTuple):
    """What the library's callbacks expect of a response."""

    code: int
    headers: Mapping[str, str]
    body: str


_Callback = Callable[[Response], Any]
_Parameters = Sequence[tuple[str, Any]]


class HttpClient:
    """Stands in for the library's ``HTTPClient``. Every request goes through :meth:`_send`, with the same rules.

    Attributes:
        name: how messages call this Consul.

    Raises:
        StoreError: or one of its kinds, for whatever happens on the wire.
    """

    def __init__(self, connection: ConsulConnection) -> None:
        self._requests_errors = import_library("requests.exceptions")
        self._urllib3_errors = import_library("urllib3.exceptions")
        self._address = _address(connection.url)
        self.name = f"Consul at {self._address}"
        if not 0 < connection.timeout <= _MAX_TIMEOUT:
            raise StoreError(
                f"consul_timeout is {connection.timeout}; give seconds, more than 0 and at most {_MAX_TIMEOUT:g}"
            )
        self._timeout = connection.timeout
        self._connection = connection
        _token(connection)  # an unusable one is found here, before anything is asked
        self._parameters = {"dc": connection.datacenter} if connection.datacenter else {}
        session = import_library("requests").Session()
        session.trust_env = False
        for scheme in ("http://", "https://"):
            session.mount(scheme, _keep_alive_adapter())
        if connection.namespace:
            session.headers["X-Consul-Namespace"] = _header("consul_namespace", connection.namespace)
        session.verify = _readable("consul_ca_path", connection.ca_path) or True
        if connection.ca_path and connection.validate_certs and self._address.startswith("https:"):
            _vet("consul_ca_path", connection.ca_path)
        if not connection.validate_certs:
            session.verify = False
            warnings.simplefilter("ignore", self._urllib3_errors.InsecureRequestWarning)
        certificate = _readable("consul_client_cert", connection.client_cert)
        key = _readable("consul_client_key", connection.client_key)
        if key and not certificate:
            raise StoreError("consul_client_key is given without consul_client_cert; give both")
        session.cert = (certificate, key) if certificate and key else certificate
        self._session = session

    def get(self, callback: _Callback, path: str, params: _Parameters = (), *, wait: float = 0.0, **dummy: Any) -> Any:
        """Return what ``callback`` makes of the answer to a GET request, which may be held back ``wait`` seconds."""
        # Consul adds up to a sixteenth: https://developer.hashicorp.com/consul/api-docs/features/blocking
        return callback(self._send("GET", path, params, seconds=self._timeout + wait * 17 / 16))

    def put(
        self, callback: _Callback, path: str, params: _Parameters = (), data: str | bytes = b"", **dummy: Any
    ) -> Any:
        """Return what ``callback`` makes of the answer to a PUT request."""
        return callback(self._send("PUT", path, params, data))

    def _send(
        self,
        method: str,
        path: str,
        params: _Parameters,
        data: str | bytes | None = None,
        *,
        seconds: float | None = None,
    ) -> Response:
        seconds = seconds or self._timeout
        token = _token(self._connection)
        errors = self._requests_errors
        unknown = _outcome_unknown(method)
        try:
            answer = _within(seconds, lambda: self._request(method, path, params, data, token, seconds))
        except (TimeoutError, errors.Timeout) as error:
            raise StoreUnavailable(
                f"{self.name} gave no complete answer within {seconds:g} s; is it up, and does nothing between "
                f"drop connections? set consul_timeout higher if it is slow{unknown}"
            ) from error
        except errors.SSLError as error:
            raise StoreError(
                f"{self.name}: no TLS connection: {_cause(error)}; set consul_ca_path to the CA of its certificate, "
                "and consul_client_cert if it demands one"
            ) from error
        except errors.ConnectionError as error:
            if any(isinstance(link, self._urllib3_errors.NewConnectionError) for link in _chain(error)):
                unknown = ""  # nothing was sent
            raise StoreUnavailable(
                f"{self.name} cannot be reached: {_cause(error)}; is Consul running there? set consul_url to "
                f"where it is{unknown}"
            ) from error
        except (errors.RequestException, self._urllib3_errors.HTTPError, OSError) as error:
            raise StoreError(f"{self.name} could not be asked: {_cause(error)}{unknown}") from error
        self._check(method, path, answer, token)
        return answer

    def _request(
        self,
        method: str,
        path: str,
        params: _Parameters,
        data: str | bytes | None,
        token: str | None,
        seconds: float,
    ) -> Response:
        answer = self._session.request(
            method,
            self._address + quote(path),
            params={**dict(params), **self._parameters},
            data=data,
            headers={"X-Consul-Token": token} if token else None,
            timeout=seconds,
            allow_redirects=False,
        )
        return Response(answer.status_code, answer.headers, answer.content.decode("utf-8", "replace"))

    def _check(self, method: str, path: str, answer: Response, token: str | None) -> None:
        """Let pass what the library's callbacks understand: success, and a key that is not there."""
        status = answer.code
        if status == HTTPStatus.OK or (status == HTTPStatus.NOT_FOUND and method == "GET"):
            return
        # A server may send back what it was sent.
        body = answer.body.replace(token, "***") if token else answer.body
        if status == HTTPStatus.CONFLICT and path == TRANSACTION_PATH:
            raise RolledBackError(body)
        text = shown(" ".join(body.split()), 200)
        if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
            what = "" if path == TRANSACTION_PATH else f" on {shown(path.removeprefix(KEY_PATH))}"
            raise denied(self.name, "key:read" if method == "GET" else "key:write", what, text)
        if status == HTTPStatus.TOO_MANY_REQUESTS:
            raise StoreUnavailable(f"{self.name} got more requests than it allows (429); try again later")
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise StoreUnavailable(
                f"{self.name} could not answer ({status}): {text}; see to its cluster, then try again"
                f"{_outcome_unknown(method)}"
            )
        if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
            raise StoreError(
                f"{self.name} redirects ({status}), which is not followed; set consul_url to Consul itself"
            )
        raise StoreError(f"{self.name} refused the request ({status}): {text}")


def denied(name: str, right: str, what: str, why: str) -> StoreDenied:
    """Return the error for a token that lacks ``right``, in Consul's words ``why``."""
    return StoreDenied(
        f"{name} denies {right}{what}: {why}; give a token that has this right, by consul_token or consul_token_file"
    )


def import_library(name: str) -> Any:
    """Import the module ``name`` of the library or of what it needs.

    Raises:
        StoreError: it is not installed.
    """
    site_packages.add()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module(name)
    except ImportError as error:
        raise StoreError(
            f"the Python library consul cannot be imported by {sys.executable} ({error}); "
            "install py-consul or python-consul"
        ) from error


def _keep_alive_adapter() -> Any:
    """Return what makes connections on which the system looks now and then whether the other end is still there.

    Firewalls and load balancers forget a connection on which nothing is said for minutes, as when waiting for a change,
    and neither end would learn of it.
    """
    adapters = import_library("requests.adapters")

    class KeepAlive(adapters.HTTPAdapter):  # type: ignore[misc, name-defined]
        def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
            super().init_poolmanager(*arguments, **options, socket_options=_SOCKET_OPTIONS)

    return KeepAlive()


def _within(seconds: float, work: Callable[[], Response]) -> Response:
    """Return what ``work`` returns, if that takes no longer than ``seconds``.

    A timeout of a socket begins anew with each byte, and looking a name up has none. So this waits for a thread, which
    is left to its own end when it takes longer.

    Raises:
        TimeoutError: it takes longer.
    """
    outcome: queue.SimpleQueue[Response | Exception] = queue.SimpleQueue()

    def run() -> None:
        try:
            outcome.put(work())
        except Exception as error:  # noqa: BLE001 (raised below, in the thread that waits)
            outcome.put(error)

    threading.Thread(target=run, daemon=True).start()
    try:
        result = outcome.get(timeout=seconds)
    except queue.Empty:
        raise TimeoutError from None
    if isinstance(result, Exception):
        raise result
    return result


def _outcome_unknown(method: str) -> str:
    """Return what to add to a message because a change without an answer may have been made all the same."""
    return "" if method == "GET" else "; the change may have been made: run this again to find out"


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield ``error`` and what led to it, the first cause last."""
    while error:
        yield error
        error = error.__cause__ or error.__context__


def _cause(error: BaseException) -> str:
    """Return what the system said, which requests and urllib3 wrap several times."""
    *dummy, first = _chain(error)
    return reason_of(first) if isinstance(first, OSError) else shown(first, 200)


def _address(url: str) -> str:
    """Return ``url`` as ``scheme://host:port``.

    Raises:
        StoreError: it is no such URL. The message does not repeat it, because it may hold a password.
    """
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        default_port = _DEFAULT_PORTS[parts.scheme]
        host, port = parts.hostname or "", parts.port or default_port
        if parts.path.strip("/") or parts.query or parts.fragment or "@" in parts.netloc or not _HOST.fullmatch(host):
            raise ValueError
    except (ValueError, KeyError):
        raise StoreError(
            "consul_url is not of the form http://host:port or https://host:port; "
            "it takes no user, path or query: give a token as consul_token or consul_token_file"
        ) from None
    return f"{parts.scheme}://{f'[{host}]' if ':' in host else host}:{port}"


def _token(connection: ConsulConnection) -> str | None:
    if connection.token and connection.token_file:
        raise StoreError("consul_token and consul_token_file are both given; give one of them")
    if not connection.token_file:
        return _header("consul_token", connection.token) if connection.token else None
    try:
        _vet("consul_token_file", connection.token_file)
        with open(connection.token_file, "rb") as file:
            token = file.read(_MAX_TOKEN_FILE_BYTES).decode("ascii", "replace").strip()
    except OSError as error:
        raise StoreUnavailable(
            f"consul_token_file {shown(connection.token_file, 200)} cannot be read: {reason_of(error)}"
        ) from error
    return _header("consul_token_file", token)


def _header(option: str, value: str) -> str:
    """Return ``value`` if a header can carry it. The message does not repeat it, because it may be a token."""
    if not _HEADER.fullmatch(value):
        raise StoreError(
            f"{option} is empty, or holds spaces or characters other than ASCII; give it exactly as Consul knows it"
        )
    return value


def _readable(option: str, path: str | None) -> str | None:
    if path and not os.access(path, os.R_OK):
        raise StoreUnavailable(f"{option} {shown(path, 200)} does not exist or cannot be read; correct it")
    return path


def _vet(option: str, path: str) -> None:
    """Make sure that nobody else can change the file ``path`` where root reads it, since it decides whom root believes.

    Raises:
        StoreError: somebody else can.
        OSError: something on the way to it is missing.
    """
    if os.geteuid() != 0:  # it is theirs, and with a umask of 002 all that they have can be written by their group
        return
    try:
        vetting.vet_way(path)
    except HookRefused as refusal:
        raise StoreError(
            f"{option} {shown(path, 200)} could be changed by others; give a copy in a safe place, "
            f"or mend this: {refusal}"
        ) from None
