"""One registry for everything that third parties may add: codecs, data sets, update compressors.

A component is a frozen dataclass whose fields are its options. Another distribution adds one by an entry point in the
registry's group, for example ``[project.entry-points."rinr_flower.codecs"] mine = "my_package:MyCodec"``.
"""

from __future__ import annotations

import dataclasses
import math
import typing
from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from typing import Any, Generic, TypeVar

from rinr_flower.errors import ConfigError

T = TypeVar("T")


class Registry(Generic[T]):
    """Names to component classes.

    Parameters
    ----------
    kind : what a component is called in error texts, for example ``"codec"``.
    group : the entry-point group that third parties register in.
    """

    def __init__(self, kind: str, group: str) -> None:
        self.kind = kind
        self.group = group
        self._classes: dict[str, type[T]] = {}
        self._discovered = False

    def register(self, name: str) -> Callable[[type[T]], type[T]]:
        """Class decorator: make the class known as ``name`` (also its ``name`` attribute)."""

        def add(cls: type[T]) -> type[T]:
            self._classes[name] = cls
            cls.name = name  # type: ignore[attr-defined]
            return cls

        return add

    def _discover(self) -> None:
        if not self._discovered:
            self._discovered = True
            for point in entry_points(group=self.group):
                if point.name not in self._classes:
                    self.register(point.name)(point.load())

    def names(self) -> list[str]:
        """All known names, sorted."""
        self._discover()
        return sorted(self._classes)

    def get(self, name: str) -> type[T]:
        """The class behind ``name``; raises ConfigError that lists the known names."""
        self._discover()
        if name not in self._classes:
            raise ConfigError(f"unknown {self.kind} {name!r}; known: {', '.join(self.names())}")
        return self._classes[name]

    def create(self, spec: str | Mapping[str, Any], **options: Any) -> T:
        """Build a component from a name, or from a mapping with a ``name`` key and options (as in YAML).

        Values are converted to the type of the dataclass field (the command line hands in strings). Unknown options and
        values of the wrong type are a ConfigError that lists the known ones.
        """
        if isinstance(spec, Mapping):
            if "name" not in spec:
                raise ConfigError(f"a {self.kind} given as a mapping needs a 'name'; known: {', '.join(self.names())}")
            options = {**{k: v for k, v in spec.items() if k != "name"}, **options}
            spec = str(spec["name"])
        if not isinstance(spec, str):
            raise ConfigError(
                f"a {self.kind} is given by its name, or as a mapping with 'name' and options, not by {spec!r}; known: "
                f"{', '.join(self.names())}"
            )
        cls = self.get(spec)
        return build_dataclass(cls, options, where=f"{self.kind} {spec!r}")


def build_dataclass(cls: type[T], options: Mapping[str, Any], *, where: str) -> T:
    """``cls(**options)`` after checking keys and converting values to the annotated field types.

    A class may define ``parse_options(options) -> options`` to accept richer notation (nested components, presets).
    """
    parse = getattr(cls, "parse_options", None)
    if parse is not None:
        options = parse(options)
    fields = {f.name: f for f in dataclasses.fields(cls) if f.init}  # type: ignore[arg-type]
    unknown = sorted(set(options) - set(fields), key=str)
    if unknown:
        raise ConfigError(f"{where} has no option {unknown[0]!r}; known: {', '.join(sorted(fields)) or 'none'}")
    hints = typing.get_type_hints(cls)
    values = {key: convert(value, hints[key], where=f"{where}, option {key!r}") for key, value in options.items()}
    return cls(**values)


def convert(value: Any, hint: Any, *, where: str) -> Any:
    """``value`` as the plain type ``hint`` (bool, int, float, str, ``X | None``); other hints pass unchanged."""
    choices = typing.get_args(hint)
    if type(None) in choices:
        if value is None or value in ("none", "null", ""):
            return None
        hint = next(c for c in choices if c is not type(None))
    if typing.get_origin(hint) is typing.Literal:
        allowed = typing.get_args(hint)
        if value not in allowed:
            raise ConfigError(f"{where}: {value!r} is not one of {', '.join(map(str, allowed))}")
        return value
    if hint is bool:
        if isinstance(value, bool):
            return value
        if str(value).lower() in ("true", "yes", "on", "1"):
            return True
        if str(value).lower() in ("false", "no", "off", "0"):
            return False
        raise ConfigError(f"{where}: {value!r} is not true or false")
    if hint in (int, float):
        try:
            number = float(value)
        except (TypeError, ValueError, OverflowError):
            raise ConfigError(f"{where}: {value!r} is not a number") from None
        if not math.isfinite(number):
            raise ConfigError(f"{where}: {value!r} is not a finite number")
        if hint is int and number != int(number):
            raise ConfigError(f"{where}: {value!r} is not a whole number")
        try:
            return hint(value)  # not by way of a float, which changes whole numbers above 2**53
        except ValueError:  # "1e5"
            return int(number)
    if hint is str:
        return str(value)
    return value
