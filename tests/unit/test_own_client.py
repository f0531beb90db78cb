"""The foreign client of examples/own_client in the rounds of a fog node."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import pytest
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, RecordDict
from flwr.serverapp.strategy import FedAvg
from wire import Wire

from rinr_flower.strategies import FogNode
from rinr_flower.strategies.encoding import encode_here

pytestmark = pytest.mark.usefixtures("task_identity")

FILE = Path(__file__).parents[2] / "examples" / "own_client" / "client_app.py"


def test_a_foreign_client_with_a_model_of_its_own_learns_from_the_others_frames() -> None:
    spec = importlib.util.spec_from_file_location("own_client", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def node(number: int) -> Callable[[Message, Context], Message]:
        def answer(message: Message, context: Context) -> Message:
            return module.app(message, Context(1, number, {"partition-id": number - 10}, RecordDict(), {}))

        return answer

    wire = Wire({number: node(number) for number in (10, 11, 12)})
    strategy = FogNode("webp", inner=FedAvg(), encoder=encode_here)
    config = ConfigRecord({"steps": 30})
    result = strategy.start(wire, ArrayRecord(), 4, 5, config)
    assert strategy.failures == []
    examples = [row.metrics["num-examples"] for row in strategy.trained]
    assert examples == [12] * 3 + [16] * 3 + [20] * 3 + [12] * 3, "after three rounds a device has no new frames"
    assert len(strategy.shared) == 9
    errors = [metrics["error"] for metrics in result.evaluate_metrics_clientapp.values()]
    assert errors[1] < errors[0]
    assert set(result.arrays) == set(
        module.start(Message(RecordDict({"arrays": ArrayRecord()}), 1, "train")).state_dict()
    )
