"""Hash of the library code that a result depends on, so that a result of other code can be told.

The hash of a module covers it and every module of ``rinr_flower`` that it imports, directly or not, and the weights
(``.npz``) that lie beside one of them. Comments, docstrings and layout do not enter, nor do texts of errors and of log
lines, nor modules that no figure follows from (NO_FIGURE), nor anything outside ``rinr_flower``: versions are in the
result's machine.
"""

from __future__ import annotations

import ast
import copy
import hashlib
from collections.abc import Iterator, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from rinr_flower.codecs import Codec

_ROOT = "rinr_flower"
NO_FIGURE = ("rinr_flower.errors", "rinr_flower.files", "rinr_flower.registry")
_DIGITS = 16


def digest_of(modules: Sequence[str]) -> str:
    """Hash of ``modules``, all that they import and the weights beside them. ModuleNotFoundError if one is gone."""
    found = hashlib.sha256()
    files = closure(modules)
    for name, file in sorted(files.items()):
        if name in NO_FIGURE:
            continue
        found.update(f"{name}\0{_shape(file)}\0".encode())
    for weights in sorted({path for file in files.values() for path in file.parent.glob("*.npz")}):
        found.update(f"{weights.name}\0".encode() + weights.read_bytes())
    return found.hexdigest()[:_DIGITS]


def closure(modules: Sequence[str]) -> dict[str, Path]:
    """``modules`` and the modules of ``rinr_flower`` that they import, directly or not, by name with their files.

    A package counts as its ``__init__``. ModuleNotFoundError if one of ``modules`` does not exist.
    """
    files: dict[str, Path] = {}
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        if name in files:
            continue
        file = _file(name)
        if file is None:
            raise ModuleNotFoundError(f"no module {name}")
        files[name] = file
        waiting += _imports(file)
    return files


def code_of(codec: Codec) -> list[str]:
    """Modules that the size and the quality of a codec's payload depend on, a background's within it included."""
    parts = [codec, *(v for v in vars(codec).values() if isinstance(v, Codec))]
    return [*dict.fromkeys(type(part).__module__ for part in parts), "rinr_flower.quality"]


@cache
def _file(name: str) -> Path | None:
    try:
        spec = find_spec(name)
    except ModuleNotFoundError:
        return None
    return None if spec is None or spec.origin is None else Path(spec.origin)


@cache
def _tree(file: Path) -> ast.Module:
    return ast.parse(file.read_bytes())


@cache
def _imports(file: Path) -> tuple[str, ...]:
    """Modules of ``rinr_flower`` that a file imports, within functions too."""
    names = []
    for node in ast.walk(_tree(file)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.partition(".")[0] == _ROOT:
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            modules = [name for name in inner if _file(name)]
            # "from package import module" needs the module alone; "from package import name" needs the package
            names += modules if len(modules) == len(inner) else [node.module, *modules]
    return tuple(name for name in names if name.partition(".")[0] == _ROOT)


@cache
def _shape(file: Path) -> str:
    return "".join(_written(_tree(file)))


def _written(node: object) -> Iterator[str]:
    """A syntax tree in a form that is the same for all versions of Python: no positions, docstrings and messages."""
    if isinstance(node, ast.Raise) or _is_log_line(node):
        node = _Silent().visit(copy.deepcopy(node))
    if isinstance(node, ast.AST):
        yield type(node).__name__ + "("
        for field, value in ast.iter_fields(node):
            if value is not None and value != []:
                yield field + "="
                yield from _written(_without_docstring(node, value) if field == "body" else value)
        yield ")"
    elif isinstance(node, list):
        for item in node:
            yield from _written(item)
            yield ","
    else:
        yield repr(node)


class _Silent(ast.NodeTransformer):
    """Empty all texts."""

    def visit_JoinedStr(self, node: ast.JoinedStr) -> ast.Constant:
        return ast.Constant("")

    def visit_Constant(self, node: ast.Constant) -> ast.Constant:
        return ast.Constant("") if isinstance(node.value, str) else node


def _is_log_line(node: object) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Call)
        and isinstance(node.value.func, ast.Attribute)
        and isinstance(node.value.func.value, ast.Name)
        and node.value.func.value.id == "log"
    )


def _without_docstring(node: ast.AST, body: object) -> object:
    documented = isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
    return [s for s in body if not _is_text(s)] if documented and isinstance(body, list) else body


def _is_text(statement: ast.stmt) -> bool:
    """Return True for a docstring and for a text that documents the name above it."""
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )
