# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an event runs on this host: the scripts and links below ``exec/``."""

from __future__ import annotations

import os

from . import envdir, install_record, vetting
from .errors import HookRefused, reason_of
from .events import check_event
from .files import read_own_file
from .install_record import InstallRecord
from .layout import DEFAULT_ROOT, Layout, link_target
from .outcomes import SKIPPED, SUCCEEDED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .time_limits import TimeLimits


class Hook:
    """One script that an event runs."""

    def __init__(self, layout: Layout, directory: str, name: str) -> None:
        self._layout = layout
        #: The name of its link, or of the file that people put there; what is no UTF-8 in it is replaced.
        self.name = os.fsencode(name).decode("utf-8", "replace")
        self.path = f"{directory}/{name}"
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
        #: What to execute, and with which variables of the hook's own: see :meth:`obstacle`.
        self.executable = self.path
        self.variables: dict[str, str] = {}
        self._record: InstallRecord | None = None

    def obstacle(self) -> str | None:
        """Look whether this hook may and can be run; return why not, None if nothing speaks against it.

        What is to be executed after that is ``executable``, in which every link has been followed, with ``variables``.
        """
        try:
            if self.pod_home:
                self._look_at_pod(self.pod_home)
            else:
                self.executable = vetting.vet(self._layout, self.path)
        except HookRefused as refusal:
            return str(refusal)
        except OSError as error:
            remedy = "are you root?" if isinstance(error, PermissionError) else "install the hook again"
            return f"{error.filename}: {reason_of(error)}; {remedy}"
        return None

    def _look_at_pod(self, home: str) -> None:
        """Do what :meth:`obstacle` does for an installed hook.

        Raises:
            HookRefused: the hook may not be run.
            OSError: a variable cannot be read; ``filename`` says what.
        """
        self.executable = vetting.vet(self._layout, self.path, (home,))
        try:
            content = read_own_file(f"{home}/{install_record.FILE_NAME}", vetting.check)
        except PermissionError:
            raise
        except OSError:  # what is unknown is left out of the audit, and the variables lie in files as well
            content = b""
        self._record = install_record.decode(content) or InstallRecord("", "", {})
        self.variables = {**self._record.env, **self._record.launchable_env.get(self.launchable or "", {})}
        if not self._record.env:  # an earlier engine has written it
            env_dirs = (f"{home}/env", f"{home}/{self.launchable}/env")
            self.executable = vetting.vet(self._layout, self.path, env_dirs)
            for directory in env_dirs:
                self.variables.update(envdir.read(directory, vetting.check))

    @property
    def manifest_sha(self) -> str | None:
        """The SHA of the manifest that the hook was installed from, None where that is not known."""
        return self._installed().manifest_sha or None

    @property
    def artifact_version(self) -> str | None:
        """The version of the artifact that the hook belongs to, None where that is not known."""
        return self._installed().versions.get(self.launchable or "") or None

    def limits(self, limits: TimeLimits) -> TimeLimits:
        """Return the limits of this hook in a run that has ``limits``."""
        installed = self._installed()
        return limits.of_hook(installed.term_after, installed.kill_after)

    def _installed(self) -> InstallRecord:
        if self._record is None:
            try:
                found = install_record.read(self.pod_home) if self.pod_home else None
            except OSError:  # what is unknown is left out of the audit
                found = None
            self._record = found or InstallRecord("", "", {})
        return self._record


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
            if not name.startswith(".") and not os.path.isdir(f"{directory}/{name}")
        ]
    return sorted(hooks, key=lambda hook: hook.name)


def missing_root(layout: Layout) -> str | None:
    """Return what is to be said of a root that does not exist; None where it does.

    That of a host without any hooks does not exist either, so the default one is none to complain about.
    """
    if layout.root == DEFAULT_ROOT or os.path.isdir(layout.root):
        return None
    return f"root {layout.root} does not exist, so there are no hooks; correct it, or install hooks there"


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
