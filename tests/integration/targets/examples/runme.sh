#!/usr/bin/env bash
# Copyright: (c) 2026, The p2fleet.hooks authors
# SPDX-License-Identifier: GPL-3.0-or-later
# Runs the examples of each module's documentation as they are printed, in a directory of their own. The pod is called
# like a user that exists, so that the hook of the examples has no user to create.
set -eux -o pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
for module in p2_bin2pod p2_hook_schedule p2_hook_install p2_hook_run; do
  ansible-doc --json --type module "p2fleet.hooks.$module" |
    python -c 'import json, sys; [doc] = json.load(sys.stdin).values(); print(doc["examples"])' |
    sed -e "s|/var/lib/my-hooks|$directory/my-hooks|" -e 's|pod_id: hello|pod_id: nobody|' >"$directory/$module.yml"
done
cp examples.yml "$directory"
ansible-playbook "$directory/examples.yml" -i ../../inventory -e "directory=$directory" "$@"
