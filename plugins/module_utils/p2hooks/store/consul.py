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
import json
from collections.abc import Callable, Iterable, Sequence
from http import HTTPStatus
from typing import Any, NamedTuple

from ..errors import StoreError, shown
from .base import ABSENT, Change, Entry, Snapshot, Store
from .consul_http import KEY_PATH, ConsulConnection, HttpClient, Response, RolledBackError, denied, import_library

__all__ = ["ConsulConnection", "ConsulStore"]

#: Consul's limits, the lowest of all its versions: https://developer.hashicorp.com/consul/api-docs/txn
_MAX_VALUE_BYTES = 512 * 1024
_MAX_TRANSACTION_BYTES = 512 * 1024
_MAX_TRANSACTION_OPERATIONS = 64


class ConsulStore(Store):
    """Keys in Consul. Reads are of the default consistency, never stale.

    Raises:
        StoreError: an option is unusable, or the ``consul`` library is missing.
    """

    lookalike_of_empty = "a token that may not read {}"
    max_value_bytes = _MAX_VALUE_BYTES

    def __init__(self, connection: ConsulConnection) -> None:
        library = import_library("consul.base")
        self._http = HttpClient(connection)
        self.name = self._http.name
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
        agent = _Agent(self._http)
        self._kv = endpoints.KV(agent)
        self._transactions = endpoints.Txn(agent)

    def read(self, prefix: str) -> dict[str, Entry]:
        """See :meth:`Store.read`."""
        self._check_prefix(prefix)
        dummy, items = self._decoded(lambda: self._kv.get(prefix, recurse=True))
        return self._entries(prefix, items)

    def wait(self, prefix: str, index: int, seconds: float) -> Snapshot:
        """See :meth:`Store.wait`; this is one blocking query."""
        self._check_prefix(prefix)
        parameters: list[tuple[str, object]] = [("recurse", "1")]
        if index > 0:
            parameters += [("index", index), ("wait", f"{max(1, int(seconds * 1000))}ms")]
        # Not through the library, which keeps the headers to itself.
        answer: Response = self._http.get(lambda response: response, KEY_PATH + prefix, parameters, wait=seconds)
        if answer.headers.get("X-Consul-Results-Filtered-By-ACLs") == "true":  # since Consul 1.11
            raise denied(self.name, "key:read", f" on some of {prefix}", "it leaves them out of its answer")
        # A query with the index 0 is answered at once, so those that follow would keep Consul busy.
        found = self._decoded(lambda: max(1, int(answer.headers["X-Consul-Index"])))
        return Snapshot(self._entries(prefix, self._decoded(lambda: _items(answer))), found)

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

    def make_folder(self, prefix: str) -> None:
        """See :meth:`Store.make_folder`.

        Where there is no key under a prefix, Consul answers a query that waits for one when other keys change. So
        there is to be one: what its web interface calls a folder, which :meth:`read` and :meth:`wait` leave out.
        """
        dummy, item = self._decoded(lambda: self._kv.get(prefix))
        if item is None:
            self._decoded(lambda: self._kv.put(prefix, b"", cas=ABSENT))

    def batches(self, groups: Iterable[Sequence[Change]]) -> list[list[Change]]:
        """See :meth:`Store.batches`."""
        batches: list[list[Change]] = []
        count = size = 0
        for group in groups:
            self._check_changes(group)
            operations = [operation for change in group for operation in _operations(change)]
            added = len(json.dumps(operations))
            if len(group) > 1 and added > _MAX_TRANSACTION_BYTES:
                raise StoreError(
                    f"{self.name}: {' and '.join(shown(change.key) for change in group)} have to be changed together, "
                    "and are too large for that; make the manifest smaller"
                )
            if (
                not batches
                or count + len(operations) > _MAX_TRANSACTION_OPERATIONS
                or size + added > _MAX_TRANSACTION_BYTES
            ):
                batches.append([])
                count = size = 0
            batches[-1] += group
            count += len(operations)
            size += added
        return batches

    def _put(self, change: Change) -> None:
        written = self._decoded(lambda: self._kv.put(change.key, change.value, cas=change.index))
        if written is False:
            raise self._conflict(change.key)
        if written is not True:
            raise self._not_consul()

    def _transact(self, changes: Sequence[Change]) -> None:
        operations = [operation for change in changes for operation in _operations(change)]
        try:
            answer = self._decoded(lambda: self._transactions.put(operations))
        except RolledBackError as rolled_back:
            raise self._why_rolled_back(operations, rolled_back.body) from None
        results = answer.get("Results") if isinstance(answer, dict) else None
        # Consul answers with one result for each operation, but none for a key that was deleted.
        expected = sum(operation["KV"]["Verb"] != "delete-cas" for operation in operations)
        if not isinstance(results, list) or len(results) != expected:
            raise self._not_consul()

    def _why_rolled_back(self, operations: Sequence[dict[str, dict[str, str | int]]], body: str) -> StoreError:
        try:
            error = json.loads(body)["Errors"][0]
            operation, why = operations[error["OpIndex"]]["KV"], str(error["What"])
            key = str(operation["Key"])
        except (ValueError, LookupError, TypeError, RecursionError):
            return self._not_consul()
        if "denied" in why or "ACL not found" in why:
            return denied(self.name, "key:write", f" on {shown(key)}", shown(why, 200))
        if "stale" in why or operation["Verb"] == "check-index":
            return self._conflict(key)
        return StoreError(
            f"{self.name}: {shown(key)} was not written, nor anything of its transaction: {shown(why, 200)}"
        )

    def _entries(self, prefix: str, items: Any) -> dict[str, Entry]:
        if items is None:
            return {}
        if not isinstance(items, list):
            raise self._not_consul()
        entries = dict(self._entry(item) for item in items)
        if not all(key.startswith(prefix) for key in entries):
            raise self._not_consul()
        # Consul's web interface marks a folder by a key that ends in a slash.
        return {key: entries[key] for key in sorted(entries) if not key.endswith("/")}

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


class _Agent(NamedTuple):
    """What the library's endpoints expect of its ``Consul`` class."""

    http: HttpClient
    #: None, because the HTTP client sends token and datacenter with every request.
    token: None = None
    dc: None = None
    consistency: str = "default"

    def prepare_headers(self, _token: str | None) -> dict[str, str]:
        return {}


def _items(answer: Response) -> Any:
    """Return what Consul lists, values decoded, as the library does; None where there is no such key."""
    if answer.code == HTTPStatus.NOT_FOUND:
        return None
    return [
        {**item, "Value": item["Value"] and base64.b64decode(item["Value"], validate=True)}
        for item in json.loads(answer.body)
    ]


def _operations(change: Change) -> list[dict[str, dict[str, str | int]]]:
    operation: dict[str, str | int] = {"Verb": "delete-cas", "Key": change.key, "Index": change.index}
    if change.value is not None:
        operation.update(Verb="cas", Value=base64.b64encode(change.value).decode("ascii"))
    elif change.must_exist:  # which delete-cas alone does not ask for
        return [{"KV": {**operation, "Verb": "check-index"}}, {"KV": operation}]
    return [{"KV": operation}]
