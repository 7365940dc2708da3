# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Running hooks: firing an event for a pod."""

from __future__ import annotations

import os
import pwd
from time import gmtime, monotonic, sleep, strftime, time

from . import process_tree
from .audit import Audit
from .errors import reason_of, shown
from .event_hooks import Hook, hooks_of, missing_root
from .hooked_pod import HookedPod, ManifestFile
from .layout import Layout
from .outcomes import FAILED, KILLED, SKIPPED, SUCCEEDED, TERMINATED, TIMED_OUT
from .process import HookProcess, exit_of
from .process_tree import Spared
from .runner import run_apart
from .time_limits import TimeLimits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any

    from .runner import Caller

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#: Seconds between two looks at hooks that were told to end.
_GRACE_STEP = 0.1


class RunReport:
    """What a run did."""

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        #: One record a hook, as in the audit; see docs/audit.md.
        self.hooks: list[dict[str, Any]] = []
        self.warnings: list[str] = []
        #: One sentence for each required hook that did not succeed.
        self.required_failures: list[str] = []


def run(
    layout: Layout,
    event: str,
    pod: HookedPod,
    audit: Audit,
    *,
    node: str,
    required: Sequence[str] = (),
    fail_fast: bool = False,
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
        fail_fast: skip all that comes after the first required hook that did not succeed, everything if one is missing.
        limits: of hooks whose manifest sets none.
        spawn: starts a hook's path in an environment.

    Raises:
        ManifestError: there is no such event.
        OSError: a directory of hooks cannot be read.
    """
    report = RunReport(os.urandom(8).hex())
    hooks = hooks_of(layout, event)
    if not hooks:
        missing = missing_root(layout)
        report.warnings += [missing] if missing else []
        report.warnings += audit.close_dead_runs(end_what_is_left)
    manifest = ManifestFile(pod, report.run_id)
    one_run = _Run(
        report.run_id, event, pod, manifest, audit, node, limits or TimeLimits(), required if fail_fast else (), spawn
    )
    try:
        told = (
            run_apart(lambda caller: one_run.run(hooks, caller), manifest.remove, report.warnings.append)
            if hooks
            else ([], [])
        )
    except OSError as error:
        told = one_run.skip(hooks, f"could not be started: {reason_of(error)}; see what uses this host up")
    if told is None:
        report.warnings.append("the process that runs hooks was killed; what had not run by then did not run")
        report.warnings += audit.close_dead_runs(end_what_is_left)
        report.hooks = audit.records_of(report.run_id)
    else:
        report.hooks, warnings = told
        report.warnings += warnings
    if fail_fast and not required:
        report.warnings.append(
            "fail_fast does nothing without required; name the hooks that have to succeed, or leave it out"
        )
    report.required_failures = list(required_failures(report.hooks, required))
    return report


def end_what_is_left(record: dict[str, Any], stage: str) -> None:
    """Kill what is left of the hook of ``record`` and ``stage``, whose run has died, and so cannot do it.

    Only those can be found by now whose environment still says which hook started them.
    """
    process_tree.kill_marked(_mark_of(record, stage))


def _mark_of(record: dict[str, Any], stage: str) -> dict[str, str]:
    """Return the variables by which whatever a hook starts is known; of one name, there may be two in a run."""
    return {"HOOK_RUN_ID": record["run_id"], "HOOK": stage, "HOOK_NAME": record["hook"]}


class _Run:
    """The run of one event, in a process of its own."""

    def __init__(
        self,
        run_id: str,
        event: str,
        pod: HookedPod,
        manifest: ManifestFile,
        audit: Audit,
        node: str,
        limits: TimeLimits,
        needed: Sequence[str],
        spawn: Callable[[str, dict[str, str]], HookProcess],
    ) -> None:
        self._hooks: list[dict[str, Any]] = []
        self._warnings: list[str] = []
        self._manifest = manifest
        self._audit = audit
        self._limits = limits
        #: The hooks without which the run does not go on.
        self._needed = needed
        self._spawn = spawn
        self._common_variables = {"PATH": _PATH, "HOME": _home(), "LANG": "C.UTF-8"}
        self._run_variables = {
            "HOOK_RUN_ID": run_id,
            "HOOK_EVENT": event,
            "HOOKED_NODE": node,
            **pod.variables,
        }
        self._common_fields = {
            "run_id": run_id,
            "host": node,
            "event": event,
            "pod_id": pod.id,
            "pod_unique_key": pod.unique_key,
        }
        #: What hooks left behind that ended in time: their daemons, which are left alone.
        self._spared = Spared()

    def run(self, hooks: Sequence[Hook], caller: Caller) -> tuple[list[dict[str, Any]], list[str]]:
        """Run ``hooks``, and return the records, and the warnings."""
        self._caller = caller
        self._warnings += self._manifest.write()
        self._run_variables["HOOKED_POD_MANIFEST"] = self._manifest.path or ""
        self._warnings += self._audit.begin(self._common_fields["run_id"], end_what_is_left)
        present = {name for hook in hooks for name in (hook.name, hook.id)}
        obstacle = next((_missing(name) for name in self._needed if name not in present), None)
        for hook in hooks:
            if obstacle is not None:
                self._skip(hook, f"not run, since the run stopped: {obstacle}")
                continue
            record = self._run_hook(hook)
            if record["outcome"] != SUCCEEDED and (hook.name in self._needed or hook.id in self._needed):
                obstacle = _failure(record)
        self._warnings += self._audit.end()
        return self._hooks, self._warnings

    def skip(self, hooks: Sequence[Hook], reason: str) -> tuple[list[dict[str, Any]], list[str]]:
        """Record that none of ``hooks`` could be run; return what :meth:`run` does."""
        for hook in hooks:
            self._skip(hook, reason)
        self._warnings += self._audit.end()
        return self._hooks, self._warnings

    def _skip(self, hook: Hook, reason: str) -> None:
        record = self._new_record(hook)
        record["reason"] = reason
        self._note(record)

    def _note(self, record: dict[str, Any]) -> None:
        self._warnings += self._audit.write(record)
        self._hooks.append(record)

    def _new_record(self, hook: Hook) -> dict[str, Any]:
        return {
            **self._common_fields,
            "hook": hook.name,
            "hook_id": hook.id,
            "manifest_sha": hook.manifest_sha,
            "artifact_version": hook.artifact_version,
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

    def _run_hook(self, hook: Hook) -> dict[str, Any]:
        obstacle = hook.obstacle()
        record = self._new_record(hook)
        record["reason"] = obstacle
        overdue = self._execute(hook, record) if obstacle is None else None
        self._note(record)
        if overdue:
            self._go_on_without(overdue, hook, record)
        return record

    def _execute(self, hook: Hook, record: dict[str, Any]) -> HookProcess | None:
        """Run ``hook`` and complete its ``record``; return its process if it did not end in time."""
        environment = {
            **self._common_variables,
            **hook.variables,
            "HOOK": hook.stage,
            "HOOK_NAME": hook.name,
            **self._run_variables,
        }
        self._warnings += self._audit.mark(record, hook.stage)
        try:
            process = self._spawn(hook.executable, environment)
        except (OSError, ValueError) as error:  # ValueError: a name or value that no environment can hold
            record["reason"] = _refusal(error, hook.path)
            return None
        term_after = hook.limits(self._limits).term_after
        ended = process.wait(process.started + term_after)
        record["duration"] = round((process.ended or monotonic()) - process.started, 4)
        record["output"], record["output_truncated"] = process.output
        record["output_held_open"] = process.output_held_open
        if not ended:
            record["outcome"] = TIMED_OUT
            record["reason"] = f"still running after {term_after:g} s, so it was sent SIGTERM"
            return process
        record["exit_code"], record["signal"] = exit_of(process.status)
        record["outcome"] = FAILED if process.status else SUCCEEDED
        process.close()
        self._spare(hook, record)
        return None

    def _spare(self, hook: Hook, record: dict[str, Any]) -> None:
        """Note which children we have now, after ``hook``: they were left behind in time."""
        pids = process_tree.children() if process_tree.has_children() else set()
        if pids != self._spared.pids:
            mark = process_tree.mark(_mark_of(record, hook.stage))
            self._spared = Spared(pids, {*self._spared.marks, mark})
            self._caller.spare(self._spared)

    def _go_on_without(self, process: HookProcess, hook: Hook, record: dict[str, Any]) -> None:
        """Divide in two: a child, in which this returns, goes on with the run, and this process sees to the hook's end.

        That way whatever has no parent any more comes to the process that knows which hook it belongs to.
        """
        process_tree.terminate(self._spared)
        deadline = process.started + hook.limits(self._limits).kill_after
        self._warnings += self._audit.before_fork()
        audit = self._audit.apart(record, hook.stage)
        read_end, write_end = os.pipe()
        try:
            successor = os.fork()
        except OSError:  # the system has no process left, so the run has to wait
            os.close(read_end)
            os.close(write_end)
            self._warnings += self._end(process, deadline, record, audit, self._spared)
            return
        if successor == 0:
            process_tree.become_subreaper()
            audit.leave()
            self._spared = Spared()
            process.close()
            # If we ended first, daemons that are left alone would come to a process that takes them for this hook's.
            os.close(write_end)
            self._caller.stay_for(read_end)
            return
        os.close(read_end)
        self._spared.pids.add(successor)
        try:
            self._caller.leave()
            self._audit.leave()
            self._end(process, deadline, record, audit, self._spared)
            os.close(write_end)
            os.waitpid(successor, 0)  # or it would become a child of the caller, which knows nothing of it
            self._caller.stay()
        except BaseException:
            process_tree.kill(self._spared)
            raise
        finally:
            os._exit(0)

    def _end(
        self, process: HookProcess, deadline: float, record: dict[str, Any], audit: Audit, spared: Spared
    ) -> list[str]:
        """Wait for everything that an overdue hook started to end, kill it when it is time, and close the record.

        Returns:
            Warnings.
        """
        outcome, reason = TERMINATED, None
        while not process_tree.is_empty(spared):
            if monotonic() >= deadline:
                outcome = KILLED
                if not process_tree.kill(spared):
                    reason = (
                        "some of what it started goes on; it waits in the kernel, or starts itself anew faster than it "
                        "can be found: look for it with ps"
                    )
                break
            step = min(deadline, monotonic() + _GRACE_STEP)
            if process.wait(step):  # what it left behind is not worth a busy loop
                sleep(max(0.0, step - monotonic()))
        process.wait(monotonic())
        output, truncated = process.output
        exit_code, signal = exit_of(process.status)
        ending = {
            "outcome": outcome,
            "reason": reason,
            "exit_code": exit_code,
            "signal": signal,
            "duration": round(monotonic() - process.started, 4),
            "output": output,
            "output_truncated": truncated,
        }
        process.close()
        warnings = audit.write({**record, **ending})
        if warnings:
            audit.leave()  # the mark stays behind, so that the next run closes the record
        return warnings + audit.end()


def required_failures(records: list[dict[str, Any]], required: Sequence[str]) -> Iterator[str]:
    """Yield a sentence for each hook of ``required`` that is not among ``records``, or did not succeed by them."""
    for name in required:
        matching = [record for record in records if name in (record["hook"], record["hook_id"])]
        if not matching:
            yield _missing(name)
        for record in matching:
            if record["outcome"] != SUCCEEDED:
                yield _failure(record)


def _missing(name: str) -> str:
    return f"required hook {shown(name)} is missing: install it, or take it out of required"


def _failure(record: dict[str, Any]) -> str:
    return f"required hook {shown(record['hook'])} {describe(record)}"


def describe(record: dict[str, Any]) -> str:
    """Return what became of a hook in words, such as ``failed with exit code 3``."""
    if record["outcome"] == FAILED and record["exit_code"] is record["signal"] is None:
        return "failed"  # all that p2 recorded
    if record["outcome"] == FAILED:
        return f"failed with {record['signal'] or 'exit code ' + str(record['exit_code'])}"
    if record["outcome"] == TIMED_OUT:
        return f"timed out: {record['reason']}"
    if record["outcome"] == SKIPPED:
        return f"was skipped: {record['reason']}"
    if record["outcome"] == KILLED and record["reason"]:
        return f"killed: {record['reason']}"
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
    import errno  # not on the way of running hooks

    if error.errno == errno.ENOEXEC:
        return "cannot be executed; a script needs a first line such as #!/bin/sh"
    if error.errno == errno.ENOENT and os.path.exists(path):
        return "cannot be executed: the interpreter named in its first line does not exist"
    return f"cannot be executed: {reason_of(error)}"


def _timestamp(seconds: float) -> str:
    """Return seconds since the epoch as ISO 8601 in UTC, with milliseconds."""
    return f"{strftime('%Y-%m-%dT%H:%M:%S', gmtime(seconds))}.{int(seconds % 1 * 1000):03d}Z"
