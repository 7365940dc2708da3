# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Numbers of each hook, from the records of what has run."""

from __future__ import annotations

from collections.abc import Iterable
from statistics import median
from typing import Any

from ..outcomes import CLOSING, SKIPPED, STARTED, SUCCEEDED

#: So much of the output of a failure is part of a summary, in characters from its end.
_TAIL = 2000
#: Of so many versions of a hook that failed a summary tells at most.
_MAX_FAILED_VERSIONS = 8


def summarise(records: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return one dictionary for each hook of each event; the documentation of p2_hook_audit_info has its members."""
    summaries: dict[tuple[str, str], dict[str, Any]] = {}
    durations: dict[tuple[str, str], list[float]] = {}
    failures: dict[tuple[str, str], dict[object, dict[str, Any]]] = {}
    for record in records:
        key = (str(record.get("event")), str(record.get("hook")))
        summary = summaries.setdefault(
            key,
            {
                "hook": record.get("hook"),
                "hook_id": record.get("hook_id"),
                "event": record.get("event"),
                "runs": 0,
                "skipped": 0,
                "outcomes": {},
                "hours": {},
                "last_start": "",
                "last_outcome": None,
                "host": None,
                "manifest_sha": None,
                "artifact_version": None,
                "last_failure": None,
                "failures": [],
                "median_duration": None,
                "max_duration": None,
            },
        )
        outcome = str(record.get("outcome"))
        summary["outcomes"][outcome] = summary["outcomes"].get(outcome, 0) + 1
        if outcome in CLOSING:
            continue
        start = str(record.get("start"))
        summary["skipped" if outcome == SKIPPED else "runs"] += 1
        hour = summary["hours"].setdefault(start[: len("2026-01-31T12")], {})
        hour[outcome] = hour.get(outcome, 0) + 1
        if start > summary["last_start"]:
            summary["last_start"], summary["last_outcome"] = start, outcome
            summary.update({name: record.get(name) for name in ("host", "manifest_sha", "artifact_version")})
        if outcome not in (STARTED, SUCCEEDED):
            _add_failure(failures.setdefault(key, {}), record)
        duration = record.get("duration")
        if isinstance(duration, (int, float)) and outcome not in (STARTED, SKIPPED):
            durations.setdefault(key, []).append(duration)
    for key, values in durations.items():
        summaries[key]["median_duration"], summaries[key]["max_duration"] = round(median(values), 4), max(values)
    for key, versions in failures.items():
        newest = sorted(versions.values(), key=lambda each: str(each["last_failure"].get("start")), reverse=True)
        for each in newest[:_MAX_FAILED_VERSIONS]:
            summaries[key]["failures"].append({**each, "last_failure": _with_tail(each["last_failure"])})
        summaries[key]["last_failure"] = summaries[key]["failures"][0]["last_failure"]
    return [summaries[key] for key in sorted(summaries)]


def _add_failure(versions: dict[object, dict[str, Any]], record: dict[str, Any]) -> None:
    names = ("manifest_sha", "artifact_version")
    version = versions.setdefault(
        tuple(str(record.get(name)) for name in names),
        {**{name: record.get(name) for name in names}, "count": 0, "last_failure": record},
    )
    version["count"] += 1
    if str(record.get("start")) > str(version["last_failure"].get("start")):
        version["last_failure"] = record


def _with_tail(record: dict[str, Any]) -> dict[str, Any]:
    output = str(record.get("output") or "")
    truncated = bool(record.get("output_truncated")) or len(output) > _TAIL
    return {**record, "output": output[-_TAIL:], "output_truncated": truncated}
