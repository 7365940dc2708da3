# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the filters of a rollout share."""

from __future__ import annotations

import json
from typing import Any

from ansible_collections.p2fleet.hooks.plugins.module_utils.p2hooks.errors import ManifestError
from ansible_collections.p2fleet.hooks.plugins.module_utils.p2hooks.hook_key import HookKey
from ansible_collections.p2fleet.hooks.plugins.module_utils.p2hooks.hook_options import read_manifest
from ansible_collections.p2fleet.hooks.plugins.module_utils.p2hooks.manifest import PodManifest


def hook_and_manifest(event: str | None, manifest: Any) -> tuple[HookKey, PodManifest]:
    """Return the hook of a manifest, which is a mapping or text, and the manifest as modules have it.

    Raises:
        ManifestError: it is not valid.
    """
    try:
        pod = read_manifest(json.loads(json.dumps(manifest)))  # modules get plain JSON, templates what Ansible tagged
    except (TypeError, ValueError):
        raise ManifestError("the manifest holds what JSON cannot say; give numbers, texts and lists") from None
    return HookKey.of(event, pod.id), pod
