# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of misbehaving hooks have in common: hooks to run, and a look at their processes from outside."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import p2hooks
import p2hooks.install_record

EVENT = "before_install"
COMMAND = Path(__file__).parents[2] / "bin/p2-hook"

#: When hooks are told to end, and killed: enough apart to tell one from the other on a busy machine.
TERM, KILL = 0.5, 1.5

#: Runs hooks as a module does, and says what ``p2-hook run --json`` does.
API = """if True:
    import json, sys
    from p2hooks.run import run
    from p2hooks.audit import Audit
    from p2hooks.hooked_pod import HookedPod
    from p2hooks.layout import Layout
    from p2hooks.time_limits import TimeLimits
    root, log, term, kill = sys.argv[1:]
    limits = TimeLimits(float(term), float(kill))
    report = run(Layout(root), "before_install", HookedPod("hello"), Audit(log), node="n", limits=limits)
    print(json.dumps({"hooks": report.hooks, "warnings": report.warnings}))
"""


#: The same on a kernel that lists no children (without CONFIG_PROC_CHILDREN): those files are not there.
WITHOUT_LISTS = """if True:
    from p2hooks import process_tree
    process_tree._CHILDREN_FILE = "/proc/{pid}/task/{thread}/no_such_file"
"""


class Zoo:
    """A hooks' root, and the processes that its hooks told of."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.root = path / "hooks"
        self.exec_dir = self.root / "exec" / EVENT
        self.exec_dir.mkdir(parents=True)
        self.log = path / "audit.jsonl"
        self.pids_file = path / "pids"
        self.pids_file.touch()
        tool = self.root / "note"
        tool.write_text(f"#!/bin/sh\necho $1 >>{self.pids_file}\n")
        tool.chmod(0o755)

    def script(self, body: str) -> str:
        """Return a script that begins with noting its process id; in ``body``, ``note`` notes another one."""
        return f"#!/bin/sh\nPATH={self.root}:$PATH\nexport PATH\nnote $$\n{body}\n"

    def put(self, name: str, content: str, mode: int = 0o755) -> Path:
        """Put a file there that notes nothing."""
        path = self.exec_dir / name
        path.write_text(content)
        path.chmod(mode)
        return path

    def hook(self, name: str, body: str) -> Path:
        return self.put(name, self.script(body))

    def installed_hook(self, hook_id: str, version: str, body: str) -> Path:
        """Add an installed hook, or another version of it; return the directory of the version."""
        home = self.root / "pods" / EVENT / hook_id
        install = home / "main" / "installs" / version
        (install / "bin").mkdir(parents=True)
        (install / "bin" / "launch").write_text(self.script(body))
        (install / "bin" / "launch").chmod(0o755)
        (home / "installed.new").write_bytes(
            p2hooks.install_record.InstallRecord("store", f"sha of {version}", {"main": version}).encode()
        )
        (home / "installed.new").rename(home / "installed")
        (home / "main" / "current.new").symlink_to(f"installs/{version}")
        (home / "main" / "current.new").rename(home / "main" / "current")
        link = self.exec_dir / f"{hook_id}_main_launch"
        if not link.is_symlink():
            link.symlink_to(f"../../pods/{EVENT}/{hook_id}/main/current/bin/launch")
        return install

    def command(self, *options: str) -> list[str]:
        """Return the command line of ``p2-hook run``."""
        return [
            sys.executable, "-IS", str(COMMAND), "run", EVENT, "hello", "--json", "--root", str(self.root),
            "--audit-log", str(self.log), "--pod-root", str(self.path / "pods"), "--term-after", str(TERM),
            "--kill-after", str(KILL), *options,
        ]  # fmt: skip

    def start(self, way: str = "command", *options: str) -> subprocess.Popen[str]:
        """Start a run, by the command, or by the engine's own interface, there also without lists of children."""
        command, environment = self.command(*options), dict(os.environ)
        if way != "command":
            code = {"api": API, "without lists": WITHOUT_LISTS + API}[way]
            command = [sys.executable, "-c", code, str(self.root), str(self.log), str(TERM), str(KILL)]
            environment["PYTHONPATH"] = str(Path(p2hooks.__file__).parents[1])
        return subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd="/"
        )

    def run(self, *options: str) -> dict[str, Any]:
        """Run to the end; return what the command said."""
        return report_of(self.start("command", *options))

    def pids(self) -> list[int]:
        """Return what was noted; a line that is being written is not there yet."""
        return [int(pid) for pid in self.pids_file.read_text().rpartition("\n")[0].split()]

    def alive(self) -> list[int]:
        return [pid for pid in self.pids() if is_alive(pid)]

    def strangers(self) -> set[int]:
        """Return all processes that hooks started and that live: those noted, and others by their environment."""
        needle = os.fsencode(self.root)
        found = set(self.alive())
        for pid in map(int, filter(str.isdigit, os.listdir("/proc"))):
            try:
                environment = Path(f"/proc/{pid}/environ").read_bytes()
            except OSError:
                continue
            if needle in environment and is_alive(pid):
                found.add(pid)
        return found

    def records(self) -> list[dict[str, Any]]:
        """Return what is in the audit; a line that is being written is not there yet."""
        try:
            lines = self.log.read_bytes().split(b"\n")[:-1]
        except FileNotFoundError:
            return []
        return [json.loads(line) for line in lines]

    def outcomes(self) -> list[tuple[str, str]]:
        return outcomes(self.records())

    def debris(self) -> list[str]:
        """Return what runs that have ended should have removed."""
        return [path.name for path in self.path.iterdir() if path.name.endswith(".running")]


class Watch:
    """Looks for the processes of a zoo again and again; as a context, for its time."""

    def __init__(self, zoo: Zoo) -> None:
        self._zoo = zoo
        #: When each process was last seen alive, in seconds since the epoch.
        self.seen: dict[int, float] = {}
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._is_over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._is_over.wait(0.02):
            now = time.time()
            self.seen.update((pid, now) for pid in self._zoo.alive())


def report_of(process: subprocess.Popen[str], code: int = 0) -> dict[str, Any]:
    """Wait for a run; return what it said."""
    output, errors = process.communicate(timeout=30)
    assert process.returncode == code, errors
    report = json.loads(output)
    assert isinstance(report, dict)
    return report


def outcomes(records: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(record["hook"], record["outcome"]) for record in records]


def seconds(start: str) -> float:
    """Return what a record calls ``start``, in seconds since the epoch."""
    return datetime.fromisoformat(start.replace("Z", "+00:00")).timestamp()


def stat_of(pid: int) -> list[str]:
    """Return the fields of proc(5) from the state on; none where there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def is_alive(pid: int) -> bool:
    return stat_of(pid)[:1] not in ([], ["Z"], ["X"])


def parent_of(pid: int) -> int:
    return int(stat_of(pid)[1])


def runner_of(caller: subprocess.Popen[str]) -> int:
    """Wait until a run has begun; return the process that runs its hooks."""
    children = Path(f"/proc/{caller.pid}/task/{caller.pid}/children")
    assert eventually(lambda: children.read_text() != "")
    return int(children.read_text().split()[0])


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def eventually(condition: Callable[[], bool], patience: float = 10) -> bool:
    deadline = time.monotonic() + patience
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True
