# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``p2-hook run``: from the command line to the first hook with as few imports as possible.

argparse alone costs as much as starting the interpreter does. So the documented options are read here; whatever else
there is, such as ``--help`` or a mistake, is left to :mod:`.cli`, which reads the same options in the same way.
"""

from __future__ import annotations

import os

from . import configuration
from .audit import Audit
from .console import REQUIRED_FAILED, Answer, conclude, printable
from .errors import HookError, reason_of
from .event_hooks import missing_root, would_run
from .events import EVENTS
from .hooked_pod import HookedPod
from .layout import Layout
from .outcomes import SKIPPED, SUCCEEDED
from .run import describe, required_failures, run
from .time_limits import TimeLimits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: Options that take a value; ``required`` takes one each time. The kind of a value is in :data:`configuration.OPTIONS`.
VALUES = (
    "config",
    "pod_home",
    "pod_root",
    "pod_manifest",
    "node",
    "root",
    "required",
    "term_after",
    "kill_after",
    "audit_log",
    "audit_database",
)
#: Options that take none.
FLAGS = ("fail_fast", "check", "json")

#: So many of the last lines that a hook wrote are shown to people when it did not succeed, and so much of each of them.
_SHOWN_LINES = 10
_SHOWN_CHARACTERS = 300


def main(arguments: list[str]) -> int:
    """Do what the ``arguments`` after ``run`` say, and return the exit code."""
    options = parse(arguments)
    if options is None:
        from . import cli

        return cli.main(["run", *arguments])
    return conclude(
        lambda: configuration.configured(options["config"], options, lambda: answer(options)), as_json=options["json"]
    )


def parse(arguments: list[str]) -> dict[str, Any] | None:
    """Return all options by name, with ``event`` and ``pod_id``; None where argparse has to look at them."""
    options: dict[str, Any] = {**dict.fromkeys(VALUES), **dict.fromkeys(FLAGS, False), "required": []}
    positionals = []
    rest = iter(arguments)
    for argument in rest:
        if not argument.startswith("-"):
            positionals.append(argument)
            continue
        option, has_value, value = argument.partition("=")
        name = option[2:].replace("-", "_")
        if "_" in option or not option.startswith("--"):
            return None
        if name in FLAGS and not has_value:
            options[name] = True
            continue
        if name not in VALUES:
            return None
        if not has_value:
            value = next(rest, "")
            if value.startswith("-"):
                return None
        if not value:
            return None
        if name == "required":
            options[name].append(value)
        elif name in configuration.OPTIONS and configuration.OPTIONS[name][0] == "float":
            try:
                options[name] = float(value)
            except ValueError:
                return None
        else:
            options[name] = value
    if len(positionals) != 2 or positionals[0] not in EVENTS or not positionals[1]:
        return None
    options["event"], options["pod_id"] = positionals
    return options


def answer(options: dict[str, Any]) -> Answer:
    """Run the hooks that ``options`` ask for, or say which would be run; they have no gaps, see :mod:`.configuration`.

    Raises:
        HookError: an option is unusable.
        OSError: a directory of hooks cannot be read.
    """
    layout = Layout(options["root"])
    limits = TimeLimits(options["term_after"], options["kill_after"])
    pod = HookedPod(
        options["pod_id"],
        home=options["pod_home"],
        pod_root=options["pod_root"],
        manifest=_content(options["pod_manifest"]),
    )
    if options["check"]:
        hooks = would_run(layout, options["event"])
        lines = [
            f"would run   {printable(hook['hook'])}"
            if hook["reason"] is None
            else f"would skip  {printable(hook['hook'])}: {printable(hook['reason'])}"
            for hook in hooks
        ]
        failures = list(required_failures(hooks, options["required"]))
        missing = None if hooks else missing_root(layout)
        return Answer(
            {"hooks": hooks, "required_failures": failures},
            lines or [nothing_runs(layout, options["event"])],
            code=REQUIRED_FAILED if failures else 0,
            errors=failures,
            warnings=[missing] if missing else [],
        )
    report = run(
        layout,
        options["event"],
        pod,
        Audit(options["audit_log"], options["audit_database"]),
        node=options["node"] or os.uname().nodename,
        required=options["required"],
        fail_fast=options["fail_fast"],
        limits=limits,
    )
    data = {
        "run_id": report.run_id,
        "hooks": report.hooks,
        "required_failures": report.required_failures,
        "warnings": report.warnings,
    }
    lines = [line for record in report.hooks for line in _lines(record)]
    return Answer(
        data,
        [*lines, _summary(report.hooks)] if lines else [nothing_runs(layout, options["event"])],
        code=REQUIRED_FAILED if report.required_failures else 0,
        errors=report.required_failures,
        warnings=report.warnings,
    )


def _lines(record: dict[str, Any]) -> list[str]:
    """Return what people want to know of a hook that ran: more where it did not succeed."""
    name = printable(record["hook"])
    if record["outcome"] == SUCCEEDED:
        return [f"{name} succeeded in {record['duration']:.3f} s"]
    return [f"{name} {printable(describe(record))}", *output_of(record)]


def output_of(record: dict[str, Any]) -> list[str]:
    """Return the last lines that the hook of ``record`` wrote, harmless to a terminal; none where it succeeded."""
    if record["outcome"] == SUCCEEDED:
        return []
    return ["    " + _beginning(line) for line in str(record.get("output") or "").splitlines()[-_SHOWN_LINES:]]


def _beginning(line: str) -> str:
    more = len(line) - _SHOWN_CHARACTERS
    return printable(line) if more <= 0 else f"{printable(line[:_SHOWN_CHARACTERS])} ... and {more} more characters"


def _summary(records: list[dict[str, Any]]) -> str:
    """Return how many hooks ran, and what became of them, in the order in which that occurred first."""
    counts: dict[str, int] = {}
    for record in records:
        counts[record["outcome"]] = counts.get(record["outcome"], 0) + 1
    ran = len(records) - counts.get(SKIPPED, 0)
    of_all = "" if ran == len(records) else f" of {len(records)}"
    noun = "hook" if len(records) == 1 else "hooks"
    outcomes = ", ".join(f"{count} {outcome.replace('_', ' ')}" for outcome, count in counts.items())
    return f"ran {ran}{of_all} {noun}: {outcomes}"


def nothing_runs(layout: Layout, event: str) -> str:
    """Return what people are told where no hook runs on ``event``."""
    why = "" if os.path.isdir(layout.root) else f": there is no {printable(layout.root)}"
    return f"no hook runs on {event} here{why}"


def _content(path: str | None) -> bytes | None:
    """Return the pod manifest in the file ``path``.

    Raises:
        HookError: it cannot be read.
    """
    if path is None:
        return None
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise HookError(
            f"{path}: {reason_of(error)}; give the file with the pod's manifest, or leave pod-manifest out"
        ) from None
