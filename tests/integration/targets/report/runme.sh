#!/usr/bin/env bash
# Copyright: (c) 2026, The p2fleet.hooks authors
# SPDX-License-Identifier: GPL-3.0-or-later
# Makes the page of a fleet of four: hosts that share this machine, two with a listener each and one where nothing ran, and
# one that is gone.
set -eux -o pipefail
directory=$(mktemp -d)
module=$(ansible-doc --json --type module p2fleet.hooks.p2_hook_run |
  python -c 'import json, sys; [doc] = json.load(sys.stdin).values(); print(doc["doc"]["filename"])')
command=${module%/plugins/modules/*}/bin/p2-hook
listeners=()
trap '[ "${#listeners[@]}" -eq 0 ] || kill "${listeners[@]}"; rm -rf "$directory"' EXIT
cp ./*.yml "$directory"
python=$(command -v python)
cat >"$directory/inventory" <<I
gone ansible_host=127.0.0.1 ansible_port=9 ansible_ssh_common_args='-o ConnectTimeout=2'
[here]
web1
web2
[local]
fresh
[local:children]
here
[local:vars]
ansible_connection=local
ansible_python_interpreter=$python
[all:vars]
directory=$directory
I

ansible-playbook "$directory/fleet.yml" -i "$directory/inventory" "$@"
for node in web1 web2; do
  "$python" "$command" listen --node "$node" --root "$directory/$node/hooks" --audit-log "$directory/$node/audit.jsonl" \
    --store-path "$directory/store" &
  listeners+=("$!")
done
set +x
for status in web1:succeeded web2:failed; do
  for ((wait = 0; ; wait++)); do
    ! grep -qs "\"${status#*:}\"" "$directory/store/hooks-status/${status%:*}" || break
    [ "$wait" -lt 300 ] || { echo "${status%:*} did not report in time" >&2; exit 1; }
    sleep 0.1
  done
done
set -x

ansible-playbook "$directory/report.yml" -i "$directory/inventory" "$@"

# a path is taken from where the command is given
(cd "$directory" && ansible-playbook p2fleet.hooks.report -i inventory --limit fresh -e p2_report_dest=here.html "$@")
[ -s "$directory/here.html" ]
