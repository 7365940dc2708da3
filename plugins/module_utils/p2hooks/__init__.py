# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine of p2fleet.hooks: everything the collection does, without a line of Ansible.

Imports point one way only, from the bottom of this table to its top:

========================  =====================================================================
model (no I/O)            errors, events, ids, hook_key, outcomes, time_limits, site_packages, strict_yaml,
                          manifest_sha, manifest, archive_rules
disk and wire             layout, configuration, files, disk, engine_home, envdir, install_record, pod_home,
                          exec_links, archive, gzip_stream, tar_stream, extraction, fetch, store, hook_options,
                          hooked_pod, vetting, event_hooks, process, process_tree, runner, audit, sd_notify
use cases                 bin2pod, schedule, install_plan, install, run, node_status, listener
the command p2-hook       start, lean_os, bundle, console, run_command, cli
========================  =====================================================================
"""

VERSION = "0.1.0"
