#!/usr/bin/python
# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Build the artifact and the pod manifest of a hook."""

from __future__ import annotations

DOCUMENTATION = r"""
module: p2_bin2pod
short_description: Make a hook of an executable
version_added: 0.1.0
description:
  - Makes an artifact, a C(.tar.gz), and a pod manifest of an executable file or a directory of them.
  - The same input gives the same bytes, so nothing changes when it is run again.
  - The manifest says the artifact's SHA-256, which is checked wherever the hook is installed.
extends_documentation_fragment:
  - p2fleet.hooks.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
    details: Shows the manifest.
  platform:
    support: full
    platforms: posix
options:
  executable:
    description:
      - An executable file, or a directory with nothing but executable files in it, on the host where the module runs.
      - Of a directory, every file becomes a script of its own.
      - Files whose names begin with a dot are left out.
    type: path
    required: true
  work_dir:
    description:
      - Where the artifact and the manifest go. It is created where it does not exist.
    type: path
    required: true
  id:
    description:
      - The id of the pod, which is the name of the hook; by default the base name of O(executable).
      - At most 63 letters, digits, C(.), C(_) and C(-), beginning with a letter or a digit.
    type: str
  launchable_id:
    description:
      - The id of the pod's one launchable; by default the id of the pod.
    type: str
  location:
    description:
      - The URL from which hosts will fetch the artifact, C({}) standing for the artifact's file name.
      - By default the C(file://) URL of the file in O(work_dir), which does for one machine, and for
        O(p2fleet.hooks.p2_hook_schedule#module:upload_artifacts).
    type: str
  env:
    description:
      - Variables for the hook's environment.
    type: dict
  config:
    description:
      - Whatever the hook wants to be configured with. It is there as YAML in the file that E(CONFIG_PATH) names.
    type: dict
  run_as:
    description:
      - The user that the manifest names. As in p2, it is only carried along, and hooks run as the user who runs them,
        mostly root.
    type: str
seealso:
  - module: p2fleet.hooks.p2_hook_schedule
author:
  - The p2fleet.hooks authors (@p2fleet)
"""

EXAMPLES = r"""
- name: Make a directory for hooks
  ansible.builtin.file:
    path: /var/lib/my-hooks
    state: directory
    mode: "0755"

- name: Write a hook
  ansible.builtin.copy:
    dest: /var/lib/my-hooks/ensure_user
    mode: "0755"
    content: |
      #!/bin/bash
      id "$POD_ID" || useradd --create-home --home-dir "/data/pods/$POD_ID" "$POD_ID"

- name: Make a pod of it
  p2fleet.hooks.p2_bin2pod:
    executable: /var/lib/my-hooks/ensure_user
    work_dir: /var/lib/my-hooks/build
  register: ensure_user

- name: Make a pod of it for an artifact server
  p2fleet.hooks.p2_bin2pod:
    executable: /var/lib/my-hooks/ensure_user
    work_dir: /var/lib/my-hooks/public
    location: https://artifacts.example.com/hooks/{}
    env:
      SHELL_OF_USERS: /bin/bash
"""

RETURN = r"""
tar_path:
  description: The artifact.
  returned: success
  type: str
  sample: /var/lib/my-hooks/build/ensure_user_e2c755d211a2c9ac361c7e4ed167d5e30eea091b.tar.gz
manifest_path:
  description: The manifest.
  returned: success
  type: str
  sample: /var/lib/my-hooks/build/ensure_user.yaml
final_location:
  description: The URL from which hosts will fetch the artifact.
  returned: success
  type: str
  sample: https://artifacts.example.com/hooks/ensure_user_e2c755d211a2c9ac361c7e4ed167d5e30eea091b.tar.gz
sha256:
  description: The SHA-256 of the artifact, in hexadecimal.
  returned: success
  type: str
  sample: e2c755d211a2c9ac361c7e4ed167d5e30eea091b13ece1fd9553e20a5dbd1015
manifest:
  description: The manifest, as O(p2fleet.hooks.p2_hook_schedule#module:manifest) takes it.
  returned: success
  type: dict
  sample: {"id": "ensure_user", "launchables": {"ensure_user": {"launchable_type": "hoist"}}}
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.p2fleet.hooks.plugins.module_utils.module import run_module
from ansible_collections.p2fleet.hooks.plugins.module_utils.p2hooks import bin2pod


def body(module: AnsibleModule) -> dict[str, Any]:
    params = module.params
    pod = bin2pod.build(
        params["executable"],
        params["work_dir"],
        pod_id=params["id"],
        launchable_id=params["launchable_id"],
        location=params["location"],
        env=params["env"],
        config=params["config"],
        run_as=params["run_as"],
        check=module.check_mode,
    )
    return {
        "changed": pod.changed,
        "tar_path": pod.tar_path,
        "manifest_path": pod.manifest_path,
        "final_location": pod.final_location,
        "sha256": pod.sha256,
        "manifest": pod.manifest.data,
        "diff": {
            "before_header": pod.manifest_path,
            "after_header": pod.manifest_path,
            "before": pod.manifest_before,
            "after": pod.manifest.text,
        },
    }


def main() -> None:
    run_module(
        body,
        argument_spec={
            "executable": {"type": "path", "required": True},
            "work_dir": {"type": "path", "required": True},
            "id": {"type": "str"},
            "launchable_id": {"type": "str"},
            "location": {"type": "str"},
            "env": {"type": "dict"},
            "config": {"type": "dict"},
            "run_as": {"type": "str"},
        },
        supports_check_mode=True,
    )


if __name__ == "__main__":
    main()
