# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of running hooks have in common."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from p2hooks.audit import Audit
from p2hooks.hooked_pod import HookedPod
from p2hooks.install_record import InstallRecord
from p2hooks.layout import Layout
from p2hooks.run import RunReport, run
from p2hooks.time_limits import TimeLimits

EVENT = "before_install"


class Host:
    """A host with hooks below a temporary directory."""

    def __init__(self, path: Path, *, database: Path | None = None) -> None:
        self.path = path
        self.database = database
        self.layout = Layout(str(path / "hooks"))
        self.audit = path / "audit" / "audit.jsonl"

    def script(self, name: str, body: str, *, event: str | None = EVENT, mode: int = 0o755) -> Path:
        """Put a shell script there, as people do by hand."""
        directory = Path(self.layout.exec_dir(event))
        directory.mkdir(parents=True, exist_ok=True)
        return write_script(directory / name, body, mode)

    def hook(
        self,
        hook_id: str,
        body: str,
        *,
        event: str | None = EVENT,
        env: dict[str, str] | None = None,
        launchable_env: dict[str, str] | None = None,
    ) -> Path:
        """Put an installed hook there; return its pod home."""
        home = Path(self.layout.pod_home((event, hook_id) if event else (hook_id,)))
        install = home / "main" / "installs" / "main_1f"
        (install / "bin").mkdir(parents=True)
        write_script(install / "bin" / "launch", body)
        (home / "main" / "current").symlink_to("installs/main_1f")
        for directory, variables in ((home / "env", env), (home / "main" / "env", launchable_env)):
            directory.mkdir()
            for name, value in (variables or {}).items():
                (directory / name).write_text(value + "\n")
        (home / "installed").write_bytes(InstallRecord("store", "5b0c", {"main": "1f"}).encode())
        exec_dir = Path(self.layout.exec_dir(event))
        exec_dir.mkdir(parents=True, exist_ok=True)
        (exec_dir / f"{hook_id}_main_launch").symlink_to(os.path.relpath(home / "main/current/bin/launch", exec_dir))
        return home

    def run(
        self, *, event: str = EVENT, pod: HookedPod | None = None, term: float = 30, kill: float = 60, **options: Any
    ) -> RunReport:
        audit = Audit(str(self.audit), str(self.database) if self.database else None)
        report = run(
            self.layout,
            event,
            pod or HookedPod("hello", pod_root=str(self.path / "pods")),
            audit,
            node="node1",
            limits=TimeLimits(term, kill),
            **options,
        )
        audit.close()
        return report

    def run_one(self, **options: Any) -> dict[str, Any]:
        """Run, and return the record of the only hook."""
        (record,) = self.run(**options).hooks
        return record

    def records(self) -> list[dict[str, Any]]:
        """Return what is in the audit; a line that is being written is not there yet."""
        return [json.loads(line) for line in self.audit.read_bytes().split(b"\n")[:-1]]

    def outcomes(self) -> list[tuple[str, str]]:
        """Return hook and outcome of what is in the audit."""
        return [(record["hook"], record["outcome"]) for record in self.records()]


def write_script(path: Path, body: str, mode: int = 0o755) -> Path:
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(mode)
    return path


def eventually(condition: Callable[[], bool], seconds: float = 10) -> bool:
    """Wait until ``condition`` holds; tell whether it came to that."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def is_running(pid: int) -> bool:
    """Tell whether a process is there and no zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(") ")[2][0] not in "ZX"


def own_children(states: str = "RSDTtZ") -> set[int]:
    """Return the children of this process whose state, as of proc(5), is one of ``states``."""
    children = set()
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            state, parent = Path(f"/proc/{name}/stat").read_text().rpartition(") ")[2].split()[:2]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if state in states and int(parent) == os.getpid():
            children.add(int(name))
    return children


def own_zombies() -> set[int]:
    """Return the children of this process that have ended and that nobody has waited for."""
    return own_children("Z")
