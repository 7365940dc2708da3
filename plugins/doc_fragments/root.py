# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The option that tells where hooks are on a host."""

from __future__ import annotations


class ModuleDocFragment:
    """Used as C(p2fleet.hooks.root); the counterpart of C(ROOT) in C(module_utils/options.py)."""

    DOCUMENTATION = r"""
options:
  root:
    description:
      - The directory below which hooks are installed, as C(pods/), and from which they run, as C(exec/).
      - If it is not set, the value in the configuration file is used, and without one V(/data/hooks).
    type: path
"""
