# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Running hooks: firing an event for a pod."""

from __future__ import annotations

import errno
import os
import pwd
from time import gmtime, monotonic, sleep, strftime, time

from . import envdir, install_record, process_tree, vetting
from .audit import INTERRUPTED, Audit
from .errors import HookRefused, reason_of, shown
from .events import check_event
from .hooked_pod import HookedPod
from .layout import Layout, link_target
from .process import HookProcess, TimeLimits, exit_of
from .runner import DONE, run_apart

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any

    from .runner import Messages

SUCCEEDED, FAILED, TIMED_OUT, SKIPPED = "succeeded", "failed", "timed_out", "skipped"
#: How a hook that timed out came to its end, in the record that closes it.
TERMINATED, KILLED = "terminated", "killed"

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#: Seconds between two looks at hooks that were told to end.
_GRACE_STEP = 0.1


class Hook:
    """One script that an event runs."""

    def __init__(self, layout: Layout, directory: str, name: str) -> None:
        self._layout = layout
        #: The name of its link, or of the file that people put there; what is no UTF-8 in it is replaced.
        self.name = os.fsencode(name).decode("utf-8", "replace")
        self.path = os.path.join(directory, name)
        #: The base name of the directory that it runs from, which is what p2's HOOK is.
        self.stage = os.path.basename(directory)
        self.pod_home = self.id = self.launchable = None
        target = link_target(self.path)
        owner = layout.hook_of(target) if target else None
        if owner:
            self.pod_home = layout.pod_home(owner[0])
            #: The pod id of the hook; None for a script that people put there.
            self.id = owner[0][-1]
            self.launchable = owner[1]
        self.executable = self.path
        #: The variables that the hook's own pod and launchable define.
        self.variables: dict[str, str] = {}

    def obstacle(self) -> str | None:
        """Look whether this hook may and can be run; return why not, None if nothing speaks against it.

        What is to be executed after that is ``executable``, in which every link has been followed, with ``variables``.
        """
        env_dirs = (f"{self.pod_home}/env", f"{self.pod_home}/{self.launchable}/env") if self.pod_home else ()
        try:
            self.executable = vetting.vet(self._layout, self.path, env_dirs)
            self.variables = {}
            for directory in env_dirs:
                self.variables.update(envdir.read(directory, vetting.check))
        except HookRefused as refusal:
            return str(refusal)
        except OSError as error:
            return f"{error.filename}: {reason_of(error)}; install the hook again"
        return None

    def versions(self) -> tuple[str | None, str | None]:
        """Return the SHA of the hook's manifest and the version of its artifact, as far as they are known."""
        try:
            record = install_record.read(self.pod_home) if self.pod_home else None
        except OSError:
            record = None
        if record is None:
            return None, None
        return record.manifest_sha, record.versions.get(self.launchable or "") or None


def hooks_of(layout: Layout, event: str) -> list[Hook]:
    """Return what ``event`` runs, in order of name: the global scripts and those of the event; none if not set up.

    A global script comes before one of the same name for the event.

    Raises:
        ManifestError: there is no such event.
        OSError: a directory of hooks cannot be read.
    """
    check_event(event)
    hooks = []
    for directory in (layout.exec_dir(None), layout.exec_dir(event)):
        try:
            names = os.listdir(directory)
        except FileNotFoundError:
            continue
        hooks += [
            Hook(layout, directory, name)
            for name in names
            if not name.startswith(".") and not os.path.isdir(os.path.join(directory, name))
        ]
    return sorted(hooks, key=lambda hook: hook.name)


class RunReport:
    """What a run did."""

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        #: One record a hook, as in the audit; see docs/audit.md.
        self.hooks: list[dict[str, Any]] = []
        self.warnings: list[str] = []
        #: One sentence for each required hook that did not succeed.
        self.required_failures: list[str] = []


def would_run(layout: Layout, event: str) -> list[dict[str, Any]]:
    """Return what a run of ``event`` would do: for each hook what its record begins with, and its path.

    The outcome is ``skipped`` with the reason, or ``succeeded``, as far as that can be told.
    """
    found = []
    for hook in hooks_of(layout, event):
        reason = hook.obstacle()
        outcome = SKIPPED if reason else SUCCEEDED
        found.append({"hook": hook.name, "hook_id": hook.id, "path": hook.path, "outcome": outcome, "reason": reason})
    return found


def run(
    layout: Layout,
    event: str,
    pod: HookedPod,
    audit: Audit,
    *,
    node: str,
    required: Sequence[str] = (),
    limits: TimeLimits | None = None,
    spawn: Callable[[str, dict[str, str]], HookProcess] = HookProcess,
) -> RunReport:
    """Run the hooks of ``event`` for ``pod``, one after the other, and record each in ``audit``.

    Whatever a hook does, the others run, and this returns: when the first of ``limits`` is over, everything that the
    hook started is told to end, and the run goes on; at the second what is left of it is killed, even if the run, or
    whoever asked for it, is over by then.

    Args:
        node: the name of this host.
        required: names of links or ids of hooks that have to succeed; what becomes of them is in the report.
        spawn: starts a hook's path in an environment.

    Raises:
        ManifestError: there is no such event.
        OSError: a directory of hooks cannot be read.
    """
    report = RunReport(os.urandom(8).hex())
    hooks = hooks_of(layout, event)
    with pod:
        one_run = _Run(event, pod, audit, node, limits or TimeLimits(), spawn, report.run_id)
        try:
            messages = run_apart(lambda messages: one_run.run(hooks, messages)) if hooks else [DONE]
        except OSError as error:
            messages = one_run.skip(hooks, f"could not be started: {reason_of(error)}; see what uses this host up")
        if pod.warning:
            report.warnings.append(pod.warning)
    running = None
    for kind, value in messages:
        if kind == "started":
            running = value
        elif kind == "record":
            report.hooks.append(value)
            running = None
        elif kind == "warnings":
            report.warnings += value
    if messages[-1:] != [DONE]:
        report.warnings += ["the process that runs hooks was killed; what had not run by then did not run"]
        report.warnings += audit.close_dead_runs()
        if running:
            report.hooks.append({**running, "outcome": INTERRUPTED, "reason": "the process that ran it was killed"})
    report.required_failures = list(required_failures(report.hooks, required))
    return report


class _Run:
    """The run of one event, in a process of its own."""

    def __init__(
        self,
        event: str,
        pod: HookedPod,
        audit: Audit,
        node: str,
        limits: TimeLimits,
        spawn: Callable[[str, dict[str, str]], HookProcess],
        run_id: str,
    ) -> None:
        self._event = event
        self._pod = pod
        self._audit = audit
        self._node = node
        self._limits = limits
        self._spawn = spawn
        self._run_id = run_id
        self._common_variables = {"PATH": _PATH, "HOME": _home(), "LANG": "C.UTF-8"}
        self._run_variables = {"HOOK_EVENT": event, "HOOKED_NODE": node, **pod.variables}
        #: What hooks left behind that ended in time: their daemons, which are left alone.
        self._spared: set[int] = set()

    def run(self, hooks: Sequence[Hook], messages: Messages) -> None:
        """Run ``hooks``, telling of each in ``messages``."""
        self._messages = messages
        self._warn(self._audit.begin(self._run_id))
        for hook in hooks:
            self._run_hook(hook)
        self._warn(self._audit.end())

    def skip(self, hooks: Sequence[Hook], reason: str) -> list[tuple[str, Any]]:
        """Record that ``hooks`` could not be run; return what :meth:`run` would have told."""
        messages: list[tuple[str, Any]] = []
        for hook in hooks:
            record = {**self._new_record(hook), "reason": reason}
            messages += [("warnings", self._audit.write(record)), ("record", record)]
        return [*messages, ("warnings", self._audit.end()), DONE]

    def _new_record(self, hook: Hook) -> dict[str, Any]:
        manifest_sha, version = hook.versions()
        return {
            "run_id": self._run_id,
            "host": self._node,
            "event": self._event,
            "hook": hook.name,
            "hook_id": hook.id,
            "manifest_sha": manifest_sha,
            "artifact_version": version,
            "pod_id": self._pod.id,
            "pod_unique_key": self._pod.unique_key,
            "outcome": SKIPPED,
            "reason": None,
            "exit_code": None,
            "signal": None,
            "start": _timestamp(time()),
            "duration": 0.0,
            "output": "",
            "output_truncated": False,
            "output_held_open": False,
        }

    def _run_hook(self, hook: Hook) -> None:
        record = self._new_record(hook)
        record["reason"] = hook.obstacle()
        overdue = self._execute(hook, record) if record["reason"] is None else None
        self._warn(self._audit.write(record))
        self._messages.send("record", record)
        if overdue:
            self._go_on_without(overdue, record)

    def _warn(self, warnings: list[str]) -> None:
        if warnings:
            self._messages.send("warnings", warnings)

    def _execute(self, hook: Hook, record: dict[str, Any]) -> HookProcess | None:
        """Run ``hook`` and complete its ``record``; return its process if it did not end in time."""
        environment = {**self._common_variables, **hook.variables, "HOOK": hook.stage, **self._run_variables}
        self._warn(self._audit.mark(record))
        self._messages.send("started", record)
        try:
            process = self._spawn(hook.executable, environment)
        except (OSError, ValueError) as error:  # ValueError: a name or value that no environment can hold
            record["reason"] = _refusal(error, hook.path)
            return None
        ended = process.wait(process.started + self._limits.term_after)
        record["duration"] = round((process.ended or monotonic()) - process.started, 4)
        record["output"], record["output_truncated"] = process.output
        record["output_held_open"] = process.output_held_open
        if not ended:
            record["outcome"] = TIMED_OUT
            record["reason"] = f"still running after {self._limits.term_after:g} s, so it was sent SIGTERM"
            return process
        record["exit_code"], record["signal"] = exit_of(process.status)
        record["outcome"] = FAILED if process.status else SUCCEEDED
        process.close()
        self._spare(process_tree.children())
        return None

    def _spare(self, pids: set[int]) -> None:
        if pids != self._spared:
            self._spared = pids
            self._messages.send("spared", list(pids))

    def _go_on_without(self, process: HookProcess, record: dict[str, Any]) -> None:
        """Divide in two: a child, in which this returns, goes on with the run, and this process sees to the hook's end.

        That way whatever has no parent any more comes to the process that knows which hook it belongs to.
        """
        process_tree.terminate(self._spared)
        self._warn(self._audit.before_fork())
        try:
            successor = os.fork()
        except OSError:  # the system has no process left, so the run has to wait
            self._end(process, record, self._audit, self._spared)
            return
        if successor == 0:
            process_tree.become_subreaper()
            self._spared = set()
            process.close()
            return
        try:
            self._messages.close()
            audit = self._audit.in_child()
            self._end(process, record, audit, self._spared | {successor})
            audit.end()
            os.waitpid(successor, 0)  # or it would become a child of the caller, which knows nothing of it
        finally:
            os._exit(0)

    def _end(self, process: HookProcess, record: dict[str, Any], audit: Audit, spared: set[int]) -> None:
        """Wait for everything that an overdue hook started to end, kill it when it is time, and close the record."""
        deadline = process.started + self._limits.kill_after
        outcome = TERMINATED
        while not process_tree.is_empty(spared):
            if monotonic() >= deadline:
                process_tree.kill(spared)
                outcome = KILLED
                break
            step = min(deadline, monotonic() + _GRACE_STEP)
            if process.wait(step):  # what it left behind is not worth a busy loop
                sleep(max(0.0, step - monotonic()))
        process.wait(monotonic())
        output, truncated = process.output
        exit_code, signal = exit_of(process.status)
        ending = {
            "outcome": outcome,
            "reason": None,
            "exit_code": exit_code,
            "signal": signal,
            "duration": round(monotonic() - process.started, 4),
            "output": output,
            "output_truncated": truncated,
        }
        audit.write({**record, **ending})
        process.close()


def required_failures(records: list[dict[str, Any]], required: Sequence[str]) -> Iterator[str]:
    """Yield a sentence for each hook of ``required`` that is not among ``records``, or did not succeed by them."""
    for name in required:
        matching = [record for record in records if name in (record["hook"], record["hook_id"])]
        if not matching:
            yield f"required hook {shown(name)} is missing: install it, or take it out of required"
        for record in matching:
            if record["outcome"] != SUCCEEDED:
                yield f"required hook {shown(record['hook'])} {describe(record)}"


def describe(record: dict[str, Any]) -> str:
    """Return what became of a hook in words, such as ``failed with exit code 3``."""
    if record["outcome"] == FAILED:
        return f"failed with {record['signal'] or 'exit code ' + str(record['exit_code'])}"
    if record["outcome"] == TIMED_OUT:
        return f"timed out: {record['reason']}"
    if record["outcome"] == SKIPPED:
        return f"was skipped: {record['reason']}"
    return str(record["outcome"])


def _home() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_dir
    except KeyError:  # containers run as users that no file knows
        return "/"


def _refusal(error: OSError | ValueError, path: str) -> str:
    """Return why the system would not execute a file that is there and executable."""
    if not isinstance(error, OSError):
        return f"cannot be executed: {error}"
    if error.errno == errno.ENOEXEC:
        return "cannot be executed; a script needs a first line such as #!/bin/sh"
    if error.errno == errno.ENOENT and os.path.exists(path):
        return "cannot be executed: the interpreter named in its first line does not exist"
    return f"cannot be executed: {reason_of(error)}"


def _timestamp(seconds: float) -> str:
    """Return seconds since the epoch as ISO 8601 in UTC, with milliseconds."""
    return f"{strftime('%Y-%m-%dT%H:%M:%S', gmtime(seconds))}.{int(seconds % 1 * 1000):03d}Z"
