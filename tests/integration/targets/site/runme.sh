#!/usr/bin/env bash
# Copyright: (c) 2026, The p2fleet.hooks authors
# SPDX-License-Identifier: GPL-3.0-or-later
# Gives the playbook wrong variables. Its hosts cannot be reached, so none is changed; molecule has hosts that can.
set -eux -o pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cat >"$directory/inventory" <<I
web1
web2 audit_log_frequency="{{ at_web2 | default('daily') }}"
[all:vars]
ansible_host=127.0.0.1
ansible_port=9
I

ansible-playbook site.yml -i "$directory/inventory" -e "directory=$directory" "$@"
