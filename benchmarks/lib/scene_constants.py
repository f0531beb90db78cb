"""Constants of ``scene`` set to other values for one run of a benchmark: MODULE:NAME=VALUE."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from rinr_flower.codecs import scene
from rinr_flower.errors import ConfigError

_BELOW = f"{scene.__name__}."
_WRITTEN = (bool, int, float, str)


@contextmanager
def constants_set(texts: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Set constants while the context lasts, each in its module and wherever it was imported by name.

    Parameters
    ----------
    texts : MODULE:NAME=VALUE, the module below ``rinr_flower.codecs.scene`` and the value as Python writes it. The last
        of several values of one constant counts.

    Yields
    ------
    The values by MODULE:NAME. What other constants were computed from them when modules were loaded stays as it was.

    Raises
    ------
    ConfigError, before anything is set, for a module or a name that is not there, and a value of another type.
    """
    modules = _modules()
    wanted = [_parsed(text, modules) for text in texts]
    before: list[tuple[ModuleType, str, Any]] = []
    try:
        for module, name, value in wanted:
            for user in _users(modules, module, name):
                before.append((user, name, vars(user)[name]))
                setattr(user, name, value)
        yield {f"{_short(module)}:{name}": value for module, name, value in wanted}
    finally:
        for user, name, value in reversed(before):
            setattr(user, name, value)


def _modules() -> dict[str, ModuleType]:
    """All modules below ``scene``, loaded, by the rest of their name."""
    for info in pkgutil.walk_packages(scene.__path__, _BELOW):
        importlib.import_module(info.name)
    return {name.removeprefix(_BELOW): m for name, m in sorted(sys.modules.items()) if name.startswith(_BELOW)}


def _users(modules: dict[str, ModuleType], module: ModuleType, name: str) -> list[ModuleType]:
    """``module``, and those that hold the same object under the same name without an assignment of their own."""
    value = vars(module)[name]
    others = (m for m in modules.values() if vars(m).get(name) is value and name not in _assigned(m))
    return [module, *others]


def _parsed(text: str, modules: dict[str, ModuleType]) -> tuple[ModuleType, str, Any]:
    place, equals, written = text.partition("=")
    short, colon, name = place.strip().partition(":")
    if not equals or not colon:
        raise ConfigError(f"--constant {text!r} is not MODULE:NAME=VALUE, as encode.quantise:LAMBDA=0.14 is")
    known = {m: _constants(found) for m, found in modules.items()}
    if not known.get(short):
        with_any = ", ".join(m for m, names in known.items() if names)
        raise ConfigError(f"--constant {text!r}: no module {_BELOW}{short} has constants; these have: {with_any}")
    module = modules[short]
    if name not in known[short]:
        homes = [
            f"{m}:{name}" for m in modules if name in known[m] and vars(modules[m])[name] is vars(module).get(name)
        ]
        way_out = f"set {homes[0]}" if homes else f"it has {', '.join(known[short])}"
        raise ConfigError(f"--constant {text!r}: {short} has no constant {name} of its own; {way_out}")
    present = vars(module)[name]
    if not _writable(present):
        kind, file = type(present).__name__, Path(str(module.__file__)).name
        raise ConfigError(f"--constant {text!r}: a value of type {kind} cannot be written here; change it in {file}")
    try:
        return module, name, _like(present, ast.literal_eval(written.strip()))
    except (ValueError, TypeError, SyntaxError) as error:
        kind = type(present).__name__
        raise ConfigError(
            f"--constant {text!r}: write a value of type {kind}, as the present {present!r} is"
        ) from error


def _constants(module: ModuleType) -> list[str]:
    """Names in capitals that the module itself assigns."""
    return sorted(n for n in _assigned(module) if n.isupper() and n in vars(module))


def _assigned(module: ModuleType) -> set[str]:
    """Names that the module's own statements assign, not those that it imports."""
    statements = ast.parse(Path(str(module.__file__)).read_bytes()).body
    targets = [t for s in statements if isinstance(s, ast.Assign) for t in s.targets]
    targets += [s.target for s in statements if isinstance(s, ast.AnnAssign)]
    return {node.id for t in targets for node in ast.walk(t) if isinstance(node, ast.Name)}


def _writable(value: Any) -> bool:
    return all(map(_writable, value)) if type(value) is tuple else type(value) in _WRITTEN


def _like(present: Any, value: Any) -> Any:
    """``value``, made a float if only ``present`` is one. ValueError if it is of another type than ``present``."""
    if type(present) is float and type(value) is int:
        return float(value)
    if type(value) is not type(present) or (isinstance(value, tuple) and len(value) != len(present)):
        raise ValueError(f"{value!r} is not as {present!r} is")
    return tuple(map(_like, present, value)) if isinstance(value, tuple) else value


def _short(module: ModuleType) -> str:
    return module.__name__.removeprefix(_BELOW)
