"""The inner strategy of a fog node: what it is checked for, what it needs, and what it carries from round to round."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, MessageType
from flwr.serverapp.strategy import FedXgbBagging, Strategy
from numpy.typing import NDArray

from rinr_flower.errors import ConfigError
from rinr_flower.messages.protocol import ARRAYS, CONFIG, NUM_EXAMPLES
from rinr_flower.messages.records import arrays_of_record, record_of
from rinr_flower.strategies.keeping import Arrays

_MINIMUMS = {MessageType.TRAIN: "min_train_nodes", MessageType.EVALUATE: "min_evaluate_nodes"}


def layers(strategy: Strategy) -> list[Strategy]:
    """A strategy and the strategies in its attributes, from the outside in: Flower's privacy strategies nest them."""
    found = [strategy]
    for layer in found:  # grows
        inside = (value for value in vars(layer).values() if isinstance(value, Strategy))
        found += [value for value in inside if not any(value is known for known in found)]
    return found


def check_inner(strategy: Strategy) -> None:
    """ConfigError unless a fog node, or CompressedUpdates, can send this strategy's messages to its devices."""
    if not isinstance(strategy, Strategy):
        raise ConfigError(f"the inner strategy is {strategy!r}; give an object of a Strategy, for example FedAvg()")
    for layer in layers(strategy):
        name = type(layer).__name__
        if isinstance(layer, FedXgbBagging) or name.startswith("FedXgb"):
            raise ConfigError(f"inner strategy {name} aggregates boosted trees; devices here train neural networks")
        if hasattr(layer, "fraction_query"):
            raise ConfigError(f"inner strategy {name} collects captures itself; a fog node cannot stand inside another")
        if hasattr(getattr(layer, "common", None), "chain"):
            raise ConfigError(
                f"inner strategy {name} sends updates of a model in common itself; put the strategy that averages in "
                "its place, in a fog node as CompressedFedAvg(inner=FedAvg())"
            )
        for attribute, value in (("arrayrecord_key", ARRAYS), ("configrecord_key", CONFIG)):
            if (found := getattr(layer, attribute, value)) != value:
                raise ConfigError(
                    f"inner strategy {name} has {attribute}={found!r}; in the messages of a fog node that record is "
                    f"called {value!r}, so leave the option out"
                )


def needs_model(strategy: Strategy) -> str:
    """Name of the layer that computes with the model of the round before; empty if none does.

    Flower's strategies remember it as ``current_arrays``; ``FedAvgM`` uses it only with momentum or a learning rate.
    """
    found = (s for s in layers(strategy) if hasattr(s, "current_arrays") and getattr(s, "server_opt", True))
    return next((type(layer).__name__ for layer in found), "")


def nodes_needed(strategy: Strategy, kind: str) -> tuple[int, str]:
    """Number of connected nodes that a strategy waits for before it sends messages of a kind, and the option's name."""
    names = ("min_available_nodes", _MINIMUMS[kind])
    found = [(int(getattr(layer, name, 0)), name) for layer in layers(strategy) for name in names]
    return max(found)


def weight_key(strategy: Strategy) -> str:
    """The metric that a strategy weights its averages with."""
    return str(next((v for s in layers(strategy) if (v := vars(s).get("weighted_by_key"))), NUM_EXAMPLES))


def settings(strategy: Strategy) -> list[dict[str, Any]]:
    """Class and options of a strategy and of those inside it: numbers and texts as such, functions by name.

    Taken before the first round, because some strategies change their numbers.
    """
    return [
        {"name": type(layer).__name__, **{k: v for name in vars(layer) for k, v in _option(name, vars(layer)[name])}}
        for layer in layers(strategy)
    ]


def _option(name: str, value: Any) -> list[tuple[str, Any]]:
    if _is_plain(value) or isinstance(value, int | float | str):
        return [(name, deepcopy(value))]
    return [(name, value.__qualname__)] if callable(value) and hasattr(value, "__qualname__") else []


def values_in(strategy: Strategy) -> list[dict[str, Any]]:
    """Attributes of a strategy and of those inside it that JSON gives back as they are, such as a norm that adapts.

    Numbers, texts, and lists and mappings of them.
    """
    return [{name: value for name, value in vars(layer).items() if _is_plain(value)} for layer in layers(strategy)]


def _is_plain(value: Any) -> bool:
    """Whether JSON gives a value back as it is: of these types themselves, not of one derived from them."""
    if type(value) is list:
        return all(map(_is_plain, value))
    if type(value) is dict:
        return all(type(name) is str and _is_plain(item) for name, item in value.items())
    return value is None or type(value) in (bool, int, float, str)


def put_values(strategy: Strategy, values: list[Mapping[str, Any]]) -> None:
    """Give a strategy back what :func:`values_in` found in one like it."""
    nested = layers(strategy)
    if len(nested) != len(values):
        raise ConfigError(
            f"the run was begun with an inner strategy around {len(values) - 1} others, not {len(nested) - 1}; "
            "strategies inside it must be there when it is made"
        )
    for layer, named in zip(nested, values, strict=True):
        for name, value in named.items():
            setattr(layer, name, value)


def check_resumable(strategy: Strategy) -> None:
    """ConfigError if a strategy carries from round to round what cannot be kept."""
    for layer in layers(strategy):
        if getattr(layer, "accountant", None) is not None:
            raise ConfigError(
                f"inner strategy {type(layer).__name__} accounts for privacy, and what the run has spent before it was "
                "broken off is not known; begin a new run in a new folder"
            )


def arrays_in(strategy: Strategy) -> dict[str, NDArray[np.generic]]:
    """Arrays in the attributes of a strategy and of those inside it, by ``depth/attribute/kind/name``.

    Arrays and scalars of numbers, ArrayRecords, lists of arrays, and mappings of them by text or whole number. Others
    are left out.
    """
    found: dict[str, NDArray[np.generic]] = {}
    for depth, layer in enumerate(layers(strategy)):
        for attribute, value in sorted(vars(layer).items()):
            key = f"{depth}/{attribute}"
            if isinstance(value, ArrayRecord):
                found |= prefixed(f"{key}/record", arrays_of_record(value))
            elif isinstance(value, dict) and (kind := _kind(value)) and all(map(_is_numbers, value.values())):
                found |= {f"{key}/{kind}/{name}": item for name, item in value.items()}
            elif isinstance(value, list) and value and all(map(_is_numbers, value)):
                found |= {f"{key}/list/{index}": item for index, item in enumerate(value)}
            elif _is_numbers(value):
                found[f"{key}/array/"] = value
            elif isinstance(value, np.generic) and _is_numbers(np.asarray(value)):
                found[f"{key}/scalar/"] = np.asarray(value)
    return found


def _kind(mapping: Mapping[Any, Any]) -> str:
    """The name of a mapping in :data:`_RESTORED`, by the type of its keys; empty if these cannot be kept."""
    kinds = {type(name) for name in mapping}
    return "dict" if kinds == {str} else "numbered" if kinds == {int} else ""


def _is_numbers(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.dtype.kind in "biuf" and value.dtype.itemsize <= 8


_RESTORED: Mapping[str, Callable[[Arrays], Any]] = {
    "record": record_of,
    "dict": dict,
    "numbered": lambda named: {int(name): array for name, array in named.items()},
    "list": lambda named: list(named.values()),
    "array": lambda named: named[""],
    "scalar": lambda named: named[""][()],
}
"""How an attribute is made of its arrays, by the kind in their names."""


def put_arrays(strategy: Strategy, arrays: Arrays) -> None:
    """Give a strategy back what :func:`arrays_in` found in one like it."""
    found: dict[tuple[int, str, str], dict[str, NDArray[np.generic]]] = {}
    for key, array in arrays.items():
        depth, attribute, kind, name = key.split("/", 3)
        found.setdefault((int(depth), attribute, kind), {})[name] = array
    nested = layers(strategy)
    for (number, attribute, kind), named in found.items():
        setattr(nested[number], attribute, _RESTORED[kind](named))


def as_types(arrays: ArrayRecord, types: Mapping[str, str]) -> ArrayRecord:
    """``arrays`` with these types, by name: ``QFedAvg`` turns all into float64."""
    wanted = {name: np.dtype(types.get(name, array.dtype)) for name, array in arrays.items()}
    return ArrayRecord(
        {
            name: array if array.dtype == str(wanted[name]) else Array(np.asarray(array.numpy(), wanted[name]))
            for name, array in arrays.items()
        }
    )


def prefixed(prefix: str, arrays: Arrays) -> dict[str, NDArray[np.generic]]:
    """Arrays under names that begin with ``prefix/``."""
    return {f"{prefix}/{name}": array for name, array in arrays.items()}


def under(prefix: str, arrays: Mapping[str, NDArray[np.generic]]) -> dict[str, NDArray[np.generic]]:
    """Those of ``arrays`` that :func:`prefixed` named so, under their own names."""
    return {name.removeprefix(f"{prefix}/"): array for name, array in arrays.items() if name.startswith(f"{prefix}/")}
