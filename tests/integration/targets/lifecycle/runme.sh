#!/usr/bin/env bash
# Copyright: (c) 2026, The p2fleet.hooks authors
# SPDX-License-Identifier: GPL-3.0-or-later
# Deploys with the role lifecycle in a directory of its own, and lets each step fail once.
set -eux -o pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cp ./*.yml "$directory"
export ANSIBLE_PIPELINING=1
ansible-playbook "$directory/lifecycle.yml" -i ../../inventory -e "directory=$directory" "$@"
