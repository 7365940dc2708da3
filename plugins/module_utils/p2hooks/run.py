# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Running hooks: firing an event for a pod."""

from __future__ import annotations

import errno
import os
import pwd
from collections.abc import Callable, Iterator, Sequence
from time import gmtime, monotonic, sleep, strftime, time
from typing import Any

from . import envdir, install_record, vetting
from .audit import Audit
from .errors import HookRefused, reason_of, shown
from .events import check_event
from .hooked_pod import HookedPod
from .layout import Layout, link_target
from .process import HookProcess, Surroundings, TimeLimits, detach, exit_of, fork_supervisor, reap_left_behind

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

    Whatever a hook does, the others run, and this returns: a hook is told to end when the first of ``limits`` is
    over, and the run goes on; at the second it is killed, by a process that stays behind where the run is over by then.

    Args:
        node: the name of this host.
        required: names of links or ids of hooks that have to succeed; what becomes of them is in the report.
        spawn: starts a hook's path in an environment.

    Raises:
        ManifestError: there is no such event.
        OSError: a directory of hooks cannot be read.
    """
    reap_left_behind()
    report = RunReport(os.urandom(8).hex())
    with Surroundings(), pod:
        if pod.warning:
            report.warnings.append(pod.warning)
        one_run = _Run(event, pod, audit, node, limits or TimeLimits(), spawn, report)
        hooks = hooks_of(layout, event)
        report.warnings += audit.begin(report.run_id)
        for hook in hooks:
            one_run.run_hook(hook)
        one_run.finish()
        report.warnings += audit.end()
    report.required_failures = list(required_failures(report.hooks, required))
    return report


class _Run:
    def __init__(
        self,
        event: str,
        pod: HookedPod,
        audit: Audit,
        node: str,
        limits: TimeLimits,
        spawn: Callable[[str, dict[str, str]], HookProcess],
        report: RunReport,
    ) -> None:
        self._event = event
        self._pod = pod
        self._audit = audit
        self._node = node
        self._limits = limits
        self._spawn = spawn
        self._report = report
        self._common_variables = {"PATH": _PATH, "HOME": _home(), "LANG": "C.UTF-8"}
        self._run_variables = {"HOOK_EVENT": event, "HOOKED_NODE": node, **pod.variables}
        #: Hooks that were told to end, with their records; they may take until ``kill_after``.
        self._overdue: list[tuple[HookProcess, dict[str, Any]]] = []

    def run_hook(self, hook: Hook) -> None:
        self._tend_overdue()
        manifest_sha, version = hook.versions()
        record: dict[str, Any] = {
            "run_id": self._report.run_id,
            "host": self._node,
            "event": self._event,
            "hook": hook.name,
            "hook_id": hook.id,
            "manifest_sha": manifest_sha,
            "artifact_version": version,
            "pod_id": self._pod.id,
            "pod_unique_key": self._pod.unique_key,
            "outcome": SKIPPED,
            "reason": hook.obstacle(),
            "exit_code": None,
            "signal": None,
            "start": _timestamp(time()),
            "duration": 0.0,
            "output": "",
            "output_truncated": False,
            "output_held_open": False,
        }
        if record["reason"] is None:
            self._execute(hook, record)
        self._report.hooks.append(record)
        self._write(record)

    def _write(self, record: dict[str, Any]) -> None:
        self._report.warnings += self._audit.write(record)

    def _execute(self, hook: Hook, record: dict[str, Any]) -> None:
        environment = {**self._common_variables, **hook.variables, "HOOK": hook.stage, **self._run_variables}
        self._report.warnings += self._audit.mark(record)
        try:
            process = self._spawn(hook.executable, environment)
        except (OSError, ValueError) as error:  # ValueError: a name or value that no environment can hold
            record["reason"] = _refusal(error, hook.path)
            return
        ended = self._wait(process)
        record["duration"] = round((process.ended or monotonic()) - process.started, 4)
        record["output"], record["output_truncated"] = process.output
        record["output_held_open"] = process.output_held_open
        if ended:
            record["exit_code"], record["signal"] = exit_of(process.status)
            record["outcome"] = FAILED if process.status else SUCCEEDED
            process.close()
        else:
            process.terminate()
            record["outcome"] = TIMED_OUT
            record["reason"] = f"still running after {self._limits.term_after:g} s, so it was sent SIGTERM"
            self._overdue.append((process, record))

    def _wait(self, process: HookProcess) -> bool:
        deadline = process.started + self._limits.term_after
        while not process.wait(min(deadline, monotonic() + _GRACE_STEP) if self._overdue else deadline):
            self._tend_overdue()
            if monotonic() >= deadline:
                return False
        return True

    def _tend_overdue(self) -> None:
        """Close the books on overdue hooks that have ended, and kill those whose last moment has come."""
        self._overdue = [(process, record) for process, record in self._overdue if not self._is_over(process, record)]

    def _is_over(self, process: HookProcess, record: dict[str, Any]) -> bool:
        alive = process.is_alive()
        process.drain()  # after that look, so that last words are not lost
        if alive and monotonic() < process.started + self._limits.kill_after:
            return False
        process.kill()  # in any case, since what forks and ends, again and again, does not look alive
        ending = {
            "outcome": KILLED if alive else TERMINATED,
            "reason": None,
            "duration": round(monotonic() - process.started, 4),
        }
        output, truncated = process.output
        process.close()
        self._write({**record, **ending, "output": output, "output_truncated": truncated})
        return True

    def finish(self) -> None:
        """Leave the hooks that are overdue to a process that outlives this one, if there are any."""
        self._tend_overdue()
        if not self._overdue:
            return
        self._report.warnings += self._audit.before_fork()
        try:
            is_supervisor = fork_supervisor() == 0
        except OSError:  # the system has no process left, so this one has to stay
            self._await_overdue()
            return
        if not is_supervisor:
            for process, dummy in self._overdue:
                process.close()
            return
        try:
            detach(keep={descriptor for process, dummy in self._overdue for descriptor in process.descriptors})
            self._audit = self._audit.in_child()
            self._await_overdue()
            self._audit.end()
        finally:
            os._exit(0)

    def _await_overdue(self) -> None:
        while self._overdue:
            sleep(_GRACE_STEP)
            self._tend_overdue()


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
