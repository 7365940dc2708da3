# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Counting what a process sends to Consul, and what comes back: each byte, where it goes through a socket."""

from __future__ import annotations

import http.client
import re
import socket
import threading
from collections import Counter
from typing import Any

import requests

#: Of all requests together: bytes that were sent or came back, and bytes of the answers once they were unpacked.
WIRE, UNPACKED = "bytes on the wire", "bytes unpacked"

_KIND = re.compile(r"/v1/(?:kv/)?([a-z-]+)")


class Traffic:
    """Counts the requests of this process from now on, those that wait for a change when they are answered.

    It relies on the engine, which sends each request in a thread of its own.
    """

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._of_thread = threading.local()
        session_send, socket_send = requests.Session.send, http.client.HTTPConnection.send
        socket_read = socket.SocketIO.readinto

        def send(connection: http.client.HTTPConnection, data: Any) -> None:
            self._add(len(data))
            socket_send(connection, data)

        def readinto(stream: socket.SocketIO, buffer: Any) -> int | None:
            count = socket_read(stream, buffer)
            self._add(count or 0)
            return count

        def counted(session: requests.Session, request: requests.PreparedRequest, **options: Any) -> requests.Response:
            answer = session_send(session, request, **options)
            found = _KIND.match(request.path_url)
            with self._lock:
                self._counts[f"{request.method} {found[1] if found else request.path_url}"] += 1
                self._counts[WIRE] += self._of_thread.count
                self._counts[UNPACKED] += len(answer.content)
            return answer

        requests.Session.send = counted  # type: ignore[method-assign]
        http.client.HTTPConnection.send = send  # type: ignore[method-assign]
        socket.SocketIO.readinto = readinto  # type: ignore[method-assign]

    def take(self) -> Counter[str]:
        """Return how many requests of which kind there were, and the bytes, since the last time."""
        with self._lock:
            counts, self._counts = self._counts, Counter()
        return counts

    def _add(self, count: int) -> None:
        self._of_thread.count = getattr(self._of_thread, "count", 0) + count
