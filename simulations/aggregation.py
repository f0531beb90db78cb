"""Flower's own strategies by name: how a scenario says which one averages the models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import flwr.serverapp.strategy as flower_strategies
from flwr.app import MessageType
from flwr.serverapp.strategy import Strategy

from rinr_flower.errors import ConfigError
from rinr_flower.strategies.inner import nodes_needed

_NOT_ALONE = ("DifferentialPrivacy", "FedXgb", "Result", "Strategy")  # wrappers, other models, no strategies


def aggregation(spec: str | Mapping[str, Any]) -> Strategy | None:
    """A strategy of Flower's by its class name, alone or as a mapping with ``name`` and options; ``none`` is None.

    ConfigError if the name is unknown, or the options are not the strategy's; ``none`` takes none.
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
    try:
        made = getattr(flower_strategies, name)(**options)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"aggregation {name}: {error}") from error
    assert isinstance(made, Strategy)
    return made


def check_enough(strategy: Strategy, num_clients: int) -> None:
    """ConfigError if a strategy waits for more nodes than there are devices, which it would do in every round."""
    name = type(strategy).__name__
    try:
        needed, option = max(nodes_needed(strategy, kind) for kind in (MessageType.TRAIN, MessageType.EVALUATE))
    except (TypeError, ValueError) as error:
        raise ConfigError(f"aggregation {name}: a minimum number of nodes is not a whole number: {error}") from error
    if needed > num_clients:
        raise ConfigError(
            f"aggregation {name} waits for {needed} nodes ({option}), but num_clients is {num_clients}; lower "
            f"aggregation.{option}, or raise num_clients"
        )
