# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a service tells systemd, if that is there: sd_notify(3), and lines for the journal as in sd-daemon(3)."""

from __future__ import annotations

import os
import socket
import time

#: Priorities of lines, as in syslog(3).
ERROR, WARNING, NOTICE, INFO = 3, 4, 5, 6


class Notifier:
    """Sends the states of this service to systemd. A systemd that cannot be reached changes nothing here."""

    def __init__(self) -> None:
        path = os.environ.get("NOTIFY_SOCKET", "")
        # An abstract socket has a null byte where the variable has an @.
        self._address = f"\0{path[1:]}" if path.startswith("@") else path
        self._status = ""

    @property
    def watchdog_seconds(self) -> float | None:
        """How often systemd wants to hear from this process at least; None if it does not."""
        usec, pid = os.environ.get("WATCHDOG_USEC", ""), os.environ.get("WATCHDOG_PID", "")
        if not usec.isdigit() or (pid and pid != str(os.getpid())):
            return None
        return int(usec) / 1e6 or None

    def ready(self) -> None:
        """Say that the service is up, or up again after :meth:`reloading`."""
        self._send("READY=1")

    def reloading(self) -> None:
        """Say that the configuration is being read again."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """Say that the service is about to end."""
        self._send("STOPPING=1")

    def alive(self) -> None:
        """Keep the watchdog quiet."""
        self._send("WATCHDOG=1")

    def status(self, text: str) -> None:
        """Have ``systemctl status`` show ``text``, which is printable."""
        if text != self._status:
            self._status = text
            self._send(f"STATUS={text}")

    def _send(self, state: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                sender.settimeout(1)
                sender.sendto(state.encode("utf-8", "backslashreplace"), self._address)
        except OSError:  # nothing depends on it, and there is nobody to tell
            return


def log(priority: int, text: str) -> None:
    """Write ``text``, which is printable, as a line to standard error; in the journal it has the ``priority``."""
    line = f"<{priority}>{text}\n" if _is_journal(2) else f"p2-hook: {text}\n"
    try:
        os.write(2, line.encode("utf-8", "backslashreplace"))
    except OSError:  # a service goes on, whoever reads what it says
        return


def _is_journal(descriptor: int) -> bool:
    try:
        status = os.fstat(descriptor)
    except OSError:
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"
