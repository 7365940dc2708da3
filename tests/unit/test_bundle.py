# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import p2hooks
import pytest
from p2hooks.bundle import BUNDLED

ENGINE = Path(p2hooks.__file__).parent
COMMAND = ENGINE.parents[2] / "bin" / "p2-hook"

#: Calls p2-hook, and tells which modules of the engine were found in files, as importing does, and which were loaded in
#: all; and whether os was.
SPY = """
import posix, sys
sys.argv = ["p2-hook", *sys.argv[2:]]
sys.path.insert(0, posix.environ[b"ENGINE"].decode())
from p2hooks import start
def tell(code):
    modules = {name[8:]: module for name, module in sys.modules.items() if name.startswith("p2hooks.")}
    modules.update({name: module for name, module in sys.modules.items() if name == "os"})
    print(code, *sorted(f"{name}={'file' if module.__spec__ else 'bundle'}" for name, module in modules.items()))
    sys.stdout.flush()
    exit_(code)
exit_, posix._exit = posix._exit, tell
start.main()
"""

#: Loads the bundle, and tells which modules have its stand-in for os, which another os, and whether what is imported
#: after that gets os itself.
STAND_IN = """
import posix, sys
sys.path.insert(0, posix.environ[b"ENGINE"].decode())
from p2hooks import start
start.load_bundle()
stand_in = sys.modules["p2hooks.lean_os"]
having = {module.__name__: vars(module)["os"] for module in sys.modules.values() if "os" in vars(module)}
kept = [name for name, module in having.items() if module is stand_in]
others = [name for name in having if name not in kept]
import json, os.path, shutil
real = os is shutil.os is sys.modules["os"] is not stand_in and type(os.environ).__name__ == "_Environ"
print(json.dumps({"kept": kept, "others": others, "real": real}))
"""


class Installed:
    """The command and the engine, as docs/command.md has them installed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        shutil.copy(COMMAND, path)
        shutil.copytree(ENGINE, path / "p2hooks", ignore=shutil.ignore_patterns("__pycache__"))

    def call(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-IS", str(self.path / "p2-hook"), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    def compile(self) -> Path:
        done = self.call("compile")
        assert (done.returncode, done.stderr) == (0, "")
        (bundle,) = (self.path / "p2hooks" / "__pycache__").glob("*.bundle")
        assert str(bundle) in done.stdout
        return bundle

    def would_compile(self) -> bool:
        done = self.call("compile", "--check", "--json")
        assert (done.returncode, done.stderr) == (0, "")
        return bool(json.loads(done.stdout)["changed"])

    def modules_of_a_run(self) -> dict[str, str]:
        """Run the hooks of an event; return the module names of the engine, and os, if loaded, and where from."""
        arguments = ["run", "before_install", "hello", "--root", str(self.path / "root")]
        arguments += ["--audit-log", str(self.path / "audit.jsonl")]
        command = [sys.executable, "-IS", "-c", SPY, "p2-hook", *arguments]
        environment = {**os.environ, "ENGINE": str(self.path)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        code, *modules = done.stdout.splitlines()[-1].split()
        assert code == "0"
        return dict(module.split("=") for module in modules)


@pytest.fixture
def installed(tmp_path: Path) -> Installed:
    scripts = tmp_path / "root" / "exec" / "before_install"
    scripts.mkdir(parents=True)
    (scripts / "hello").write_text("#!/bin/sh\necho hello\n")
    (scripts / "hello").chmod(0o755)
    return Installed(tmp_path)


def test_a_run_imports_nothing_but_the_bundle(installed: Installed) -> None:
    installed.compile()
    loaded = installed.modules_of_a_run()
    assert loaded.pop("start") == "file"
    assert loaded == dict.fromkeys(BUNDLED, "bundle")


def test_only_the_bundle_and_paths_keep_its_stand_in_for_os(installed: Installed) -> None:
    installed.compile()
    environment = {**os.environ, "ENGINE": str(installed.path)}
    command = [sys.executable, "-IS", "-c", STAND_IN]
    told = json.loads(subprocess.run(command, env=environment, capture_output=True, check=True).stdout)
    assert told["real"]
    assert told["others"] == []
    elsewhere = [name for name in told["kept"] if name.removeprefix("p2hooks.") not in BUNDLED]
    # A module of Python that has it has it for good, though it may one day need more than the stand-in can give.
    assert sorted(elsewhere) == ["genericpath", "posixpath"]
    assert {"p2hooks.run_command", "p2hooks.vetting", "p2hooks.runner"} <= {*told["kept"]}


def test_without_a_bundle_it_imports_the_same_modules(installed: Installed) -> None:
    loaded = installed.modules_of_a_run()
    assert set(loaded) == {"os", "start", *BUNDLED} - {"lean_os"}
    assert set(loaded.values()) == {"file"}


def test_the_module_that_installs_the_engine_brings_all_of_the_bundle() -> None:
    source = (ENGINE.parents[1] / "modules" / "p2_hook_engine.py").read_text()
    imports = [node for node in ast.parse(source).body if isinstance(node, ast.ImportFrom)]
    brought = [name.name for node in imports if str(node.module).endswith(".p2hooks") for name in node.names]
    program = f"""
import importlib, json, sys
for name in {brought}:
    importlib.import_module(f"p2hooks.{{name}}")
print(json.dumps([*sys.modules]))
"""
    environment = {**os.environ, "PYTHONPATH": str(ENGINE.parent)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, check=True)
    assert {f"p2hooks.{name}" for name in BUNDLED} <= set(json.loads(done.stdout))


def spoil(bundle: Path, engine: Path) -> None:
    bundle.write_bytes(bundle.read_bytes()[:5000])


def be_of_another_python(bundle: Path, engine: Path) -> None:
    bundle.write_bytes(b"\0\0\r\n" + bundle.read_bytes()[4:])


def be_empty(bundle: Path, engine: Path) -> None:
    bundle.write_bytes(b"")


def be_older_than_a_source(bundle: Path, engine: Path) -> None:
    os.utime(engine / "vetting.py", (1, 1))


def be_of_a_changed_source(bundle: Path, engine: Path) -> None:
    status = (engine / "runner.py").stat()
    with (engine / "runner.py").open("a") as source:
        source.write("\n")
    os.utime(engine / "runner.py", ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.parametrize(
    "damage", [spoil, be_of_another_python, be_empty, be_older_than_a_source, be_of_a_changed_source]
)
def test_a_bundle_that_does_not_fit_is_not_used(installed: Installed, damage: Callable[[Path, Path], None]) -> None:
    damage(installed.compile(), installed.path / "p2hooks")
    assert set(installed.modules_of_a_run().values()) == {"file"}
    assert installed.would_compile()


def test_compiling_again_mends_that(installed: Installed) -> None:
    assert installed.would_compile()
    spoil(installed.compile(), installed.path / "p2hooks")
    bundle = installed.compile()
    assert not installed.would_compile()
    before = bundle.stat()
    done = installed.call("compile", "--json")
    assert (done.returncode, json.loads(done.stdout)) == (0, {"changed": False, "bundle": str(bundle)})
    assert installed.call("compile").stdout.startswith("the engine is compiled, ")
    assert bundle.stat() == before
    assert str(bundle) == json.loads(installed.call("compile", "--check", "--json").stdout)["bundle"]
    assert installed.modules_of_a_run()["run"] == "bundle"


def test_a_bundle_that_cannot_be_written_is_one_line(installed: Installed) -> None:
    (installed.path / "p2hooks" / "__pycache__").write_text("")
    done = installed.call("compile")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert done.stderr.startswith(f"p2-hook: {installed.path}/p2hooks")


def test_the_engine_has_to_be_there(tmp_path: Path) -> None:
    shutil.copy(COMMAND, tmp_path)
    done = subprocess.run(
        [sys.executable, "-IS", str(tmp_path / "p2-hook")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr == f"p2-hook: {tmp_path}: the engine is not here; put the directory p2hooks beside p2-hook\n"
