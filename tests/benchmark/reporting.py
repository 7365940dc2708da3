# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure how long the page of a large fleet takes, beside reading the same records as JSON."""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

TOP = Path(__file__).parents[2]
sys.path[:0] = [str(TOP / "plugins/plugin_utils"), str(TOP / "tests/report")]

import support_many_hosts as fleet  # noqa: E402
from p2hooks.audit.json_lines import encode  # noqa: E402
from p2hooks.audit.summary import summarise  # noqa: E402
from p2hooks.hook_info import Question, of_fleet  # noqa: E402
from p2hooks.host_audit import decode_audit  # noqa: E402
from p2hooks.report import aggregate  # noqa: E402
from p2hooks.store.directory import DirectoryStore  # noqa: E402
from report_page import render  # noqa: E402

HOSTS, RUNS = 500, 100_000
ROUNDS = 5

Row = Callable[[str, "float | str", "float | str", str], None]


def measure(work: Path, row: Row) -> None:
    """Print a row for each figure; what the hosts do is the sum over all of them.

    Args:
        work: a directory for the store.
    """
    now = datetime.now(timezone.utc)
    records = dict(fleet.records(HOSTS, RUNS, now))
    lines = [encode(record) for of_host in records.values() for record in of_host]
    fleet.fill(work / "reporting", HOSTS, now)
    store = DirectoryStore(str(work / "reporting"))
    times: dict[str, list[float]] = {}

    def timed(work: str, call: Callable[[], Any]) -> Any:
        start = time.perf_counter()
        result = call()
        times.setdefault(work, []).append((time.perf_counter() - start) * 1000)
        return result

    for dummy in range(ROUNDS):
        timed("json", lambda: [json.loads(line) for line in lines])
        answers = timed("hosts", lambda: {host: summarise(of_host) for host, of_host in records.items()})
        found = timed("store", lambda: of_fleet(store, Question(limit=None), now=now.timestamp()).data)
        page = timed("page", lambda answers=answers, found=found: _page(answers, found, now))
    loading = statistics.median(times["json"])
    base = f"json.loads of {RUNS:,} records"
    row(f"read {RUNS:,} records", loading, 1.0, base)
    for step, name in (
        ("hosts", f"summaries on {HOSTS} hosts, in all"),
        ("store", f"what the store has of {HOSTS} hosts"),
        ("page", f"the page of {HOSTS} hosts"),
    ):
        row(name, statistics.median(times[step]), statistics.median(times[step]) / loading, base)
    row("what hosts send, KiB", sum(len(json.dumps(answer)) for answer in answers.values()) / 1024, "", "")
    row("what the store answers, KiB", len(json.dumps(found)) / 1024, "", "")
    row("the page, KiB", len(page.encode()) / 1024, "", "")


def _page(answers: dict[str, Any], found: dict[str, Any], now: datetime) -> str:
    audits = [decode_audit(host, fleet.answer(summary)) for host, summary in answers.items()]
    return render(aggregate(audits, found, since=now - timedelta(days=3), now=now), title="Hooks of the fleet")
