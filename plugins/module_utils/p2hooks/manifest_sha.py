# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The number that tells versions of a manifest apart.

It is apart from the rules for manifests, since a run of hooks needs the number of the hooked pod's, and nothing else.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any


def sha_of(data: Mapping[str, Any]) -> str:
    """Return the SHA-256, in hexadecimal, of a manifest in one form: JSON, which is YAML, with sorted keys.

    So comments and the order of keys do not change it.
    """
    form = json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(form.encode()).hexdigest()
