"""One registry for everything that third parties may add: codecs, data sets, update compressors.

A component is a frozen dataclass whose fields are its options. Another distribution adds one by an entry point in the
registry's group, for example ``[project.entry-points."rinr_flower.codecs"] mine = "my_package:MyCodec"``.
"""

from __future__ import annotations

import dataclasses
import logging
import math
import re
import typing
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from importlib.metadata import entry_points
from typing import Any, Generic, TypeVar

from rinr_flower.errors import ConfigError

log = logging.getLogger(__name__)

T = TypeVar("T")


class Registry(Generic[T]):
    """Names to component classes.

    Parameters
    ----------
    kind : what a component is called in error texts, for example ``"codec"``.
    group : the entry-point group that third parties register in.

    Attributes
    ----------
    broken : names whose entry point cannot be loaded, and why; filled by :meth:`names`.
    """

    def __init__(self, kind: str, group: str) -> None:
        self.kind = kind
        self.group = group
        self._classes: dict[str, type[T]] = {}
        self._discovered = False
        self.broken: dict[str, str] = {}

    def register(self, name: str) -> Callable[[type[T]], type[T]]:
        """Class decorator: make the class known as ``name`` (also its ``name`` attribute).

        ConfigError if it is no dataclass, or lacks methods that its base class asks for.
        """

        def add(cls: type[T]) -> type[T]:
            self._check(name, cls)
            self._classes[name] = cls
            cls.name = name  # type: ignore[attr-defined]
            return cls

        return add

    def _check(self, name: str, cls: type[T]) -> None:
        where = f"{getattr(cls, '__module__', '')}.{getattr(cls, '__qualname__', cls)}"
        if not isinstance(cls, type) or "__dataclass_fields__" not in vars(cls):
            raise ConfigError(
                f"{where} is not a dataclass, so it cannot be the {self.kind} {name!r}; register a class, with "
                "@dataclass(frozen=True) right above it"
            )
        if missing := sorted(getattr(cls, "__abstractmethods__", ())):
            raise ConfigError(f"{where} lacks {', '.join(missing)}, which every {self.kind} defines")

    def _discover(self) -> None:
        """Register what other distributions have, once. What cannot be loaded must not stop what does not need it."""
        if self._discovered:
            return
        self._discovered = True
        for point in entry_points(group=self.group):
            what = f"{self.kind} {point.name!r}" + (f" of {point.dist.name} {point.dist.version}" if point.dist else "")
            if known := self._classes.get(point.name):
                # a package may register its class by the decorator too
                if known.__module__.partition(".")[0] != re.split("[.:]", point.value)[0]:
                    log.warning(
                        f"{what} ({point.value}) is not used: {known.__module__}:{known.__qualname__} has that name; "
                        "give it another"
                    )
                continue
            try:
                self.register(point.name)(point.load())
            except Exception as error:  # whatever another's module raises when it is imported
                reason = str(error) if isinstance(error, ConfigError) else f"{type(error).__name__}: {error}"
                self.broken[point.name] = f"{what} cannot be loaded: {' '.join(reason.split())}"
                log.warning(self.broken[point.name])

    def names(self) -> list[str]:
        """All known names, sorted."""
        self._discover()
        return sorted(self._classes)

    def get(self, name: str) -> type[T]:
        """The class behind ``name``; raises ConfigError that lists the known names, or says why it cannot be loaded."""
        self._discover()
        if name not in self._classes:
            if name in self.broken:
                raise ConfigError(f"{self.broken[name]}; mend that package")
            raise ConfigError(f"unknown {self.kind} {name!r}; known: {', '.join(self.names())}")
        return self._classes[name]

    def create(self, spec: str | Mapping[str, Any], /, **options: Any) -> T:
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
    check_known(options, fields, where)
    hints = typing.get_type_hints(cls)
    values = {key: convert(value, hints[key], where=f"{where}, option {key!r}") for key, value in options.items()}
    return cls(**values)


def check_known(given: Iterable[object], known: Iterable[str], where: str, what: str = "option") -> None:
    """ConfigError if one of ``given`` is not ``known``, with all that there are and the one that was probably meant.

    ``where`` has ``known``, each of which is ``what``.
    """
    names = sorted(known)
    unknown = sorted(set(given) - set(names), key=str)
    if unknown:
        close = get_close_matches(str(unknown[0]), names, 1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise ConfigError(f"{where} has no {what} {unknown[0]!r}; known: {', '.join(names) or 'none'}{hint}")


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
        if isinstance(value, bool):
            raise ConfigError(f"{where}: {value!r} is not a number")
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
