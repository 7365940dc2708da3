# Copyright: (c) 2026, The p2fleet.hooks authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Put hooks like ``base`` into Consul, each when all hosts have reported the one before; print when each was put.

usage: schedule_many.py NODE,... HOOK...
"""

import http.client
import os
import ssl
import sys
import time

nodes, hooks = sys.argv[1].split(","), sys.argv[2:]
tls = ssl.create_default_context(cafile="/etc/consul.d/ca.pem")
connection = http.client.HTTPSConnection("127.0.0.1", 8501, context=tls)


def ask(method, key, body=None):
    """Return what Consul answers."""
    connection.request(method, f"/v1/kv/{key}", body, {"X-Consul-Token": os.environ["CONSUL_HTTP_TOKEN"]})
    response = connection.getresponse()
    answer = response.read()
    if response.status != 200:
        sys.exit(f"{method} {key}: {response.status} {answer}")
    return answer


base = ask("GET", "hooks/after_launch/base?raw")
for hook in hooks:
    began = time.time()
    ask("PUT", f"hooks/after_launch/{hook}", base.replace(b"id: base\n", f"id: {hook}\n".encode(), 1))
    print(hook, began)
    until = time.monotonic() + 20
    for node in nodes:
        while f'"after_launch/{hook}":{{"error":null'.encode() not in ask("GET", f"hooks-status/{node}?raw"):
            if time.monotonic() > until:
                sys.exit(f"{node} does not have {hook}")
            time.sleep(0.05)
