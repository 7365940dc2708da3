# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of running hooks that a host can set for all its runs."""

from __future__ import annotations


class ModuleDocFragment:
    """Used as C(p2fleet.hooks.run); the counterpart of C(RUN) in C(module_utils/options.py)."""

    DOCUMENTATION = r"""
options:
  pod_root:
    description:
      - The directory that holds the homes of all pods of this host.
      - If it is not set, the value in the configuration file is used, and without one V(/data/pods).
    type: path
  node:
    description:
      - The name of this host, which hooks see as E(HOOKED_NODE).
      - If it is not set, the value in the configuration file is used, and without one its host name.
    type: str
  term_after:
    description:
      - Seconds after which everything that a hook started is sent SIGTERM, and the run goes on with the next one.
      - If it is not set, the value in the configuration file is used, and without one V(30).
    type: float
  kill_after:
    description:
      - Seconds, also from its start, after which what is left of a hook is sent SIGKILL, even if the run is over by
        then, or was itself killed.
      - If it is not set, the value in the configuration file is used, and without one V(60), or twice O(term_after)
        if that is more.
    type: float
"""
