# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure ``p2-hook run`` as it is installed on a host, beside what starting the same programs costs at the least.

Run it alone with ``python tests/benchmark/running.py``. It needs a C compiler and Debian's run-parts. Each figure is
the ratio of two medians, whose rounds were interleaved.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TOP = Path(__file__).parents[2]
sys.path.insert(0, str(TOP / "plugins/module_utils"))

from p2hooks import bin2pod, install, install_plan, schedule  # noqa: E402
from p2hooks.audit.sqlite import FIELDS, Database  # noqa: E402
from p2hooks.hook_key import HookKey  # noqa: E402
from p2hooks.layout import Layout  # noqa: E402
from p2hooks.store.directory import DirectoryStore  # noqa: E402

ROUNDS = 41
COUNTS = (1, 10, 100)
ROWS = 100_000
PYTHON = "/usr/bin/python3"
EVENT = "before_install"

TRIVIAL_HOOK = "int main(void) { return 0; }\n"
#: The least that running the programs of its arguments one after the other can cost.
FLOOR = """
#include <spawn.h>
#include <sys/wait.h>
extern char **environ;
int main(int count, char **programs) {
    for (int i = 1; i < count; i++) {
        pid_t pid;
        int status;
        char *arguments[] = {programs[i], 0};
        if (posix_spawn(&pid, programs[i], 0, 0, arguments, environ) || waitpid(pid, &status, 0) != pid || status)
            return 1;
    }
    return 0;
}
"""
LARGE_OUTPUT = "#!/bin/sh\nhead -c 1073741824 /dev/zero\n"


def main() -> None:
    (TOP / ".cache").mkdir(exist_ok=True)
    # Below the project, since hooks below a directory that everybody may write to are not run.
    with tempfile.TemporaryDirectory(prefix="p2fleet-bench-", dir=TOP / ".cache") as directory:
        measure(Path(directory))


def measure(work: Path) -> None:
    """Print the figures of runs of 1, 10 and 100 hooks, and of one whose hook writes a lot."""
    floor = compiled(work / "floor", FLOOR)
    hook = compiled(work / "hook", TRIVIAL_HOOK)
    command = installed_command(work / "lib")
    full = work / "full.sqlite"
    fill(full)
    commands = {"bare": [PYTHON, "-I", "-S", "-c", "pass"]}
    for count in COUNTS:
        root = installed_hooks(work / f"hooks{count}", hook, count)
        scripts = sorted((root / "exec" / EVENT).iterdir())
        log = ["--audit-log", str(work / f"audit{count}.jsonl")]
        run = [*command, "run", EVENT, "hello", "--root", str(root), *log]
        commands[f"floor {count}"] = [floor, *(str(script.resolve()) for script in scripts)]
        commands[f"run-parts {count}"] = ["/usr/bin/run-parts", str(root / "exec" / EVENT)]
        commands[f"run {count}"] = run
        commands[f"empty {count}"] = [*run, "--audit-database", str(work / f"empty{count}.sqlite")]
        commands[f"full {count}"] = [*run, "--audit-database", str(full)]
    times = interleaved(commands, work / "empty*.sqlite*")
    print(f"bare /usr/bin/python3 -I -S -c pass: {times['bare']:.1f} ms; each figure a median of {ROUNDS}")
    print(f"{'work':<44} {'ms':>7} {'ratio':>6} {'target':>6}  to")
    row("run of 1 hook", times["run 1"], times["bare"], "bare Python", 1.4)
    row("run of 10 hooks", times["run 10"], times["floor 10"], "C loop", 2.6)
    row("run of 100 hooks", times["run 100"], times["floor 100"], "C loop", 1.5)
    row("run of 100 hooks", times["run 100"], times["run-parts 100"], "run-parts", 1.35)
    for count, target in ((1, 1.6), (10, None), (100, 1.25)):
        name = f"run of {count} with SQLite"
        row(f"{name}, empty database", times[f"empty {count}"], times[f"run {count}"], "without SQLite", target)
        row(f"{name}, {ROWS:,} rows", times[f"full {count}"], times[f"run {count}"], "without SQLite", target)
        row(f"{name}, {ROWS:,} rows", times[f"full {count}"], times[f"empty {count}"], "empty database", 1.1)
    print(f"memory of a run whose hook writes 1 GiB: {memory_of_large_output(work, command):.1f} MiB (target 40)")


def compiled(path: Path, source: str) -> str:
    """Compile C and return the program's path; it is static, so that starting it costs as little as possible."""
    subprocess.run(["cc", "-O2", "-static", "-x", "c", "-", "-o", str(path)], input=source, text=True, check=True)
    return str(path)


def installed_command(directory: Path) -> list[str]:
    """Install the command as docs/command.md says, and return how its first line has it called."""
    directory.mkdir()
    shutil.copy(TOP / "bin/p2-hook", directory)
    shutil.copytree(
        TOP / "plugins/module_utils/p2hooks", directory / "p2hooks", ignore=shutil.ignore_patterns("__pycache__")
    )
    command = [PYTHON, "-IS", str(directory / "p2-hook")]
    subprocess.run([*command, "compile"], check=True, stdout=subprocess.DEVNULL)
    return command


def installed_hooks(root: Path, hook: str, count: int, body: str | None = None) -> Path:
    """Schedule and install so many hooks below ``root``, as users do."""
    if body is not None:
        Path(hook).write_text(body)
        Path(hook).chmod(0o755)
    build = root.with_name(f"{root.name}-build")
    store = DirectoryStore(str(root.with_name(f"{root.name}-store")), create=True)
    pods = {
        HookKey.of(EVENT, name): bin2pod.build(hook, str(build), pod_id=name).manifest
        for name in (f"hook{number:03}" for number in range(count))
    }
    schedule.apply(store, schedule.plan(store, pods))
    layout = Layout(str(root))
    with install.lock(layout):
        errors = install.apply(layout, install_plan.plan_scheduled(layout, store, node="node1"), store)[1]
    if errors:
        sys.exit(f"hooks could not be installed: {errors}")
    return root


def fill(path: Path) -> None:
    """Give a database that many rows of earlier runs."""
    database = Database(str(path), patience=60)
    for number in range(ROWS):
        record = dict.fromkeys(FIELDS) | {
            "run_id": f"{number // 10:016x}",
            "hook": f"hook{number % 100:03}_hook{number % 100:03}_launch",
            "event": EVENT,
            "pod_id": f"pod{number % 37}",
            "outcome": "succeeded" if number % 10 else "failed",
            "start": f"2026-01-{1 + number * 28 // ROWS:02}T12:00:00.{number % 1000:03}Z",
            "output": "hello\n" * 10,
        }
        database.add(record)
    warnings = database.flush()
    database.close()
    if warnings:
        sys.exit(str(warnings))


def interleaved(commands: dict[str, list[str]], fresh: Path) -> dict[str, float]:
    """Return how long each command takes, in milliseconds: the median of rounds in which each has its turn.

    Args:
        fresh: what to remove before each round, as a pattern in the last part.
    """
    times: dict[str, list[float]] = {name: [] for name in commands}
    for dummy in range(ROUNDS):
        for path in fresh.parent.glob(fresh.name):
            path.unlink()
        for name, command in commands.items():
            if name.startswith("empty"):
                new_database(command[-1])
            times[name].append(duration(command))
    return {name: statistics.median(values) for name, values in times.items()}


def new_database(path: str) -> None:
    """Make a database that has its tables and no rows, which is made once in the life of a host."""
    from p2hooks.audit.sqlite import open_for_writing

    open_for_writing(path).close()


def duration(command: list[str]) -> float:
    """Run ``command`` with its output thrown away; return how long it took, in milliseconds."""
    null = (os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0)
    began = time.perf_counter()
    pid = os.posix_spawn(command[0], command, os.environ, file_actions=[null])
    status = os.waitpid(pid, 0)[1]
    took = (time.perf_counter() - began) * 1000
    if status:
        sys.exit(f"{command[:4]} ended with {status}")
    return took


def row(work: str, took: float, base: float, beside: str, target: float | None) -> None:
    verdict = "" if target is None or took / base <= target else "  (not reached)"
    print(f"{work:<44} {took:7.1f} {took / base:6.2f} {target or '':>6}  {beside}{verdict}")


def memory_of_large_output(work: Path, command: list[str]) -> float:
    """Return the most that one process of such a run had resident, in MiB."""
    root = installed_hooks(work / "large", str(work / "large-hook"), 1, LARGE_OUTPUT)
    run = [*command, "run", EVENT, "hello", "--root", str(root), "--audit-log", str(work / "large.jsonl")]
    process = subprocess.Popen(run, stdout=subprocess.DEVNULL)
    most = 0
    while process.poll() is None:
        for status in Path("/proc").glob("[0-9]*/status"):
            try:
                if str(root).encode() in (status.parent / "cmdline").read_bytes():
                    peak = status.read_text().partition("VmHWM:")[2].split()
                    most = max(most, int(peak[0]) if peak else 0)
            except OSError:  # it has ended meanwhile
                continue
    return most / 1024


if __name__ == "__main__":
    main()
