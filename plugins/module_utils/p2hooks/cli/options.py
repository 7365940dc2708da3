# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options that several sub-commands have, and what the values of options can be."""

from __future__ import annotations

import argparse

from ..configuration import CHOICES, DEFAULT_PATH, OPTIONS
from ..events import EVENTS
from ..install import DEFAULT_MAX_UNPACKED_BYTES
from ..store.options import VARIABLES

EVENT_CHOICES = f"one of {', '.join(EVENTS)}"


def add_common(parser: argparse.ArgumentParser, *, is_configured: bool) -> None:
    """Add what all sub-commands have; ``--config`` only where ``is_configured``."""
    # A default of these would hide the same option before the sub-command.
    parser.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="print one JSON document")
    if is_configured:
        parser.add_argument(
            "--config", metavar="FILE", type=given, default=argparse.SUPPRESS,
            help=f"the configuration file, for options that are not given (default: {DEFAULT_PATH})",
        )  # fmt: skip


def add_event(parser: argparse.ArgumentParser) -> None:
    """Add the choice between an event and none, one of which has to be given."""
    event = parser.add_mutually_exclusive_group(required=True)
    event.add_argument("--event", metavar="EVENT", choices=EVENTS, help=f"the event of the hooks, {EVENT_CHOICES}")
    event.add_argument("--global", dest="event", action="store_const", const=None, help="the hooks run on all events")


def add_upload(parser: argparse.ArgumentParser) -> None:
    """Add ``--upload-artifacts``."""
    parser.add_argument(
        "--upload-artifacts", "--upload", action="store_true",
        help="put artifacts that are files of this host into the store as well",
    )  # fmt: skip


def add_check(parser: argparse.ArgumentParser, *, diff: bool) -> None:
    """Add ``--check``, and ``--diff`` where there is something to compare."""
    parser.add_argument("--check", action="store_true", help="only say what would be done")
    if diff:
        parser.add_argument("--diff", action="store_true", help="show how manifests change")


def add_max_unpacked_size(parser: argparse.ArgumentParser) -> None:
    """Add ``--max-unpacked-size``."""
    parser.add_argument(
        "--max-unpacked-size", metavar="SIZE", type=_size, default=DEFAULT_MAX_UNPACKED_BYTES,
        help="no artifact may be larger; bytes, or with a unit such as 64M (default: 256M)",
    )  # fmt: skip


def add_node(parser: argparse.ArgumentParser) -> None:
    """Add ``--node``."""
    add_configured(parser, "node", "NAME", "the name of this host (default: its host name)")


def add_root(parser: argparse.ArgumentParser) -> None:
    """Add ``--root``."""
    add_configured(parser, "root", "DIR", "the root of all hooks")


def add_audit(parser: argparse.ArgumentParser) -> None:
    """Add both places of the audit, for sub-commands that change it."""
    add_configured(parser, "audit_log", "FILE", "the JSON lines")
    add_configured(
        parser, "audit_database", "FILE", "the SQLite database; where only one of the two is named, only that"
    )


def add_store(parser: argparse.ArgumentParser) -> None:
    """Add what says where the store is."""
    group = parser.add_argument_group(
        "the store", "The ACL token is read from a file, or from CONSUL_HTTP_TOKEN or CONSUL_HTTP_TOKEN_FILE."
    )
    group.add_argument("--store", choices=CHOICES["store"], help=f"where hooks are scheduled{_origin('store')}")
    texts = {
        "store_path": ("DIR", "the directory"),
        "consul_url": ("URL", "the address of Consul"),
        "consul_token_file": ("FILE", "the file with the ACL token"),
        "consul_ca_path": ("PATH", "the CA certificates for Consul's own"),
        "consul_client_cert": ("FILE", "our certificate"),
        "consul_client_key": ("FILE", "its private key"),
        "consul_datacenter": ("NAME", "the datacenter whose keys are meant"),
        "consul_namespace": ("NAME", "the namespace, in Consul Enterprise"),
        "consul_timeout": ("SECONDS", "how long each request may take"),
    }
    for name, (metavar, text) in texts.items():
        add_configured(group, name, metavar, text)
    group.add_argument(
        "--consul-validate-certs",
        action=argparse.BooleanOptionalAction,
        default=None,
        help=f"whether to check Consul's certificate{_origin('consul_validate_certs')}",
    )


def add_configured(parser: argparse._ActionsContainer, name: str, metavar: str, text: str) -> None:
    """Add one of the options that the configuration file can have."""
    kind = float if OPTIONS[name][0] == "float" else given
    parser.add_argument(option_name(name), metavar=metavar, type=kind, help=f"{text}{_origin(name)}")


def _origin(name: str) -> str:
    """Return where the value of an option comes from when neither it nor a line of the configuration file is given."""
    sources = [VARIABLES[name]] if name in VARIABLES else []
    default = OPTIONS[name][1]
    if default is not None:
        sources.append("yes" if default is True else f"{default:g}" if isinstance(default, float) else default)
    return f" (default: {', else '.join(sources)})" if sources else ""


def option_name(name: str) -> str:
    """Return the option that stands for ``name`` in the configuration file."""
    return "--" + name.replace("_", "-")


def given(text: str) -> str:
    """Refuse what is left of an unset variable: an empty path would be the current directory."""
    if not text:
        raise argparse.ArgumentTypeError("is empty")
    return text


def names(text: str) -> list[str]:
    """Return what commas separate."""
    return [given(name) for name in text.split(",")]


def assignment(text: str) -> tuple[str, str]:
    """Return the name and the value of ``NAME=VALUE``."""
    name, separator, value = text.partition("=")
    if not name or not separator:
        raise argparse.ArgumentTypeError(f"{text!r} must be a name, '=' and a value")
    return name, value


def count(text: str) -> int:
    """Return a number that is not below 0."""
    if not (text.isascii() and text.isdigit()) or len(text) > 9:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 0 to 999999999")
    return int(text)


_UNITS = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3}


def _size(text: str) -> int:
    number = text.upper().removesuffix("B")
    unit = number[-1:] if number[-1:] in _UNITS else ""
    digits = number.removesuffix(unit)
    if not (digits.isascii() and digits.isdigit()) or len(digits) > 15:
        raise argparse.ArgumentTypeError(f"{text!r} is no size; give bytes, or a unit such as 64M")
    return int(digits) * _UNITS[unit]
