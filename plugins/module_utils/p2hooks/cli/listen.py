# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``p2-hook listen``: the listener as a service that systemd starts, watches, reloads and stops.

The main thread does nothing but that, so that a stop never waits for what the listener is doing.
"""

from __future__ import annotations

import argparse
import os
import select
import signal
import threading
from collections.abc import Callable
from math import isfinite

from .. import sd_notify
from ..console import MISCONFIGURED, Answer, printable
from ..errors import HookError, LayoutError, StoreUnavailable
from ..layout import Layout
from ..listener import Listener, Settings
from ..node_status import own_node
from ..store.options import open_store, warnings_of
from ..time_limits import TimeLimits

#: A listener that did not get any further for so many seconds is stuck, and not kept alive any longer. Large artifacts
#: take their time.
_STUCK_AFTER = 1800.0

_INTERVALS = ("reconcile_every", "report_every")


def settings_of(options: argparse.Namespace) -> Settings:
    """Return what ``options`` ask for, and log what is unwise in them.

    Raises:
        HookError: one of them is unusable; the message names it.
    """
    for name in _INTERVALS:
        value = getattr(options, name)
        if not (isfinite(value) and 1 <= value <= 86400):
            raise HookError(f"{name} is {value:g}; give seconds, at least 1 and at most 86400")
    TimeLimits(options.term_after, options.kill_after)  # or every run would fail
    layout = Layout(options.root)
    path = options.store_path
    if options.store == "directory" and os.path.lexists(path) and not os.path.isdir(path):
        raise LayoutError(f"store_path {path} is no directory; give the directory of the store")
    for warning in warnings_of(vars(options)):
        _log(sd_notify.WARNING, warning)
    return Settings(
        layout=layout,
        store=open_store(vars(options)),
        node=own_node(options.node),
        audit_log=options.audit_log,
        reconcile_every=options.reconcile_every,
        report_every=options.report_every,
        max_unpacked_bytes=options.max_unpacked_size,
    )


def answer(configure: Callable[[], Settings]) -> Answer:
    """Listen until SIGTERM, as the only thing that this process does.

    Args:
        configure: returns the settings as they are now; called again for each SIGHUP.

    Raises:
        StoreUnavailable: a file that the settings name cannot be read, which may be there later.
    """
    notifier = sd_notify.Notifier()
    signals = _Signals(signal.SIGTERM, signal.SIGHUP)
    try:
        settings = configure()
    except HookError as error:
        notifier.status(_line(str(error)))
        if isinstance(error, StoreUnavailable):
            raise
        return Answer({}, [], code=MISCONFIGURED, errors=[str(error)])
    listener = Listener(settings, log=_log, status=lambda text: notifier.status(_line(text)))
    failures: list[BaseException] = []

    def work() -> None:
        try:
            listener.run()
        except BaseException as failure:  # noqa: BLE001 (raised below)
            failures.append(failure)
        signals.wake()

    _log(sd_notify.INFO, f"listening to {settings.store.name} for {settings.layout.root}, as {settings.node}")
    threading.Thread(target=work, daemon=True).start()
    notifier.ready()
    pause = notifier.watchdog_seconds and notifier.watchdog_seconds / 3
    while signal.SIGTERM not in signals.caught and not failures:
        if signal.SIGHUP in signals.caught:
            signals.caught.discard(signal.SIGHUP)
            _reload(configure, listener, notifier)
        if pause and listener.idle_seconds() < _STUCK_AFTER:
            notifier.alive()
        signals.wait(pause)
    notifier.stopping()
    if failures:
        raise failures[0]
    _log(sd_notify.INFO, "stopped")
    return Answer({}, [])


def _reload(configure: Callable[[], Settings], listener: Listener, notifier: sd_notify.Notifier) -> None:
    notifier.reloading()
    try:
        listener.reload(configure())
        _log(sd_notify.INFO, "reloaded, comparing everything")
    except HookError as error:
        _log(sd_notify.ERROR, f"not reloaded, going on as before: {error}")
    notifier.ready()


def _log(priority: int, text: str) -> None:
    sd_notify.log(priority, _line(text))


def _line(text: str) -> str:
    return printable(" ".join(text.split()))


class _Signals:
    """Collects signals, and wakes whoever waits for one."""

    def __init__(self, *numbers: signal.Signals) -> None:
        self.caught: set[int] = set()
        self._reading, self._writing = os.pipe()
        for descriptor in (self._reading, self._writing):
            os.set_blocking(descriptor, False)
        signal.set_wakeup_fd(self._writing, warn_on_full_buffer=False)
        for number in numbers:
            signal.signal(number, lambda caught, dummy: self.caught.add(caught))

    def wait(self, seconds: float | None) -> None:
        """Wait for a signal or a call of :meth:`wake`, for up to ``seconds``, or for ever where that is None."""
        if select.select([self._reading], [], [], seconds)[0]:
            os.read(self._reading, 4096)

    def wake(self) -> None:
        os.write(self._writing, b"\0")
