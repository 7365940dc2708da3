# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The option that tells where a host has the values of options that a task leaves out."""

from __future__ import annotations


class ModuleDocFragment:
    """Used as C(p2fleet.hooks.configuration); the counterpart of C(CONFIGURATION) in C(module_utils/options.py)."""

    DOCUMENTATION = r"""
options:
  config_file:
    description:
      - The configuration file, on the host where the module runs. It can set all options that say so, and a task that
        leaves one out gets the value in the file.
      - If it is not set, V(/etc/p2-hook.conf) is used, if it exists.
      - Whoever can write to it, or to a directory above it, decides what runs as root, so it is refused where that is
        anybody but root and the user who runs the module.
    type: path
"""
