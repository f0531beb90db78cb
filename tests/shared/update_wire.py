"""Running a strategy that sends model updates, over a wire that can tell what each node's device holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from flwr.app import ArrayRecord, ConfigRecord, Message
from flwr.clientapp import ClientApp
from wire import Wire

from rinr_flower.array_file import Arrays
from rinr_flower.clients import Training
from rinr_flower.strategies import FogNode
from rinr_flower.updates.layout import State

TRAINING = Training(class_names=("cup",), image_size=32, steps=1, batch=2)


class UpdateWire(Wire):
    """Nodes from 10 on; ``held`` gives, by node, a function that reads what its device holds."""

    def __init__(self, apps: Sequence[ClientApp], held: Sequence[Callable[[], Mapping[str, Arrays]]]) -> None:
        super().__init__(dict(enumerate(apps, start=10)))
        self.held = dict(enumerate(held, start=10))

    def trained(self, node: int) -> list[Message]:
        return [m for m in self.sent if m.metadata.dst_node_id == node and m.metadata.message_type == "train"]

    def common(self, node: int) -> dict[str, torch.Tensor]:
        return self.model(node, "common-model")

    def model(self, node: int, which: str = "model") -> dict[str, torch.Tensor]:
        return {name: torch.from_numpy(array) for name, array in self.held[node]().get(which, {}).items()}


def same(a: State, b: State) -> bool:
    """The same tensors, bit for bit."""
    return list(a) == list(b) and all(a[k].dtype == b[k].dtype and torch.equal(a[k], b[k]) for k in a)


def run(strategy: FogNode, wire: UpdateWire, rounds: int = 1, start: ArrayRecord | None = None) -> object:
    """Run ``rounds`` more rounds."""
    config = ConfigRecord(TRAINING.to_config())
    start = ArrayRecord() if start is None else start
    last = strategy.memory.rounds + rounds
    return strategy.start(wire, start, last, timeout=0.5, train_config=config, evaluate_config=config)
