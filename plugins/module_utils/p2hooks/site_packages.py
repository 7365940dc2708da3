# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the libraries are that the engine needs: those of the distribution, and those of the engine's own."""

from __future__ import annotations

import os
import sys

#: What the role hook_runner installs where the distribution has no usable library for Consul. Modules find it, too.
OWN = f"/usr/local/lib/p2-hook/venv/lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"


def add() -> None:
    """Make installed libraries importable, if they are not yet; the command runs hooks without paying for that."""
    if sys.flags.no_site and "site" not in sys.modules:
        import site

        site.main()
    # In front, since what it is there for is that the distribution's is too old.
    if OWN not in sys.path and os.path.isdir(OWN):
        sys.path.insert(0, OWN)
