# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options that a host can set for everybody in a file, and their defaults; see docs/configuration.md.

The table :data:`OPTIONS` is what modules, command and file have in common. Running hooks goes through here, so this
module imports next to nothing.
"""

from __future__ import annotations

import os
from stat import S_ISREG

from . import vetting
from .errors import ConfigurationError, HookError, HookRefused, reason_of, shown
from .layout import DEFAULT_POD_ROOT, DEFAULT_ROOT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    Result = TypeVar("Result")

DEFAULT_PATH = "/etc/p2-hook.conf"

#: The kind of each option, called as Ansible calls it, and its default.
OPTIONS: dict[str, tuple[str, Any]] = {
    "root": ("path", DEFAULT_ROOT),
    "pod_root": ("path", DEFAULT_POD_ROOT),
    "node": ("str", None),
    "term_after": ("float", 30.0),
    "kill_after": ("float", None),
    "reconcile_every": ("float", 300.0),
    "report_every": ("float", 10.0),
    "audit_log": ("path", "/var/log/p2-hook/audit.jsonl"),
    "audit_database": ("path", None),
    "store": ("str", "directory"),
    "store_path": ("path", "/data/hooks/store"),
    "consul_url": ("str", "http://127.0.0.1:8500"),
    "consul_token": ("str", None),
    "consul_token_file": ("path", None),
    "consul_ca_path": ("path", None),
    "consul_client_cert": ("path", None),
    "consul_client_key": ("path", None),
    "consul_validate_certs": ("bool", True),
    "consul_datacenter": ("str", None),
    "consul_namespace": ("str", None),
    "consul_timeout": ("float", 10.0),
}

#: What an option can be, where that is not up to the user.
CHOICES = {"store": ("directory", "consul")}

#: What everybody may read is no place for these.
_NEVER_IN_FILES = ("consul_token",)

_TRUE = ("1", "t", "true", "y", "yes", "on")
_FALSE = ("0", "f", "false", "n", "no", "off")

_MAX_BYTES = 65536


class Settings:
    """What a configuration file sets."""

    __slots__ = ("_used", "path", "places", "values")

    def __init__(self, path: str) -> None:
        self.path = path
        #: The value of each option that the file sets.
        self.values: dict[str, Any] = {}
        #: The number of its line.
        self.places: dict[str, int] = {}
        self._used: list[str] = []

    def fill(self, options: dict[str, Any]) -> None:
        """Give those of the ``options`` in :data:`OPTIONS` that are None the value in the file, or their default."""
        for name, (dummy, default) in OPTIONS.items():
            if name not in options or options[name] is not None:
                continue
            if name == "consul_token_file" and options.get("consul_token") is not None:  # that one token is enough
                continue
            options[name] = self.values.get(name, default)
            if name in self.values:
                self._used.append(name)

    def explain(self, error: HookError) -> None:
        """Add to the message of ``error`` which lines of the file it is about, if any.

        Messages call an option by its name, or begin with the path that it holds. A name such as root says something at
        the beginning only, since it is a word of its own.
        """
        text = str(error)
        said = [
            f"{name} is set in line {self.places[name]} of {self.path}"
            for name in self._used
            if ("_" in name and name in text)
            or text.startswith((f"{self.values[name]}: ", f"{name} {self.values[name]} ", f"{name} is "))
        ]
        if said:
            error.args = ("; ".join([text, *said]),)


def configured(
    path: str | None,
    options: dict[str, Any],
    use: Callable[[], Result],
    complete: Callable[[Settings, dict[str, Any]], None] = Settings.fill,
) -> Result:
    """Give the ``options`` that are None their values, and return what ``use``, which reads them, returns.

    Args:
        path: the configuration file, see :func:`read`.
        complete: how to give them their values.

    Raises:
        ConfigurationError: the file is unusable.
        HookError: that ``use`` or ``complete`` raises, with the lines of the file that it is about.
    """
    settings = read(path)
    try:
        complete(settings, options)
        return use()
    except HookError as error:
        settings.explain(error)
        raise


def read(path: str | None) -> Settings:
    """Return what the configuration file ``path`` sets; without a path, :data:`DEFAULT_PATH`, which need not exist.

    Raises:
        ConfigurationError: the file cannot be read, or others could change it, or one of its lines is wrong.
    """
    settings = Settings(path or DEFAULT_PATH)
    try:
        content = _content(settings.path)
    except FileNotFoundError:
        if path is None:
            return settings
        raise ConfigurationError(f"{path}: there is no such configuration file; correct its path") from None
    except OSError as error:
        raise ConfigurationError(
            f"{settings.path}: {reason_of(error)}; let whoever calls this read its configuration"
        ) from None
    lines = content.decode("utf-8", "replace").split("\n")
    for number, line in enumerate(map(str.strip, lines), 1):
        if not line or line.startswith("#"):
            continue
        where = f"{settings.path}, line {number}"
        name, separator, text = line.partition("=")
        name, text = name.rstrip(), text.lstrip()
        if not separator:
            raise ConfigurationError(f"{where}: {shown(line)} is no setting; write name = value")
        if name not in OPTIONS or name in _NEVER_IN_FILES:
            raise ConfigurationError(f"{where}: {_unknown(name)}")
        if name in settings.values:
            raise ConfigurationError(f"{where}: {name} is set in line {settings.places[name]} already; remove one")
        settings.values[name] = _value(f"{where}: {name}", name, text)
        settings.places[name] = number
    return settings


def truth(text: str) -> bool | None:
    """Return what ``text`` means where a truth value is needed, None if that cannot be told."""
    word = text.lower()
    return True if word in _TRUE else False if word in _FALSE else None


def _content(path: str) -> bytes:
    # O_NONBLOCK: a FIFO in the place of the file is an error, nothing to wait for.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        if not S_ISREG(os.fstat(descriptor).st_mode):
            raise ConfigurationError(f"{path} is no regular file; write the configuration into one")
        _vet(path)
        content = os.read(descriptor, _MAX_BYTES + 1)
    finally:
        os.close(descriptor)
    if len(content) > _MAX_BYTES:
        raise ConfigurationError(f"{path} is larger than {_MAX_BYTES} bytes; is it the right file?")
    return content


def _vet(path: str) -> None:
    """Make sure that nobody else can change the file, or put another one in its place.

    Raises:
        ConfigurationError: somebody else can.
    """
    try:
        vetting.vet_way(path)
    except HookRefused as refusal:
        where = "" if str(refusal).startswith(f"{path} ") else f"{path}: "
        raise ConfigurationError(f"{where}{refusal}") from None


def _unknown(name: str) -> str:
    if name in _NEVER_IN_FILES:
        return f"{name} does not belong here, where others may read it; set {name}_file to a file that holds it"
    known = ", ".join(option for option in OPTIONS if option not in _NEVER_IN_FILES)
    return f"there is no option {shown(name)}; the options are {known}"


def _value(where: str, name: str, text: str) -> Any:
    """Return ``text`` as the value of the option ``name``.

    Raises:
        ConfigurationError: it is none; the message begins with ``where``.
    """
    kind = OPTIONS[name][0]
    if not text:
        raise ConfigurationError(f"{where} has no value; give one, or remove the line")
    if not text.isprintable() or "\ufffd" in text:
        raise ConfigurationError(f"{where} is {shown(text)}; give it in printable UTF-8")
    if " #" in text:
        raise ConfigurationError(f"{where} is {shown(text)}; give a comment a line of its own")
    if name in CHOICES and text not in CHOICES[name]:
        raise ConfigurationError(f"{where} is {shown(text)}; give one of {', '.join(CHOICES[name])}")
    if kind == "path" and not text.startswith("/"):
        raise ConfigurationError(f"{where} is {shown(text)}; give a path that begins with /")
    if kind == "bool":
        value = truth(text)
        if value is None:
            raise ConfigurationError(f"{where} is {shown(text)}; give true or false")
        return value
    if kind == "float":
        try:
            number = float(text)
        except ValueError:
            number = 0.0
        if not 0 < number < float("inf"):
            raise ConfigurationError(f"{where} is {shown(text)}; give seconds, a number above 0")
        return number
    return text
