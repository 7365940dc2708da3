# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import p2hooks
import pytest
from p2hooks import lean_os

#: Loads the module as the bundle does, in an interpreter that has not imported os, and asks it for an expression.
AS_IN_THE_BUNDLE = """
import sys
sys.path.append(sys.argv[1])
assert "os" not in sys.modules
name = "p2hooks.lean_os"
module = sys.modules[name] = sys.modules["os"] = type(sys)(name)
with open(f"{sys.argv[1]}/p2hooks/lean_os.py") as source:
    exec(compile(source.read(), name, "exec"), module.__dict__)
if sys.argv[2] == "loaded":
    del sys.modules["os"]
result = eval(sys.argv[3], {"lean_os": module})
print(result, "with os" if "os" in sys.modules and sys.modules["os"] is not module else "without os")
"""


def in_the_bundle(expression: str, when: str = "loaded") -> str:
    engine = str(Path(p2hooks.__file__).parents[1])
    command = [sys.executable, "-IS", "-c", AS_IN_THE_BUNDLE, engine, when, expression]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.rstrip("\n")


@pytest.mark.parametrize("name", sorted(name for name in vars(lean_os) if hasattr(os, name) and name[:2] != "__"))
def test_what_it_has_is_what_os_has(name: str) -> None:
    if name in ("fsencode", "fsdecode"):
        return
    assert getattr(lean_os, name) == getattr(os, name)


@pytest.mark.parametrize("name", ["plain", "h\xe4lt", "\udcff\udc80", ""])
def test_names_are_coded_as_by_os(name: str) -> None:
    assert lean_os.fsencode(name) == os.fsencode(name)
    assert lean_os.fsdecode(os.fsencode(name)) == name


def test_what_it_lacks_comes_from_os() -> None:
    assert lean_os.environ is os.environ
    with pytest.raises(AttributeError):
        lean_os.no_such_thing  # noqa: B018


def test_paths_and_calls_do_without_os() -> None:
    assert in_the_bundle("lean_os.path.abspath('/a/../b'), lean_os.getpid() > 0") == "('/b', True) without os"


@pytest.mark.parametrize("when", ["loading", "loaded"])
def test_os_is_imported_for_the_rest(when: str) -> None:
    assert (
        in_the_bundle("lean_os.path.expandvars('$NONE'), len(lean_os.environ) > 0", when) == "('$NONE', True) with os"
    )


@pytest.mark.parametrize("when", ["loading", "loaded"])
def test_its_path_can_be_imported_as_that_of_os(when: str) -> None:
    expression = "__import__('os.path', fromlist=['join']).join('a', 'b')"
    assert in_the_bundle(expression, when) == "a/b without os"
