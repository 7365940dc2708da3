#!/usr/bin/python
# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Install the engine itself on a host."""

from __future__ import annotations

DOCUMENTATION = r"""
module: p2_hook_engine
short_description: Install the command p2-hook on a host
version_added: 0.1.0
description:
  - Puts the engine of this collection below C(/usr/local/lib/p2-hook/), and the command C(p2-hook) into
    C(/usr/local/bin/). The role P(p2fleet.hooks.hook_runner#role) does this, and all else that a host needs.
  - A new version is written and compiled aside, and takes over by one rename. The one before stays, for whoever is
    still at work with it; all older ones are removed, and so is an engine that was installed by hand.
  - One that is there is compiled anew when the host has got another Python since.
extends_documentation_fragment:
  - p2fleet.hooks.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
    details: Shows the names of the releases.
  platform:
    support: full
    platforms: linux
options:
  state:
    description:
      - V(present) installs the engine of this collection, V(absent) removes the engine and the command.
    type: str
    choices: [present, absent]
    default: present
  command:
    description:
      - The text of C(bin/p2-hook) in this collection, which modules do not carry with them. Needed for
        O(state=present).
    type: str
seealso:
  - module: p2fleet.hooks.p2_hook_install
author:
  - The p2fleet.hooks authors (@p2fleet)
"""

EXAMPLES = r"""
- name: Install the command p2-hook
  p2fleet.hooks.p2_hook_engine:
    command: "{{ lookup('ansible.builtin.file', path_of_the_collection ~ '/bin/p2-hook', rstrip=false) }}"

- name: Remove it
  p2fleet.hooks.p2_hook_engine:
    state: absent
"""

RETURN = r"""
release:
  description: The name of what is installed, which begins with its version; null if it was removed.
  returned: success
  type: str
  sample: 0.1.0-8d2f1c0a9b7e
previous_version:
  description: The version that was there before, null if there was none.
  returned: success
  type: str
  sample: null
"""

import json
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.p2fleet.hooks.plugins.module_utils.module import run_module
from ansible_collections.p2fleet.hooks.plugins.module_utils.p2hooks import (
    cli,
    engine_home,
    lean_os,
    run_command,
)
from ansible_collections.p2fleet.hooks.plugins.module_utils.p2hooks.errors import LayoutError, shown

# Modules bring what they import with them, which is how the engine comes to the host: these import all of it that hosts
# need.
ENGINE = (cli, lean_os, run_command)

PYTHON = "/usr/bin/python3"


def body(module: AnsibleModule) -> dict[str, Any]:
    home = engine_home.EngineHome()
    version = home.version()
    before = f"{version}\n" if version else ""
    if module.params["state"] == "absent":
        changed = bool(home.present())
        if changed and not module.check_mode:
            home.remove()
        release = None
    else:
        files = engine_home.sources(module.params["command"])
        release = engine_home.release_of(files)
        changed = not (home.has(release, files) and is_compiled(module, f"{home.home}/current"))
        if changed and not module.check_mode:
            directory = home.write(release, files)
            compile_engine(module, directory)
            home.activate(release)
    return {
        "changed": changed,
        "release": release,
        "previous_version": version,
        "diff": {"before": before, "after": f"{release}\n" if release else ""},
    }


def is_compiled(module: AnsibleModule, directory: str) -> bool:
    """Tell whether the engine is compiled for the Python that will run it."""
    code, out, dummy = module.run_command([PYTHON, "-IS", f"{directory}/p2-hook", "compile", "--check", "--json"])
    return code == 0 and not json.loads(out)["changed"]


def compile_engine(module: AnsibleModule, directory: str) -> None:
    """Let the Python that will run the engine compile it, which may not be the one that runs this module."""
    code, out, err = module.run_command([PYTHON, "-IS", f"{directory}/p2-hook", "compile"])
    if code:
        raise LayoutError(f"{directory}: {PYTHON} cannot compile the engine: {shown((err or out).strip(), 200)}")


def main() -> None:
    run_module(
        body,
        argument_spec={
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "command": {"type": "str"},
        },
        required_if=[("state", "present", ["command"])],
        supports_check_mode=True,
    )


if __name__ == "__main__":
    main()
