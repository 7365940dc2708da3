# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading an artifact from an HTTP server.

Downloads are bounded in time as a whole (a server that sends a byte every few seconds never trips a socket's timeout),
follow at most five redirects and none from https to http, and end with the length they announced.
"""

from __future__ import annotations

import http.client
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import IO, Any
from urllib.parse import urlsplit

from .errors import ArtifactError, reason_of
from .manifest import redacted

#: Seconds that connecting, or waiting for the next bytes, may take.
_SOCKET_TIMEOUT = 10.0
_MAX_REDIRECTS = 5
_CHUNK = 64 * 1024


def download(location: str, seconds: float) -> Iterator[bytes]:
    """Yield what the server has at ``location``, piece by piece.

    Args:
        location: an ``http`` or ``https`` URL.
        seconds: how long all of it may take.

    Raises:
        ArtifactError: it could not be had, or not completely.
    """
    where = redacted(location)
    took_too_long = f"{where}: took longer than {seconds:g} s; check the server and the network"
    with _TotalTimeout(seconds) as timeout:
        try:
            opener = urllib.request.build_opener(_HTTPHandler(timeout), _HTTPSHandler(timeout), _Redirects())
            with opener.open(location, timeout=_SOCKET_TIMEOUT) as response:
                announced = response.length
                received = 0
                while chunk := response.read1(_CHUNK):
                    received += len(chunk)
                    yield chunk
                if timeout.is_over:
                    raise ArtifactError(took_too_long)
                if announced is not None and received != announced:
                    raise ArtifactError(f"{where}: ended after {received} of {announced} bytes; run this again")
        except urllib.error.HTTPError as error:
            error.close()
            raise ArtifactError(
                f"{where}: the server answered {error.code}; publish the artifact there, or fix the location"
            ) from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            if timeout.is_over:
                raise ArtifactError(took_too_long) from None
            reason = getattr(error, "reason", error)
            # What other exceptions say may be the server's own words, and those may be anything.
            why = reason_of(reason) if isinstance(reason, OSError) else f"no valid answer ({type(error).__name__})"
            raise ArtifactError(
                f"{where}: could not be downloaded: {why}; check the server, then run this again"
            ) from None


class _TotalTimeout:
    """Breaks a download off by shutting its sockets down, whatever it is waiting for."""

    def __init__(self, seconds: float) -> None:
        self.is_over = False
        self._sockets: list[socket.socket] = []
        self._timer = threading.Timer(seconds, self._break_off)
        self._timer.daemon = True

    def __enter__(self) -> _TotalTimeout:
        self._timer.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._timer.cancel()

    def watch(self, connection: socket.socket) -> None:
        self._sockets.append(connection)
        if self.is_over:  # the time was up while this one was being connected
            self._break_off()

    def _break_off(self) -> None:
        self.is_over = True
        for connection in self._sockets:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:  # it is closed already
                continue


class _Redirects(urllib.request.HTTPRedirectHandler):
    max_redirections = _MAX_REDIRECTS

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        scheme = urlsplit(req.full_url).scheme
        if urlsplit(newurl).scheme not in ("https", scheme):
            fp.close()
            raise ArtifactError(f"{redacted(req.full_url)}: redirects from {scheme} to something else; fix the server")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _watched(connection_class: type[http.client.HTTPConnection], timeout: _TotalTimeout) -> Any:
    """Return a subclass of ``connection_class`` whose sockets ``timeout`` can break off."""

    class Watched(connection_class):  # type: ignore[misc, valid-type]
        def connect(self) -> None:
            super().connect()
            timeout.watch(self.sock)

    return Watched


class _HTTPHandler(urllib.request.HTTPHandler):
    def __init__(self, timeout: _TotalTimeout) -> None:
        super().__init__()
        self._connection_class = _watched(http.client.HTTPConnection, timeout)

    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(self._connection_class, req)


class _HTTPSHandler(urllib.request.HTTPSHandler):
    def __init__(self, timeout: _TotalTimeout) -> None:
        super().__init__()
        self._connection_class = _watched(http.client.HTTPSConnection, timeout)

    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(self._connection_class, req)
