# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Byte code that is there from installation: that of each module, and the bundle, which :mod:`.start` loads.

The bundle has Python's magic number, as byte code has, and then what marshal makes of a list: for each module its name,
its file below the package, when that was last changed in ns, its size in bytes, and its code.
"""

from __future__ import annotations

import ast
import compileall
import marshal
import os
from types import CodeType

from . import disk, start
from .errors import LayoutError

#: The modules that ``p2-hook run`` needs, each behind those that it imports; first what they get as ``os``.
BUNDLED = (
    "lean_os", "errors", "events", "ids", "layout", "vetting", "files", "configuration", "outcomes", "time_limits",
    "audit.json_lines", "audit.running", "audit", "console", "envdir", "hooked_pod", "install_record", "process_tree",
    "event_hooks", "process", "runner", "run", "run_command",
)  # fmt: skip


def compile_engine() -> str:
    """Write the byte code of the engine that this belongs to, and its bundle; return the bundle's path.

    Raises:
        LayoutError: a file cannot be written, or a source cannot be compiled.
    """
    package = os.path.dirname(os.path.abspath(__file__))
    with disk.errors_as_layout_errors("compiling the engine"):
        if not compileall.compile_dir(package, quiet=2):
            raise LayoutError(f"{package}: not all of it can be compiled; are you root? else install the engine anew")
        modules = [_bundled(package, name) for name in BUNDLED]
        disk.write_file(start.bundle_path(), start.magic().ljust(start.MAGIC_BYTES) + marshal.dumps(modules), 0o644)
    return start.bundle_path()


def is_compiled() -> bool:
    """Tell whether there is a bundle of this Python and of the sources that are here now; it is written last."""
    return start.read_bundle() is not None


def _bundled(package: str, name: str) -> tuple[str, str, int, int, CodeType]:
    path = name.replace(".", "/")
    path += "/__init__.py" if os.path.isdir(f"{package}/{path}") else ".py"
    with open(f"{package}/{path}", "rb") as source:
        status = os.fstat(source.fileno())
        code = _compiled(source.read(), f"{package}/{path}")
    return f"{__package__}.{name}", path, status.st_mtime_ns, status.st_size, code


def _compiled(source: bytes, path: str) -> CodeType:
    """Compile a module without what costs a run time to load, and does nothing in it: docstrings and annotations."""
    tree = _WithoutAnnotations().visit(ast.parse(source))
    code: CodeType = compile(tree, path, "exec", dont_inherit=True, optimize=2)
    return code


class _WithoutAnnotations(ast.NodeTransformer):
    """Takes annotations out of a module, and the import of ``__future__`` that keeps Python from executing them."""

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.ImportFrom | None:
        return None if node.module == "__future__" else node

    def visit_arg(self, node: ast.arg) -> ast.arg:
        node.annotation = None
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        node.returns = None
        self.generic_visit(node)
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.stmt:
        """Leave the assignment alone; what only declares a name becomes nothing."""
        if node.value is None:
            return ast.copy_location(ast.Pass(), node)
        return ast.copy_location(ast.Assign([node.target], node.value), node)
