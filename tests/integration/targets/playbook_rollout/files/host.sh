#!/bin/sh
# Copyright: (c) 2026, The p2fleet.hooks authors
# SPDX-License-Identifier: GPL-3.0-or-later
# A host: its listener, and a deploy twice in a second.
# usage: host.sh NAME PYTHON COMMAND CONSUL_URL, in a directory with the token
set -eu
mkdir "$1"
echo $$ >"$1/pid"
"$2" "$3" listen --node "$1" --root "$PWD/$1/hooks" --audit-log "$PWD/$1/audit.jsonl" --report-every 1 \
  --store consul --consul-url "$4" --consul-token-file "$PWD/token" 2>"$1/log" &
listener=$!
trap 'kill "$listener"; exit' TERM
while :; do
  "$2" "$3" run before_install hello --pod-root "$PWD/pods" --node "$1" --root "$PWD/$1/hooks" \
    --audit-log "$PWD/$1/audit.jsonl" >/dev/null || true
  sleep 0.5
done
