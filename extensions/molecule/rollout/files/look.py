# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Prints what this host knows of one version of the hook tell_deploys, as JSON.

Usage: look.py VERSION TEXT, where only that version has TEXT in its script. Moments are seconds since the epoch.
"""

from __future__ import annotations

import datetime
import json
import os
import subprocess
import sys

version, text = sys.argv[1:]


def moment(record: dict[str, object]) -> float:
    """Return when a run began."""
    return datetime.datetime.fromisoformat(str(record["start"]).replace("Z", "+00:00")).timestamp()


with open("/var/log/p2-hook/audit.jsonl", encoding="utf-8") as log:
    records = [record for line in log if (record := json.loads(line))["hook_id"] == "tell_deploys"]
runs = [record for record in records if record["artifact_version"] == version]
since = min(map(moment, runs), default=0.0)
others = [moment(record) for record in records if record["artifact_version"] != version]

journal = subprocess.run(
    ["journalctl", "--unit=p2-hook-listener.service", "--output=json", "--no-pager"],
    check=True,
    stdout=subprocess.PIPE,
    encoding="utf-8",
)
lines = [(int(e["__REALTIME_TIMESTAMP"]) / 1e6, e["MESSAGE"]) for e in map(json.loads, journal.stdout.splitlines())]
told_of_others = [at for at, message in lines if "tell_deploys" in message and version not in message]
told = [at for at, message in lines if version in message]

files = []
for top, _, names in os.walk("/data/hooks"):
    for path in (os.path.join(top, name) for name in names):
        with open(path, "rb") as content:
            if version in path or text.encode() in content.read():
                files.append(path)

json.dump(
    {
        "outcomes": sorted({record["outcome"] for record in runs}),
        "runs": len(runs),
        "runs_of_others": len(others),
        "told": len(told),
        "files": files,
        # when its first run had ended, when the listener had installed another one in its place, when that first ran
        "failed": min((moment(record) + record["duration"] for record in runs), default=None),
        "replaced": min((at for at in told_of_others if told and at > told[-1]), default=None),
        "ran_again": min((at for at in others if runs and at > since), default=None),
    },
    sys.stdout,
)
