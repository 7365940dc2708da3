# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of every sub-command."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from ..audit.pruning import DEFAULT_RETENTION
from ..configuration import OPTIONS
from ..events import EVENTS
from ..hook_info import DEFAULT_LIMIT
from ..outcomes import OUTCOMES
from ..rollout_checks import COUNTABLE
from ..rollout_options import DEFAULTS
from . import texts
from .options import (
    EVENT_CHOICES,
    add_audit,
    add_check,
    add_common,
    add_configured,
    add_event,
    add_max_unpacked_size,
    add_node,
    add_root,
    add_store,
    add_upload,
    assignment,
    count,
    given,
    names,
    option_name,
)
from .quiet_parser import QuietParser


def parse(arguments: list[str]) -> argparse.Namespace:
    """Return the options in ``arguments``, with the name of the sub-command, or None, in ``command``.

    Raises:
        UsageError: they are not as the help says.
        .quiet_parser.HelpWanted: they ask for help.
    """
    return _parser().parse_args(arguments)


def _parser() -> argparse.ArgumentParser:
    top = QuietParser(prog="p2-hook", description=texts.TOP, epilog=texts.TOP_END)
    top.add_argument("--version", action="store_true", help="show the version")
    top.add_argument("--json", action="store_true", help=argparse.SUPPRESS)
    top.add_argument("--config", metavar="FILE", type=given, help=argparse.SUPPRESS)
    commands = top.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    for name, text in texts.COMMANDS.items():
        command = commands.add_parser(
            name,
            help=text.summary,
            usage=f"p2-hook {name} {text.usage}",
            description=text.description,
            epilog=text.end,
        )
        _OPTIONS[name](command)
        add_common(command, is_configured=name not in UNCONFIGURED)
    return top


def _bin2pod_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "executable", metavar="EXECUTABLE", type=given, help="an executable file, or a directory of them"
    )
    parser.add_argument(
        "--work-dir",
        metavar="DIR",
        type=given,
        default=".",
        help="where both files go (default: the current directory)",
    )
    parser.add_argument("--id", type=given, help="the id of the hook (default: the executable's name)")
    parser.add_argument(
        "--launchable-id", metavar="ID", type=given, help="the id of its launchable (default: the hook's)"
    )
    parser.add_argument(
        "--location", metavar="URL", type=given,
        help="where hosts will fetch the artifact, {} standing for its file name (default: the file in DIR)",
    )  # fmt: skip
    parser.add_argument(
        "--env", metavar="NAME=VALUE", type=assignment, action="append", default=[],
        help="a variable for the hook's environment; can be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--config", metavar="KEY=VALUE", type=assignment, action="append", default=[], dest="entries",
        help="an entry of the hook's configuration, the value as in YAML; can be repeated",
    )  # fmt: skip
    parser.add_argument("--run-as", metavar="USER", type=given, help="the user that the manifest names")
    add_check(parser, diff=True)


def _schedule_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "manifests", metavar="MANIFEST", nargs="+", type=given, help="a pod manifest, as bin2pod makes it"
    )
    add_event(parser)
    add_upload(parser)
    add_check(parser, diff=True)
    add_store(parser)


def _unschedule_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "hooks", metavar="HOOK", nargs="+", type=given, help="the id of a hook, or the path of its manifest"
    )
    add_event(parser)
    add_check(parser, diff=True)
    add_store(parser)


def _list_options(parser: argparse.ArgumentParser) -> None:
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--scheduled", action="store_true", help="what the store schedules, and how this host differs")
    what.add_argument("--pod", metavar="POD_ID", type=given, help="what would run for this pod; needs --event")
    parser.add_argument(
        "--event", choices=EVENTS, metavar="EVENT", help=f"only the hooks of this event, {EVENT_CHOICES}"
    )
    add_node(parser)
    add_root(parser)
    add_store(parser)


def _info_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--here", action="store_true", help="look at the disk of this host, rather than at what hosts have reported"
    )
    parser.add_argument(
        "--event", choices=EVENTS, metavar="EVENT", help=f"only the hooks of this event, {EVENT_CHOICES}"
    )
    parser.add_argument("--id", metavar="ID", type=given, help="only the hooks of this id")
    parser.add_argument("--nodes", metavar="NAME,...", type=names, default=[], help="only these hosts")
    parser.add_argument(
        "--limit", metavar="N", type=count, default=DEFAULT_LIMIT,
        help="name at most N hosts for each hook, 0 for all (default: %(default)s)",
    )  # fmt: skip
    add_configured(parser, "node", "NAME", "with --here, the name of this host (default: its host name)")
    add_root(parser)
    add_store(parser)


def _install_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "hook", metavar="HOOK", nargs="?", type=given,
        help="the path of a manifest, or the id of a hook, with one of the next three options",
    )  # fmt: skip
    how = parser.add_mutually_exclusive_group()
    how.add_argument(
        "--local", dest="state", action="store_const", const="present",
        help="install the manifest HOOK, whatever the store schedules",
    )  # fmt: skip
    how.add_argument(
        "--absent", dest="state", action="store_const", const="absent", help="remove the local hook HOOK"
    )  # fmt: skip
    how.add_argument(
        "--hand-back", dest="state", action="store_const", const="handed_back",
        help="put the scheduled hook in the place of the local HOOK",
    )  # fmt: skip
    parser.add_argument(
        "--event", metavar="EVENT", choices=EVENTS, action="append", dest="events", default=[],
        help=f"only the hooks of this event, {EVENT_CHOICES}; can be repeated where no HOOK is given",
    )  # fmt: skip
    parser.add_argument(
        "--global", action="append_const", const=None, dest="events", help="the hooks that run on all events"
    )  # fmt: skip
    parser.add_argument(
        "--allow-empty", action="store_true",
        help="believe a store in which nothing is scheduled, and remove all hooks that came from it",
    )  # fmt: skip
    add_max_unpacked_size(parser)
    add_check(parser, diff=True)
    add_node(parser)
    add_root(parser)
    add_store(parser)


def _listen_options(parser: argparse.ArgumentParser) -> None:
    add_node(parser)
    add_configured(parser, "reconcile_every", "SECONDS", "compare everything after this time, though nothing changed")
    add_configured(parser, "report_every", "SECONDS", "report what ran at most this often")
    add_configured(parser, "audit_log", "FILE", "where runs are recorded, as JSON lines")
    parser.set_defaults(term_after=None, kill_after=None)  # read from the configuration, which all runs share
    add_max_unpacked_size(parser)
    add_root(parser)
    add_store(parser)


def _run_options(parser: argparse.ArgumentParser) -> None:
    texts = {
        "pod_home": ("DIR", "the home of the pod (default: the directory called like it in --pod-root)"),
        "pod_root": ("DIR", "the directory of all pod homes"),
        "pod_manifest": ("FILE", "the manifest that the event is about (default: the one in the pod's home)"),
        "node": ("NAME", "the name of this host (default: its host name)"),
        "root": ("DIR", "the root of all hooks"),
        "term_after": ("SECONDS", "when a hook is told to end"),
        "kill_after": (
            "SECONDS",
            "when a hook is killed, also from its start (default: 60, or twice --term-after if more)",
        ),
        "audit_log": ("FILE", "where each run is recorded, as JSON lines"),
        "audit_database": ("FILE", "an SQLite database that records it as well"),
    }
    parser.add_argument("event", metavar="EVENT", choices=EVENTS, help=EVENT_CHOICES)
    parser.add_argument("pod_id", metavar="POD_ID", type=given, help="the pod on whose behalf the event fires")
    for name, (metavar, text) in texts.items():
        if name in OPTIONS:
            add_configured(parser, name, metavar, text)
        else:
            parser.add_argument(option_name(name), metavar=metavar, type=given, help=text)
    parser.add_argument(
        "--required", metavar="HOOK", type=given, action="append", default=[],
        help="a hook that has to succeed, by id or by its name in exec/; can be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--fail-fast", action="store_true", help="skip all that comes after a required hook that did not succeed"
    )
    add_check(parser, diff=False)


def _rollout_options(parser: argparse.ArgumentParser) -> None:
    steps = parser.add_subparsers(dest="step", metavar="STEP", title="steps", required=True, prog="p2-hook rollout")
    for name, text in texts.ROLLOUT_STEPS.items():
        step = steps.add_parser(
            name,
            help=text.summary,
            usage=f"p2-hook rollout {name} {text.usage}",
            description=text.description,
            epilog=text.end,
        )
        if name != "show":
            step.add_argument(
                "hook",
                metavar="MANIFEST" if name == "start" else "HOOK",
                type=given,
                help="the path of the manifest to roll out"
                if name == "start"
                else "the path of the manifest that is rolled out, or the id of the hook",
            )
            add_event(step)
        if name in ("start", "widen"):
            _add_cohort(step)
        if name not in ("abort", "show"):
            _add_waiting(step)
        if name == "start":
            step.add_argument(
                "--started-by", metavar="NAME", type=given, help="who others should ask (default: this user and host)"
            )
        if name == "rollback":
            step.add_argument(
                "--manifest-sha", metavar="SHA", type=given,
                help="only where the manifest with this SHA is scheduled; 12 digits of it are enough",
            )  # fmt: skip
        if name not in ("rollback", "show"):
            add_upload(step)
        if name != "show":
            add_check(step, diff=True)
        add_store(step)
        add_common(step, is_configured=True)


def _add_cohort(parser: argparse.ArgumentParser) -> None:
    cohort = parser.add_argument_group("who takes it")
    cohort.add_argument(
        "--nodes", metavar="NAME,...", type=names, help="these hosts, by the names that they report to the store"
    )
    cohort.add_argument(
        "--percent",
        metavar="NUMBER",
        type=given,
        help="about this share of all hosts, from 0 to 100; of few it may be none or all",
    )
    limits = parser.add_argument_group("what it bears")
    limits.add_argument(
        "--failed-hosts", metavar="COUNT", type=int, help="on so many hosts it may fail, also by one run (default: 0)"
    )
    limits.add_argument("--failed-runs", metavar="COUNT", type=int, help="so many runs may fail (default: 0)")
    limits.add_argument(
        "--outcomes", metavar="OUTCOME,...", type=names,
        help=f"what counts as that, of {', '.join(COUNTABLE)} (default: all)",
    )  # fmt: skip
    limits.add_argument(
        "--watch-for", metavar="SECONDS", type=float, help="watch it so long once all have it (default: 60)"
    )
    limits.add_argument(
        "--min-runs", metavar="COUNT", type=int, help="go on waiting until it ran so often on them (default: 0)"
    )
    limits.add_argument(
        "--no-abort", dest="abort_when_broken", action="store_false",
        help="leave the rollout under way when it fails more often than it may",
    )  # fmt: skip


def _add_waiting(parser: argparse.ArgumentParser) -> None:
    waiting = parser.add_argument_group("waiting")
    waiting.add_argument("--no-wait", dest="wait", action="store_false", help="do not wait for the hosts")
    waiting.add_argument(
        "--wait-timeout", metavar="SECONDS", type=float, default=DEFAULTS["wait_timeout"],
        help="wait no longer than this (default: %(default)g)",
    )  # fmt: skip
    waiting.add_argument("--allow-away", action="store_true", help="go on without hosts that are away")


def _audit_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--hook", metavar="HOOK", type=given, help="only this hook: its name in exec/, its id, or EVENT/ID"
    )
    parser.add_argument("--hook-id", metavar="ID", type=given, help="only the hook of this id")
    parser.add_argument(
        "--pod", "--pod-id", dest="pod_id", metavar="POD_ID", type=given, help="only what ran for this pod"
    )
    parser.add_argument(
        "--event", metavar="EVENT", choices=EVENTS, help=f"only what ran on this event, {EVENT_CHOICES}"
    )
    parser.add_argument("--outcome", choices=OUTCOMES, metavar="OUTCOME", help=f"one of {', '.join(OUTCOMES)}")
    parser.add_argument("--run-id", metavar="ID", type=given, help="only what this run did")
    for option, text in (("--since", "later"), ("--until", "earlier")):
        parser.add_argument(
            option,
            metavar="WHEN",
            type=given,
            help=f"only what started then or {text}: an age such as 90m or 3d, or a time such as 2026-01-31T12:00:00Z",
        )
    parser.add_argument(
        "--limit", metavar="N", type=count, default=100, help="show at most N records, 0 for all (default: 100)"
    )
    parser.add_argument("--summary", action="store_true", help="show one line for each hook of each event instead")
    add_configured(parser, "audit_log", "FILE", "the JSON lines to read, with the files that they were rotated to")
    add_configured(parser, "audit_database", "FILE", "the SQLite database to read in place of that")


def _audit_prune_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--older-than", metavar="AGE", type=given, default=DEFAULT_RETENTION,
        help="an age such as 90m, 12h or 3d, or a time such as 2026-01-31T12:00:00Z (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--vacuum", action="store_true", help="give the room that is free in the database back to the file system"
    )
    parser.add_argument(
        "--no-rotate", dest="rotate", action="store_false",
        help="leave the log itself to logrotate, and remove only files that it was rotated to",
    )  # fmt: skip
    add_check(parser, diff=False)
    add_audit(parser)


def _audit_import_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="P2_DATABASE", type=given, help="the SQLite database of p2")
    add_configured(parser, "node", "NAME", "the host that p2 ran on (default: this host's name)")
    add_check(parser, diff=False)
    add_audit(parser)


_OPTIONS: dict[str, Callable[[argparse.ArgumentParser], None]] = {
    "bin2pod": _bin2pod_options,
    "schedule": _schedule_options,
    "unschedule": _unschedule_options,
    "list": _list_options,
    "info": _info_options,
    "install": _install_options,
    "listen": _listen_options,
    "run": _run_options,
    "rollout": _rollout_options,
    "audit": _audit_options,
    "audit-prune": _audit_prune_options,
    "audit-import": _audit_import_options,
    "compile": lambda parser: add_check(parser, diff=False),
}


#: Those whose options are in no configuration file.
UNCONFIGURED = ("bin2pod", "compile")
