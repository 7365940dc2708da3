# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A store in Consul's key-value store, through the ``consul`` library: py-consul or python-consul.

The library's endpoints know Consul's requests and answers. They send them through our own HTTP client, because the
library's lets ``CONSUL_*`` variables override what it is given, puts the token into URLs (python-consul), leaves it out
of transactions (both), and may wait for ever.
"""

from __future__ import annotations

import base64
import importlib
import json
import os
import queue
import re
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

from .. import site_packages
from ..errors import StoreDenied, StoreError, StoreUnavailable, reason_of, shown
from .base import Change, Entry, Store

#: Consul's limits, the lowest of all its versions: https://developer.hashicorp.com/consul/api-docs/txn
_MAX_VALUE_BYTES = 512 * 1024
_MAX_TRANSACTION_BYTES = 512 * 1024
_MAX_TRANSACTION_OPERATIONS = 64

_MAX_TIMEOUT = 3600.0
_MAX_TOKEN_FILE_BYTES = 4096
_DEFAULT_PORTS = {"http": 8500, "https": 8501}

_KEY_PATH = "/v1/kv/"
_TRANSACTION_PATH = "/v1/txn"

_HOST = re.compile(r"[0-9A-Za-z._-]+|[0-9a-f:.]+")
_HEADER = re.compile(r"[!-~]+")


@dataclass(frozen=True)
class ConsulConnection:
    """Where Consul is and how to speak to it. Nothing else counts: no ``CONSUL_*`` variable, proxy or ``.netrc``.

    Attributes:
        url: ``http`` or ``https``, host and port. Without a scheme ``http``; without a port 8500, for ``https`` 8501.
        token: the ACL token. It is sent as a header, and never shown.
        token_file: a file to read the token from, in place of ``token``.
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


class ConsulStore(Store):
    """Keys in Consul. Reads are of the default consistency, never stale.

    Raises:
        StoreError: an option is unusable, or the ``consul`` library is missing.
    """

    max_value_bytes = _MAX_VALUE_BYTES

    def __init__(self, connection: ConsulConnection) -> None:
        library = _import_library("consul.base")
        address = _address(connection.url)
        self.name = f"Consul at {address}"
        self._decoding_errors = (
            library.ConsulException,
            ValueError,
            LookupError,
            TypeError,
            AttributeError,
            RecursionError,
        )
        # py-consul has the endpoints in the module, python-consul in the class.
        endpoints = library if hasattr(library, "KV") else library.Consul
        if not hasattr(endpoints, "Txn"):
            raise StoreError(
                "the Python library consul is too old for transactions; install py-consul or python-consul 1.1.0"
            )
        agent = _Agent(_HttpClient(self.name, address, connection))
        self._kv = endpoints.KV(agent)
        self._transactions = endpoints.Txn(agent)

    def read(self, prefix: str) -> dict[str, Entry]:
        """See :meth:`Store.read`."""
        self._check_prefix(prefix)
        dummy, items = self._decoded(lambda: self._kv.get(prefix, recurse=True))
        if items is None:
            return {}
        if not isinstance(items, list):
            raise self._not_consul()
        entries = dict(self._entry(item) for item in items)
        if not all(key.startswith(prefix) for key in entries):
            raise self._not_consul()
        # Consul's web interface marks a folder by a key that ends in a slash.
        return {key: entries[key] for key in sorted(entries) if not key.endswith("/")}

    def get(self, key: str) -> Entry | None:
        """See :meth:`Store.get`."""
        self._check_key(key)
        dummy, item = self._decoded(lambda: self._kv.get(key))
        if item is None:
            return None
        found, entry = self._entry(item)
        if found != key:
            raise self._not_consul()
        return entry

    def commit(self, changes: Sequence[Change]) -> None:
        """See :meth:`Store.commit`."""
        self._check_changes(changes)
        # In a transaction a value is sent as base64, which makes those over 384 KiB too large for it.
        if len(changes) == 1 and changes[0].value is not None:
            self._put(changes[0])
        elif changes:
            self._transact(changes)

    def batches(self, changes: Sequence[Change]) -> list[list[Change]]:
        """See :meth:`Store.batches`."""
        self._check_changes(changes)
        batches: list[list[Change]] = []
        size = 0
        for change in changes:
            added = len(json.dumps([_operation(change)]))
            if not batches or len(batches[-1]) == _MAX_TRANSACTION_OPERATIONS or size + added > _MAX_TRANSACTION_BYTES:
                batches.append([])
                size = 0
            batches[-1].append(change)
            size += added
        return batches

    def _put(self, change: Change) -> None:
        written = self._decoded(lambda: self._kv.put(change.key, change.value, cas=change.index))
        if written is False:
            raise self._conflict(change.key)
        if written is not True:
            raise self._not_consul()

    def _transact(self, changes: Sequence[Change]) -> None:
        try:
            answer = self._decoded(lambda: self._transactions.put([_operation(change) for change in changes]))
        except _RolledBackError as rolled_back:
            raise self._why_rolled_back(changes, rolled_back.body) from None
        results = answer.get("Results") if isinstance(answer, dict) else None
        # Consul answers with one result for each key that was written, and none for one that was deleted.
        if not isinstance(results, list) or len(results) != sum(change.value is not None for change in changes):
            raise self._not_consul()

    def _why_rolled_back(self, changes: Sequence[Change], body: str) -> StoreError:
        try:
            error = json.loads(body)["Errors"][0]
            key, why = changes[error["OpIndex"]].key, str(error["What"])
        except (ValueError, LookupError, TypeError, RecursionError):
            return self._not_consul()
        if "denied" in why or "not found" in why:
            return _denied(self.name, "key:write", f" on {shown(key)}", shown(why, 200))
        if "stale" in why:
            return self._conflict(key)
        return StoreError(
            f"{self.name}: {shown(key)} was not written, nor anything of its transaction: {shown(why, 200)}"
        )

    def _entry(self, item: Any) -> tuple[str, Entry]:
        key, value, index = self._decoded(lambda: (item["Key"], item["Value"], item["ModifyIndex"]))
        if value is None:
            value = b""
        is_index = isinstance(index, int) and not isinstance(index, bool) and index > 0
        if not (isinstance(key, str) and isinstance(value, bytes) and is_index):
            raise self._not_consul()
        return key, Entry(value, index)

    def _decoded(self, ask: Callable[[], Any]) -> Any:
        """Return what ``ask`` does; whatever it stumbles over in the answer is one StoreError."""
        try:
            return ask()
        except self._decoding_errors as error:
            raise self._not_consul() from error

    def _not_consul(self) -> StoreError:
        return StoreError(f"{self.name} gave an answer that is not Consul's; does consul_url lead to Consul itself?")


class _RolledBackError(Exception):
    """Consul refused a transaction; ``body`` says why."""

    def __init__(self, body: str) -> None:
        super().__init__(body)
        self.body = body


class _Agent(NamedTuple):
    """What the library's endpoints expect of its ``Consul`` class."""

    http: _HttpClient
    #: None, because the HTTP client sends token and datacenter with every request.
    token: None = None
    dc: None = None
    consistency: str = "default"

    def prepare_headers(self, _token: str | None) -> dict[str, str]:
        return {}


class _Response(NamedTuple):
    """What the library's callbacks expect of a response."""

    code: int
    headers: Mapping[str, str]
    body: str


_Callback = Callable[[_Response], Any]
_Parameters = Sequence[tuple[str, Any]]


class _HttpClient:
    """Stands in for the library's ``HTTPClient``. Every request goes through :meth:`_send`, with the same rules.

    Raises:
        StoreError: or one of its kinds, for whatever happens on the wire.
    """

    def __init__(self, name: str, address: str, connection: ConsulConnection) -> None:
        self._requests_errors = _import_library("requests.exceptions")
        self._urllib3_errors = _import_library("urllib3.exceptions")
        self._name = name
        self._address = address
        if not 0 < connection.timeout <= _MAX_TIMEOUT:
            raise StoreError(
                f"consul_timeout is {connection.timeout}; give seconds, more than 0 and at most {_MAX_TIMEOUT:g}"
            )
        self._timeout = connection.timeout
        self._token = _token(connection)
        self._parameters = {"dc": connection.datacenter} if connection.datacenter else {}
        session = _import_library("requests").Session()
        session.trust_env = False
        if self._token:
            session.headers["X-Consul-Token"] = self._token
        if connection.namespace:
            session.headers["X-Consul-Namespace"] = _header("consul_namespace", connection.namespace)
        session.verify = _readable("consul_ca_path", connection.ca_path) or True
        if not connection.validate_certs:
            session.verify = False
            warnings.simplefilter("ignore", self._urllib3_errors.InsecureRequestWarning)
        certificate = _readable("consul_client_cert", connection.client_cert)
        key = _readable("consul_client_key", connection.client_key)
        if key and not certificate:
            raise StoreError("consul_client_key is given without consul_client_cert; give both")
        session.cert = (certificate, key) if certificate and key else certificate
        self._session = session

    def get(self, callback: _Callback, path: str, params: _Parameters = (), **dummy: Any) -> Any:
        return callback(self._send("GET", path, params))

    def put(
        self, callback: _Callback, path: str, params: _Parameters = (), data: str | bytes = b"", **dummy: Any
    ) -> Any:
        return callback(self._send("PUT", path, params, data))

    def _send(self, method: str, path: str, params: _Parameters, data: str | bytes | None = None) -> _Response:
        errors = self._requests_errors
        unknown = _outcome_unknown(method)
        try:
            answer = _within(self._timeout, lambda: self._request(method, path, params, data))
        except (TimeoutError, errors.Timeout) as error:
            raise StoreUnavailable(
                f"{self._name} gave no complete answer within {self._timeout:g} s; is it up, and does nothing between "
                f"drop connections? set consul_timeout higher if it is slow{unknown}"
            ) from error
        except errors.SSLError as error:
            raise StoreError(
                f"{self._name}: no TLS connection: {_cause(error)}; set consul_ca_path to the CA of its certificate, "
                "and consul_client_cert if it demands one"
            ) from error
        except errors.ConnectionError as error:
            if any(isinstance(link, self._urllib3_errors.NewConnectionError) for link in _chain(error)):
                unknown = ""  # nothing was sent
            raise StoreUnavailable(
                f"{self._name} cannot be reached: {_cause(error)}; is Consul running there? set consul_url to "
                f"where it is{unknown}"
            ) from error
        except (errors.RequestException, self._urllib3_errors.HTTPError, OSError) as error:
            raise StoreError(f"{self._name} could not be asked: {_cause(error)}{unknown}") from error
        self._check(method, path, answer)
        return answer

    def _request(self, method: str, path: str, params: _Parameters, data: str | bytes | None) -> _Response:
        answer = self._session.request(
            method,
            self._address + quote(path),
            params={**dict(params), **self._parameters},
            data=data,
            timeout=self._timeout,
            allow_redirects=False,
        )
        return _Response(answer.status_code, answer.headers, answer.content.decode("utf-8", "replace"))

    def _check(self, method: str, path: str, answer: _Response) -> None:
        """Let pass what the library's callbacks understand: success, and a key that is not there."""
        status = answer.code
        if status == HTTPStatus.OK or (status == HTTPStatus.NOT_FOUND and method == "GET"):
            return
        # A server may send back what it was sent.
        body = answer.body.replace(self._token, "***") if self._token else answer.body
        if status == HTTPStatus.CONFLICT and path == _TRANSACTION_PATH:
            raise _RolledBackError(body)
        text = shown(" ".join(body.split()), 200)
        if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
            what = "" if path == _TRANSACTION_PATH else f" on {shown(path.removeprefix(_KEY_PATH))}"
            raise _denied(self._name, "key:read" if method == "GET" else "key:write", what, text)
        if status == HTTPStatus.TOO_MANY_REQUESTS:
            raise StoreUnavailable(f"{self._name} got more requests than it allows (429); try again later")
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise StoreUnavailable(
                f"{self._name} could not answer ({status}): {text}; see to its cluster, then try again"
                f"{_outcome_unknown(method)}"
            )
        if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
            raise StoreError(
                f"{self._name} redirects ({status}), which is not followed; set consul_url to Consul itself"
            )
        raise StoreError(f"{self._name} refused the request ({status}): {text}")


def _denied(name: str, right: str, what: str, why: str) -> StoreDenied:
    return StoreDenied(
        f"{name} denies {right}{what}: {why}; give a token that has this right, by consul_token or consul_token_file"
    )


def _operation(change: Change) -> dict[str, dict[str, str | int]]:
    operation: dict[str, str | int] = {"Verb": "delete-cas", "Key": change.key, "Index": change.index}
    if change.value is not None:
        operation.update(Verb="cas", Value=base64.b64encode(change.value).decode("ascii"))
    return {"KV": operation}


def _import_library(name: str) -> Any:
    site_packages.add()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module(name)
    except ImportError as error:
        raise StoreError(
            f"the Python library consul cannot be imported ({error}); install py-consul or python-consul"
        ) from error


def _within(seconds: float, work: Callable[[], _Response]) -> _Response:
    """Return what ``work`` returns, if that takes no longer than ``seconds``.

    A timeout of a socket begins anew with each byte, and looking a name up has none. So this waits for a thread, which
    is left to its own end when it takes longer.

    Raises:
        TimeoutError: it takes longer.
    """
    outcome: queue.SimpleQueue[_Response | Exception] = queue.SimpleQueue()

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
        with open(connection.token_file, "rb") as file:
            token = file.read(_MAX_TOKEN_FILE_BYTES).decode("ascii", "replace").strip()
    except OSError as error:
        raise StoreError(
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
        raise StoreError(f"{option} {shown(path, 200)} does not exist or cannot be read; correct it")
    return path
