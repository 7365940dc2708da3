# Copyright: (c) 2026, The p2fleet.hooks authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare what Consul schedules with what is linked on this host, and with what its listener reports."""

import json
import os
import subprocess
import sys


def consul(*arguments):
    """Return what ``consul kv`` prints."""
    return subprocess.run(["consul", "kv", *arguments], check=True, stdout=subprocess.PIPE, text=True).stdout


scheduled = {key[len("hooks/") :] for key in consul("get", "-keys", "-separator=", "hooks/").split()}
links = sorted(os.listdir("/data/hooks/exec/after_launch"))
report = json.loads(consul("get", f"hooks-status/{os.uname().nodename}"))
state = subprocess.run(
    ["systemctl", "is-active", "p2-hook-listener.service"], check=False, stdout=subprocess.PIPE, text=True
)

wrong = []
if state.stdout != "active\n":
    wrong.append(f"the listener is {state.stdout}")
if not scheduled:
    wrong.append("nothing is scheduled")
if links != sorted("{0}_{0}_launch".format(name.split("/")[1]) for name in scheduled):
    wrong.append(f"scheduled are {sorted(scheduled)}, and linked {links}")
if set(report["hooks"]) != scheduled:
    wrong.append(f"scheduled are {sorted(scheduled)}, and reported {sorted(report['hooks'])}")
if report["error"] or report["node"] != os.uname().nodename:
    wrong.append(f"the report of {report['node']} says {report['error']}")
for name, hook in report["hooks"].items():
    if hook["error"] or hook["origin"] != "store" or hook["manifest_sha"] != hook["scheduled_sha"]:
        wrong.append(f"the report says of {name}: {hook}")
if wrong:
    sys.exit("\n".join(wrong))
