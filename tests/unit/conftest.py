# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import importlib
import signal
import sys
from types import ModuleType

import p2hooks
import p2hooks.manifest
import p2hooks.strict_yaml
import pytest
import yaml


@pytest.fixture(autouse=True, scope="session")
def unignored_interrupt() -> None:
    """Give what the tests start the usual SIGINT, which shells that run this in the background ignore."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", params=["libyaml", "without libyaml"])
def manifests(request: pytest.FixtureRequest) -> ModuleType:
    """The module ``p2hooks.manifest``, once on each of the two parsers that PyYAML can have."""
    if request.param == "libyaml":
        if not yaml.__with_libyaml__:
            pytest.skip("PyYAML was built without libyaml")
        return p2hooks.manifest
    with pytest.MonkeyPatch.context() as patch:
        for name in list(sys.modules):
            if name.partition(".")[0] == "yaml":
                patch.delitem(sys.modules, name)
        patch.setitem(sys.modules, "yaml._yaml", None)
        for name in ("strict_yaml", "manifest"):
            patch.delitem(sys.modules, f"p2hooks.{name}")
            patch.delattr(p2hooks, name)
        module = importlib.import_module("p2hooks.manifest")
        assert not module.strict_yaml._library().yaml.__with_libyaml__
    return module
