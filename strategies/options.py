"""Checks of options that a strategy is given: a ConfigError names option and value."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from numbers import Real
from typing import Any

from rinr_flower.codecs import Codec, codecs
from rinr_flower.errors import ConfigError

_INSTEAD = {"inner": "CompressedFedAvg averages models"}
_SPEC = "the name of a registered codec, or a mapping with 'name' and options that are JSON values"


def whole(name: str, value: Any, least: int | None = None) -> int:
    """A whole number of Python or numpy as an int; ConfigError if it is none, or below ``least``."""
    if isinstance(value, bool) or not hasattr(value, "__index__") or (least is not None and value < least):
        raise _wrong(name, value, "a whole number" if least is None else f"a whole number of at least {least}")
    return int(value)


def number(name: str, value: Any, good: Callable[[Any], bool], wanted: str) -> float:
    """A number of Python or numpy as a float; ConfigError if it is none, or not ``good``, which ``wanted`` words."""
    if isinstance(value, bool) or not isinstance(value, Real) or not good(value):
        raise _wrong(name, value, f"a number {wanted}")
    return float(value)


def instance(name: str, value: Any, kind: type, *, optional: bool = False) -> None:
    """ConfigError unless ``value`` is an object of the class ``kind``, or None where it is ``optional``."""
    if not isinstance(value, kind) and not (optional and value is None):
        raise _wrong(name, value, f"an object of {kind.__name__}" + (", or None" if optional else ""))


def codec_spec(name: str, value: Any) -> str | Mapping[str, Any]:
    """A codec as a message carries it: its name, or a mapping with ``name`` and options that are JSON values.

    A codec object becomes the mapping that makes its like. ConfigError unless :data:`codecs` makes a codec of it.
    """
    plain = _mapping(value) if isinstance(value, Codec) else dict(value) if isinstance(value, Mapping) else value
    try:
        spec: str | Mapping[str, Any] = json.loads(json.dumps(plain))
        made = codecs.create(spec)
    except ConfigError as error:
        raise ConfigError(f"{name}: {error}") from error
    except (TypeError, ValueError) as error:
        raise _wrong(name, value, _SPEC) from error
    if isinstance(value, Codec) and made != value:
        raise _wrong(name, value, _SPEC)
    return spec


def refuse(strategy: object, options: Mapping[str, Any], *fixed: str) -> None:
    """ConfigError if ``options`` has one of those that ``strategy`` sets itself, ``fixed``."""
    for name in fixed:
        if name in options:
            why = _INSTEAD.get(name, "it sets that itself, FogNode takes it")
            raise ConfigError(f"{type(strategy).__name__} takes no option {name}: {why}")


def _wrong(name: str, value: Any, wanted: str) -> ConfigError:
    return ConfigError(f"{name} is {repr(value)[:80]}; it must be {wanted}")


def _mapping(codec: Codec) -> dict[str, Any]:
    """Name of a codec and those of its options that are not the default; codecs in it alike."""
    if not dataclasses.is_dataclass(codec):
        raise TypeError("the options of a codec are the fields of a dataclass")
    options = {
        field.name: value
        for field in dataclasses.fields(codec)
        if field.init and (value := getattr(codec, field.name)) != field.default
    }
    inside = {key: _mapping(value) if isinstance(value, Codec) else value for key, value in options.items()}
    return {"name": getattr(codec, "name", ""), **inside}
