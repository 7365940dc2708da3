# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the command ``p2-hook`` begins, and what makes ``p2-hook run`` begin quickly.

Importing a module costs looking for its file, reading and checking it; for the few hundred lines that running hooks
needs, that takes longer than executing them. So ``p2-hook compile`` writes them into one file, the *bundle*
(:mod:`.bundle`), from which they are loaded here.
"""

import gc
import posix  # not os: see lean_os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: How many bytes of a bundle hold the magic number.
MAGIC_BYTES = 16


def main() -> None:
    """Do what the arguments of this process say, and end it with the exit code of docs/command.md."""
    # A run is over before there is enough garbage to be worth looking for.
    gc.disable()
    arguments = sys.argv[1:]
    try:
        if arguments[:1] == ["run"]:
            load_bundle()
            from .run_command import main as run

            code = run(arguments[1:])
        else:
            gc.enable()
            from .cli import main as cli

            code = cli(arguments)
    except KeyboardInterrupt as interrupt:
        code = 130
        if interrupt.args:  # only that of runner.run_apart has something to say
            posix.write(2, f"p2-hook: interrupted; {interrupt}, and 'p2-hook audit' will show what it did\n".encode())
    posix._exit(code)  # everything has been written, and taking the interpreter down costs time


def bundle_path() -> str:
    """Return where the bundle is for the Python that this runs on."""
    return f"{_package()}/__pycache__/run.{sys.implementation.cache_tag}.bundle"


def _package() -> str:
    return __file__.rpartition("/")[0]


def magic() -> bytes:
    """Return what tells byte code of this Python from that of another."""
    # The module importlib.util has the same, but importing it costs time.
    number: bytes = sys.modules["_frozen_importlib_external"].MAGIC_NUMBER
    return number


def read_bundle() -> "list[Any] | None":
    """Return the modules of the bundle, see :mod:`.bundle`, if it is of this Python and of these sources; else None."""
    import marshal

    package = _package()
    try:
        with open(bundle_path(), "rb", buffering=0) as file:
            if file.read(MAGIC_BYTES) != magic().ljust(MAGIC_BYTES):
                return None
            modules = marshal.loads(file.read())  # noqa: S302 (written beside the engine, by who installed that)
        for dummy, path, changed, size, *dummy in modules:
            status = posix.stat(f"{package}/{path}")
            if (status.st_mtime_ns, status.st_size) != (changed, size):
                return None
    except (OSError, ValueError, EOFError, TypeError):
        return None
    return list(modules)


def load_bundle() -> None:
    """Load the modules of the bundle if it fits; else do nothing, and they are imported from their files."""
    package = _package()
    modules = read_bundle()
    if modules is None:
        return
    for name, path, *dummy in modules:
        module = sys.modules[name] = type(sys)(name)
        module.__file__ = f"{package}/{path}"
        if path.endswith("__init__.py"):
            module.__path__ = [module.__file__.rpartition("/")[0]]
    lean_os = sys.modules[f"{__package__}.lean_os"]
    sys.modules.setdefault("os", lean_os)
    for name, *dummy, code in modules:
        module = sys.modules[name]
        parent, dummy, child = name.rpartition(".")
        module.__package__ = name if hasattr(module, "__path__") else parent
        setattr(sys.modules[parent], child, module)
        exec(code, module.__dict__)  # noqa: S102 (as importing them does)
    if sys.modules["os"] is lean_os:
        del sys.modules["os"]  # whoever is imported from now on gets os itself
