#!/usr/bin/env bash
# Copyright: (c) 2026, The p2fleet.hooks authors
# SPDX-License-Identifier: GPL-3.0-or-later
# Does what docs/one-machine.md tells its reader, from its own text: on a network of its own, since the ports are Consul's
# usual ones. Whoever is not root has no such network, and needs those ports.
set -eux -o pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
module=$(ansible-doc --json --type module p2fleet.hooks.p2_hook_run |
  python -c 'import json, sys; [doc] = json.load(sys.stdin).values(); print(doc["doc"]["filename"])')
top=${module%/plugins/modules/*}
consul=$(sed -n 's/^consul_bin: //p' ../../integration_config.yml)

apart=()
[ "$(id -u)" -ne 0 ] || apart=(unshare --net --pid --fork --kill-child --mount-proc)

mkdir -p "$directory/home/.ansible/collections/ansible_collections/p2fleet" "$directory/fleet"
ln -s "$top" "$directory/home/.ansible/collections/ansible_collections/p2fleet/hooks"
python "$top/tests/guide/blocks.py" script "$top/docs/one-machine.md" >"$directory/script"
cd "$directory/fleet"
# shellcheck disable=SC2016  # expanded in there
"${apart[@]}" env HOME="$directory/home" PATH="$(dirname "$consul"):$PATH" bash -c '
  trap "kill \$(jobs -p) 2>/dev/null || true" EXIT
  [ "$(id -u)" -ne 0 ] || ip link set lo up
  . ../script
  wait
  if pgrep --full --list-full "$HOME/.*listen"; then echo "which the page leaves behind" >&2; exit 1; fi' | tee ../said

# one host had the version that fails, by the rollout, and has the first one again
[ "$(grep --files-with-matches upgraded web?/listener.log | wc -l)" -eq 1 ]
[ "$(grep --files-with-matches returned web?/listener.log)" = "$(grep --files-with-matches upgraded web?/listener.log)" ]
grep 'hello was lunched on web[123]' ../said
grep ' 3 installed *$' ../said

# the page knows of the failures, and that their version is gone
grep 'hello was lunched on web[123]' hooks.html
grep '<b class="state">no longer anywhere</b>' hooks.html
grep 'of 3 that report' hooks.html
