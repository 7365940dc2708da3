#!/usr/bin/env bash
# Copyright: (c) 2026, The p2fleet.hooks authors
# SPDX-License-Identifier: GPL-3.0-or-later
# Rolls out from host to host, without listeners: to two hosts that share this machine and a store, with one that is gone. Of the
# two one can be switched off.
set -eux -o pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cp ./*.yml "$directory"
python=$(command -v python)
cat >"$directory/inventory" <<I
gone ansible_host=127.0.0.1 ansible_port=9 ansible_ssh_common_args='-o ConnectTimeout=2'
[here]
web1
web2 ansible_connection=ssh ansible_ssh_executable=$directory/ssh ansible_ssh_transfer_method=piped
[here:vars]
ansible_connection=local
ansible_python_interpreter=$python
[all:vars]
directory=$directory
I
cat >"$directory/ssh" <<'S'
#!/bin/sh
if [ -e "${0%/*}/off" ]; then
  echo switched off >&2
  exit 255
fi
for command; do :; done
exec sh -c "$command"
S
chmod +x "$directory/ssh"
printf '[here]\nweb2 p2_rollout_push=true\n' >"$directory/pushing"
for node in web1 web2; do
  mkdir "$directory/$node"
  cat >"$directory/$node/p2-hook.conf" <<C
node = $node
root = $directory/$node/hooks
store_path = $directory/store
audit_log = $directory/$node/audit.jsonl
C
done
for hook in one/greet two/greet fails/greet fails/fresh; do
  mkdir -p "$directory/${hook%/*}"
  printf '#!/bin/sh\necho "%s here"\n[ %s != fails ]\n' "${hook%/*}" "${hook%/*}" >"$directory/$hook"
  chmod +x "$directory/$hook"
done
ansible-playbook "$directory/push.yml" -i "$directory/inventory" "$@"
