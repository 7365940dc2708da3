# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure what the audit costs a run, in a new process for each run, as hosts have it.

Run it with ``python tests/benchmark/audit.py``; it needs nothing that is not on a host. Read the ratios: of SQLite to
the log alone, and of a database with 100,000 rows to an empty one.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ENGINE = Path(__file__).parents[2] / "plugins/module_utils"
ROUNDS = 21
ROWS = 100_000

#: Records so many hooks, and exits as p2-hook does, without closing the database.
RUN = """
import os, sys, time
sys.path.insert(0, sys.argv[1])
from p2hooks.audit import Audit
audit = Audit(sys.argv[2], sys.argv[3] or None)
run_id = os.urandom(8).hex()
warnings = audit.begin(run_id)
began = time.time() * 1000
for number in range(int(sys.argv[4])):
    record = {
        "run_id": run_id, "host": "node1", "event": "before_install", "hook": f"hook{number % 100}_launch",
        "hook_id": f"hook{number % 100}", "manifest_sha": "5" * 64, "artifact_version": "1" * 40, "pod_id": "hello",
        "pod_unique_key": "", "outcome": "succeeded", "reason": None, "exit_code": 0, "signal": None,
        "start": f"{began + number:020.3f}", "duration": 0.01, "output": "hello\\n" * 10,
        "output_truncated": False, "output_held_open": False,
    }
    warnings += audit.mark(record)
    warnings += audit.write(record)
warnings += audit.end()
os._exit(1 if warnings else 0)
"""


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="p2fleet-bench-") as name:
        directory = Path(name)
        full = directory / "full.sqlite"
        run(directory, full, ROWS)
        print(
            f"{'hooks':>5} {'log':>8} {'empty':>8} {'ratio':>6} {'full':>8} {'ratio':>6} {'full/empty':>10}  median ms"
        )
        for hooks in (0, 1, 10, 100):
            times: dict[str, list[float]] = {"log": [], "empty": [], "full": []}
            for number in range(ROUNDS):
                empty = directory / f"{hooks}.{number}.sqlite"
                run(directory, empty, 1)
                times["log"].append(run(directory, None, hooks))
                times["empty"].append(run(directory, empty, hooks))
                times["full"].append(run(directory, full, hooks))
            log, empty_, full_ = (statistics.median(times[sink]) for sink in ("log", "empty", "full"))
            ratios = f"{empty_:8.1f} {empty_ / log:6.2f} {full_:8.1f} {full_ / log:6.2f} {full_ / empty_:10.2f}"
            print(f"{hooks:>5} {log:8.1f} {ratios}")


def run(directory: Path, database: Path | None, hooks: int) -> float:
    """Record so many hooks in a process of its own; return how long it took, in milliseconds."""
    command = ["/usr/bin/python3", "-I", "-S", "-c", RUN, str(ENGINE), str(directory / "audit.jsonl")]
    began = time.perf_counter()
    subprocess.run([*command, str(database or ""), str(hooks)], check=True, env=dict(os.environ))
    return (time.perf_counter() - began) * 1000


if __name__ == "__main__":
    sys.exit(main())
