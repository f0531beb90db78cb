"""Flower's own strategies by name: how a scenario says which one averages the models."""

from __future__ import annotations

import typing
from collections.abc import Mapping
from typing import Any

import flwr.serverapp.strategy as flower_strategies
from flwr.app import MessageType
from flwr.serverapp.strategy import Strategy

from rinr_flower.errors import ConfigError
from rinr_flower.registry import check_known, convert
from rinr_flower.strategies.inner import check_inner, nodes_needed

_NOT_ALONE = ("DifferentialPrivacy", "FedXgb", "Result", "Strategy")  # wrappers, other models, no strategies


def aggregation(spec: str | Mapping[str, Any]) -> Strategy | None:
    """A strategy of Flower's by its class name, alone or as a mapping with ``name`` and options; ``none`` is None.

    ConfigError if the name is unknown, or the options are not the strategy's, functions, of the wrong type, out of
    range, or not for a fog node; ``none`` takes none.
    """
    options = dict(spec) if isinstance(spec, Mapping) else {"name": spec}
    name = str(options.pop("name", "none"))
    if name == "none":
        if options:
            raise ConfigError(
                f"aggregation 'none' takes no options; got {', '.join(map(str, options))}; add aggregation.name=FedAvg"
            )
        return None
    known = [n for n in flower_strategies.__all__ if not n.startswith(_NOT_ALONE)]
    if name not in known:
        raise ConfigError(f"unknown aggregation {name!r}; known: none, {', '.join(sorted(known))}")
    cls = getattr(flower_strategies, name)
    hints = {key: hint for key, hint in typing.get_type_hints(cls.__init__).items() if hint in (int, float, str)}
    check_known(options, hints, f"aggregation {name}")
    where = f"aggregation {name}, option"
    values = {key: convert(value, hints[key], where=f"{where} {key!r}") for key, value in options.items()}
    if not 0 < (share := values.get("fraction_train", 1.0)) <= 1:
        raise ConfigError(f"{where} 'fraction_train' is {share:g}; it must be above 0, and at most 1")
    if not 0 <= (share := values.get("fraction_evaluate", 1.0)) <= 1:
        raise ConfigError(f"{where} 'fraction_evaluate' is {share:g}; it must be in 0..1")
    try:
        made = cls(**values)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"aggregation {name}: {error}") from error
    assert isinstance(made, Strategy)
    check_inner(made)
    return made


def check_enough(strategy: Strategy, num_clients: int) -> None:
    """ConfigError if a strategy waits for more nodes than there are devices, which it would do in every round."""
    name = type(strategy).__name__
    needed, option = max(nodes_needed(strategy, kind) for kind in (MessageType.TRAIN, MessageType.EVALUATE))
    if needed > num_clients:
        raise ConfigError(
            f"aggregation {name} waits for {needed} nodes ({option}), but num_clients is {num_clients}; lower "
            f"aggregation.{option}, or raise num_clients"
        )
