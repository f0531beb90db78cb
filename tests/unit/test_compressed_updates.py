"""The mod ``compressed`` and the strategy ``CompressedUpdates``, with the app of examples/compression."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.clientapp.mod import fixedclipping_mod
from flwr.serverapp.strategy import DifferentialPrivacyClientSideFixedClipping, FedAdam, FedAvg, FedProx, Strategy
from update_wire import same
from wire import Wire

from rinr_flower.clients import compressed
from rinr_flower.messages.common_model import tensors_of
from rinr_flower.strategies import CompressedUpdates
from rinr_flower.strategies.inner import layers
from rinr_flower.updates import Full

pytestmark = pytest.mark.usefixtures("task_identity")

APP = Path(__file__).parents[2] / "examples" / "compression"


class Nodes(Wire):
    """Nodes 10 to 13 with contexts that last, as those of Flower do."""

    def __init__(self, app: ClientApp) -> None:
        self.contexts = {n: Context(1, n, {"partition-id": n - 10}, RecordDict(), {}) for n in range(10, 14)}
        super().__init__({n: lambda message, _, n=n: app(message, self.contexts[n]) for n in self.contexts})

    def held(self, node: int) -> dict[str, torch.Tensor]:
        return tensors_of(self.contexts[node].state.array_records["rinr-common-model"])


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(str(APP))
    import averaging.client_app

    yield averaging.client_app
    for name in [name for name in sys.modules if name.split(".")[0] == "averaging"]:
        del sys.modules[name]


def run(strategy: Strategy, nodes: Nodes, module: ModuleType, rounds: int = 4) -> tuple[dict[str, torch.Tensor], float]:
    """The model at the end and its accuracy."""
    result = strategy.start(nodes, ArrayRecord(module.network().state_dict()), rounds, 5)
    accuracy = result.evaluate_metrics_clientapp[rounds]["accuracy"]
    assert isinstance(accuracy, float)
    return tensors_of(result.arrays), accuracy


def test_the_example_learns_as_without_compression_and_sends_an_eighth(example: ModuleType) -> None:
    from averaging.server_app import app as server

    nodes = Nodes(example.app)
    server(nodes, Context(1, 0, {}, RecordDict(), {"num-server-rounds": 2}))
    plain = Nodes(ClientApp())
    plain.apps = {n: lambda m, _, n=n: example.app(m, nodes.contexts[n]) for n in plain.contexts}  # the mod passes
    torch.manual_seed(1)
    _, expected = run(FedAvg(), plain, example)
    torch.manual_seed(1)
    strategy, again = CompressedUpdates(FedAvg()), Nodes(example.app)
    model, accuracy = run(strategy, again, example)
    assert expected > 0.7
    assert accuracy > expected - 0.05
    whole = sum(t.numel() * t.element_size() for t in model.values())
    assert np.mean(strategy.common.update_bytes) < 0.12 * whole
    first = again.sent[0].content.array_records
    assert sum(len(array.data) for record in first.values() for array in record.values()) < 0.3 * whole
    for node in again.contexts:
        assert same(again.held(node), model)


@pytest.mark.parametrize(
    "make",
    [
        lambda: CompressedUpdates(FedProx(proximal_mu=0.1), "quantised"),
        lambda: CompressedUpdates(FedAdam(eta=0.01), {"name": "stc", "fraction": 0.1}),
        lambda: CompressedUpdates(DifferentialPrivacyClientSideFixedClipping(FedAvg(), 1e-3, 1.0, 4), "quantised"),
        lambda: DifferentialPrivacyClientSideFixedClipping(CompressedUpdates(FedAvg(), "quantised"), 1e-3, 1.0, 4),
    ],
    ids=["FedProx", "FedAdam", "DP inside", "DP around"],
)
def test_flowers_strategies_stand_inside_and_around(example: ModuleType, make: Callable[[], Strategy]) -> None:
    strategy = make()
    clips = any(isinstance(layer, DifferentialPrivacyClientSideFixedClipping) for layer in layers(strategy))
    app = ClientApp(mods=[compressed("quantised")])
    app.train(mods=[fixedclipping_mod] if clips else [])(example.train)  # the mod does not know EVALUATE messages
    app.evaluate()(example.evaluate)
    nodes = Nodes(app)
    run(strategy, nodes, example, 3)
    inner = strategy if isinstance(strategy, CompressedUpdates) else strategy.strategy
    for node in nodes.contexts:
        assert same(nodes.held(node), dict(inner.common.chain.state))
    sent = [m.content for m in nodes.sent if m.metadata.dst_node_id == 10]
    assert [bool(content.array_records["arrays"]) for content in sent] == [True] + [False] * 5


def test_a_node_that_loses_its_state_or_answers_nonsense_is_made_good(
    example: ModuleType, caplog: pytest.LogCaptureFixture
) -> None:
    nodes, strategy = Nodes(example.app), CompressedUpdates(FedAvg())
    other = Full().compress({"w": torch.zeros(2, 2)}, {"w": torch.ones(2, 2)})

    def change(reply: Message) -> Message:
        number = len(nodes.sent)
        if (
            16 < number <= 24
            and reply.metadata.src_node_id == 11
            and "updates" in reply.content
            and reply.has_content()
        ):
            record = reply.content.array_records["updates"]
            if "0" in record:
                record["0"] = type(record["0"])("uint8", (len(other),), "rinr", other)
        if number == 8:
            nodes.contexts[12].state = RecordDict()
        return reply

    nodes.change_answered = change
    run(strategy, nodes, example, 5)
    for node in nodes.contexts:
        assert same(nodes.held(node), dict(strategy.common.chain.state))
        sent = [m.content for m in nodes.sent if m.metadata.dst_node_id == node]
        whole = sum(bool(content.array_records["arrays"]) for content in sent)
        assert whole == (2 if node == 12 else 1)
    assert "the answer of node 11 is left out: update is for the base" in caplog.text


def test_an_answer_of_other_arrays_is_named() -> None:
    app = ClientApp(mods=[compressed()])

    @app.train()
    def train(message: Message, context: Context) -> Message:
        metrics = MetricRecord({"num-examples": 1})
        return Message(RecordDict({"arrays": ArrayRecord([np.zeros(3)]), "metrics": metrics}), reply_to=message)

    nodes, strategy = Nodes(app), CompressedUpdates(FedAvg(fraction_evaluate=0.0))
    reasons = []
    nodes.change_answered = lambda reply: (reasons.append(reply.error.reason if reply.has_error() else ""), reply)[1]
    strategy.start(nodes, ArrayRecord({"w": next(iter(ArrayRecord([np.ones((2, 2))]).values()))}), 1, 5)
    assert len(reasons) == 4
    assert all("DataError" in reason and "'w'" in reason for reason in reasons)
