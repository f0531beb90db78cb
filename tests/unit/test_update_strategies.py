"""Federated averaging of updates: what both ends hold after rounds, kills, bad updates and lost models."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.serverapp.strategy import FedAvg
from update_wire import UpdateWire, run, same
from wire import Killed, app_of

from rinr_flower.array_file import Arrays
from rinr_flower.bandwidth import Ledger
from rinr_flower.clients.common_model import holding, take_common_model, update_of
from rinr_flower.messages.common_model import catch_up, tensors_of
from rinr_flower.messages.protocol import captures_content, read_query, read_updates, updates_record
from rinr_flower.simulations.run_folder import RunFolder
from rinr_flower.strategies import CompressedFedAvg
from rinr_flower.updates import Float16, Full, Memory, updates
from rinr_flower.updates.envelope import Envelope
from rinr_flower.updates.layout import fingerprint

pytestmark = pytest.mark.usefixtures("task_identity")


class Learner:
    """A device of somebody else's: its model is one matrix, which training moves to the device's own target."""

    def __init__(self, number: int, rate: float) -> None:
        self.rate = rate
        self.name = f"learner-{number}"
        self.target = np.random.default_rng(number).normal(size=(12, 16)).astype(np.float32)
        self.common: Arrays | None = None
        self.memory = Memory("base")
        self.app = app_of(self._query, self._train, self._evaluate)

    def held(self) -> Mapping[str, Arrays]:
        return {} if self.common is None else {"common-model": self.common}

    def _query(self, message: Message, context: Context) -> Message:
        assert read_query(message.content)[1] is None
        return Message(captures_content(self.name, []), reply_to=message)

    def _train(self, message: Message, context: Context) -> Message:
        self.common = common = take_common_model(message.content, self.common)
        assert common is not None
        model = common["w"]
        new = {**common, "w": model + (self.target - model) * np.float32(self.rate)}
        config = message.content.config_records["config"]
        self.memory.follow({name: torch.from_numpy(array) for name, array in common.items()})
        compressor = updates.create(json.loads(str(config["compressor"])))
        update = update_of(common, new, compressor, self.memory, source=f"{config['server-round']}")
        return Message(RecordDict({"metrics": MetricRecord({"num-examples": 4}), "updates": update}), reply_to=message)

    def _evaluate(self, message: Message, context: Context) -> Message:
        self.common = common = take_common_model(message.content, self.common)
        assert common is not None
        error = float(np.abs(common["w"] - self.target).mean())
        metrics = MetricRecord({"num-examples": 4, "error": error})
        return Message(RecordDict({"metrics": metrics, "updates": holding(common)}), reply_to=message)


def learners(count: int = 3, rate: float = 0.5) -> tuple[list[Learner], UpdateWire, ArrayRecord]:
    found = [Learner(number, rate) for number in range(count)]
    return (
        found,
        UpdateWire([one.app for one in found], [one.held for one in found]),
        ArrayRecord({"w": Array(np.zeros((12, 16), np.float32))}),
    )


def test_lossless_updates_average_as_the_inner_strategy_alone_would() -> None:
    found, wire, start = learners()
    strategy = CompressedFedAvg("full", inner=FedAvg())
    run(strategy, wire, rounds=3, start=start)
    model = np.zeros((12, 16), np.float32)
    for _ in range(3):
        model = np.mean([model + (one.target - model) / 2 for one in found], axis=0, dtype=np.float64)
    assert np.allclose(strategy.policy.common.chain.state["w"].numpy(), model, atol=1e-6)


@pytest.mark.parametrize("compressor", [{"name": "stc", "fraction": 0.1}, {"name": "qsgd", "levels": 8}, "factorised"])
def test_both_ends_are_identical_after_ten_rounds(compressor: object) -> None:
    _, wire, start = learners()
    strategy = CompressedFedAvg(compressor)
    result = run(strategy, wire, rounds=10, start=start)
    assert strategy.failures == []
    for node in wire.apps:
        assert same(wire.common(node), dict(strategy.policy.common.chain.state))
    assert same(tensors_of(result.arrays), dict(strategy.policy.common.chain.state))
    assert {e.kind for e in strategy.ledger} == {"start_model", "update", "control"}


@pytest.mark.parametrize("compressor", [{"name": "top_k", "fraction": 0.25}, {"name": "powersgd", "rank": 1}])
def test_a_killed_fog_goes_on_with_the_same_model_updates_and_debts(tmp_path: Path, compressor: object) -> None:
    _, wire, start = learners()
    whole = CompressedFedAvg(compressor)
    run(whole, wire, rounds=4, start=start)

    _, wire, start = learners()
    folder = RunFolder.create(str(tmp_path / "run"))
    first = CompressedFedAvg(compressor, keep=folder, ledger=Ledger.open(folder.ledger))

    def die_in_round_3(message: Message) -> Message:
        if message.content.config_records["config"]["server-round"] == 3:
            raise Killed
        return message

    wire.change_asked = die_in_round_3
    with pytest.raises(Killed):
        run(first, wire, rounds=4, start=start)
    wire.change_asked = lambda message: message
    folder = RunFolder(folder.path)
    second = CompressedFedAvg(compressor, keep=folder, ledger=Ledger.open(folder.ledger))
    assert second.recall() == 2
    assert same(dict(second.policy.common.chain.state), dict(first.policy.common.chain.state))
    run(second, wire, rounds=2, start=start)
    assert second.failures == []
    assert same(dict(second.policy.common.chain.state), dict(whole.policy.common.chain.state))
    assert second.policy.common.chain.updates == whole.policy.common.chain.updates
    assert sorted(second.policy.common.update_bytes) == sorted(whole.policy.common.update_bytes), (
        "FedAvg asks its devices in any order"
    )
    models = [e for e in second.ledger if e.kind in ("model", "start_model")]
    assert len(models) == 3, "no device gets the whole model again"


def test_error_feedback_on_both_ends_finds_the_average() -> None:
    found, wire, start = learners(rate=0.1)  # slow against the four rounds that an element waits for its turn
    strategy = CompressedFedAvg({"name": "top_k", "fraction": 0.25})
    run(strategy, wire, rounds=60, start=start)
    mean = np.mean([one.target for one in found], axis=0)
    left = np.abs(strategy.policy.common.chain.state["w"].numpy() - mean).mean() / np.abs(mean).mean()
    assert left < 0.25
    assert np.abs(found[0].memory.residual["w"]).max() > 0


def test_a_devices_bad_update_costs_its_own_answer() -> None:
    _, wire, start = learners()
    other = Full().compress({"w": torch.ones(12, 16)}, {"w": torch.zeros(12, 16)})
    strategy = CompressedFedAvg("full")
    real = wire.apps[10]

    def liar(message: Message, context: Context) -> Message:
        reply = real(message, context)
        if message.metadata.message_type == "train":
            reply.content["updates"] = updates_record([other], read_updates(reply.content)[1])
        return reply

    wire.apps[10] = liar
    run(strategy, wire, start=start)
    assert [(f.device, f.kind) for f in strategy.failures] == [("learner-0", "malformed")]
    assert "is for the base" in strategy.failures[0].reason
    assert len(strategy.policy.common.chain.updates) == 1


def test_a_device_that_holds_another_model_gets_the_whole_one() -> None:
    _, wire, start = learners()
    strategy = CompressedFedAvg({"name": "stc", "fraction": 0.5})
    run(strategy, wire, start=start)
    real = wire.apps[10]

    def drifted(message: Message, context: Context) -> Message:
        reply = real(message, context)
        if found := read_updates(reply.content):
            reply.content["updates"] = updates_record(found[0], b"\0" * 8)
        return reply

    wire.apps[10] = drifted
    message_count = len(wire.sent)
    run(strategy, wire, start=start)
    assert [(f.device, f.kind) for f in strategy.failures] == [("learner-0", "malformed")]
    assert "holds the model 0000000000000000" in strategy.failures[0].reason
    wire.apps[10] = real
    run(strategy, wire, start=start)
    brought = [m for m in wire.sent[message_count:] if m.metadata.dst_node_id == 10 and "arrays" in m.content]
    assert brought[-2].content.array_records["arrays"]
    assert same(wire.common(10), dict(strategy.policy.common.chain.state))


def _nan(base: dict[str, torch.Tensor]) -> bytes:
    good = Envelope.from_bytes(Float16().compress(base, {"w": base["w"] + 1}))
    return Envelope("float16", good.base, 0, good.content[:-2] + np.float16(np.nan).tobytes()).to_bytes()


@pytest.mark.parametrize(
    ("spoil", "text"),
    [
        (lambda data, base: data[:-3], "truncated"),
        (lambda data, base: data[:-1] + bytes([data[-1] ^ 1]), "altered"),
        (lambda data, base: Full().compress({"w": base["w"] + 1}, {"w": base["w"] + 2}), "none of them for the model"),
        (lambda data, base: _nan(base), "NaN"),
        (lambda data, base: Full().compress(base, {"w": base["w"] + 2}), "the updates end in the model"),
    ],
    ids=["truncated", "altered", "another base", "NaN", "another result"],
)
def test_a_bad_update_leaves_the_device_as_it_was_and_is_made_good(
    spoil: Callable[[bytes, dict[str, torch.Tensor]], bytes], text: str
) -> None:
    _, wire, start = learners()
    strategy = CompressedFedAvg({"name": "stc", "fraction": 0.5})
    run(strategy, wire, start=start)
    before = wire.common(10)

    def change(message: Message) -> Message:
        found = read_updates(message.content)
        if message.metadata.dst_node_id == 10 and found and found[0]:
            message.content["updates"] = updates_record([spoil(found[0][0], before)], found[1])
        return message

    wire.change_asked = change
    run(strategy, wire, start=start)
    assert [(f.device, f.kind) for f in strategy.failures] == [("learner-0", "error")]
    assert text in strategy.failures[0].reason
    assert same(wire.common(10), before)
    wire.change_asked = lambda message: message
    run(strategy, wire, start=start)
    assert same(wire.common(10), dict(strategy.policy.common.chain.state))
    assert same(wire.common(11), dict(strategy.policy.common.chain.state))


def test_an_update_that_explodes_the_model_is_refused_by_the_fog() -> None:
    _, wire, start = learners()
    strategy = CompressedFedAvg({"name": "stc", "fraction": 0.5})
    real = wire.apps[10]

    def exploding(message: Message, context: Context) -> Message:
        reply = real(message, context)
        if message.metadata.message_type == "train":
            base = dict(strategy.policy.common.chain.state)
            update = Full().compress(base, {"w": torch.full_like(base["w"], 1e9)})
            reply.content["updates"] = updates_record([update], fingerprint(base))
        return reply

    wire.apps[10] = exploding
    run(strategy, wire, start=start)
    assert [(f.device, f.kind) for f in strategy.failures] == [("learner-0", "malformed")]
    assert "array 'w' holds 1e+09" in strategy.failures[0].reason
    assert float(strategy.policy.common.chain.state["w"].abs().max()) < 1e3


def test_devices_that_attend_at_random_hold_the_same_model_after_every_round_they_attend() -> None:
    """And each gets a whole model once, when it comes: later ones only where the updates that it missed are larger."""
    _, wire, start = learners(count=6)
    strategy = CompressedFedAvg({"name": "stc", "fraction": 0.02})
    draw = np.random.default_rng(3)
    attended = dict.fromkeys(wire.apps, 0)
    for _ in range(12):
        wire.deaf = {
            (node, kind) for node in wire.apps for kind in ("query", "train", "evaluate") if draw.random() < 0.2
        }
        wire.mute = {(node, "train") for node in wire.apps if draw.random() < 0.1}
        run(strategy, wire, start=start)
        for node in wire.apps:
            if {(node, "query"), (node, "train"), (node, "evaluate")}.isdisjoint(wire.deaf | wire.mute):
                attended[node] += 1
                assert same(wire.common(node), dict(strategy.policy.common.chain.state))
    assert min(attended.values()) >= 3
    for node in wire.apps:
        content = [m.content for m in wire.sent if m.metadata.dst_node_id == node and "updates" in m.content]
        whole = [bool(record.array_records["arrays"]) for record in content]
        confirmed = next(i for i, w in enumerate(whole) if not w)
        assert all(whole[:confirmed])
        assert sum(whole) <= confirmed + 2, "only after updates that together are larger"
    assert {failure.kind for failure in strategy.failures} <= {"timeout", "skipped"}


def test_a_device_that_trained_on_nothing_is_named_and_keeps_the_model() -> None:
    _, wire, start = learners()
    strategy = CompressedFedAvg("quantised")
    real = wire.apps[10]

    def idle(message: Message, context: Context) -> Message:
        reply = real(message, context)
        if message.metadata.message_type == "train":
            reply.content["metrics"] = MetricRecord({"num-examples": 0})
        return reply

    wire.apps[10] = idle
    run(strategy, wire, rounds=3, start=start)
    assert {failure.reason for failure in strategy.failures} == {
        "'num-examples' is 0: the device had nothing to train or evaluate on; its answer is left out"
    }
    models = [m for m in wire.trained(10) if m.content.array_records["arrays"]]
    assert len(models) == 1


def test_a_newcomer_gets_start_model_and_updates_once_and_then_updates() -> None:
    _, wire, start = learners()
    strategy = CompressedFedAvg({"name": "stc", "fraction": 0.02})
    wire.deaf = {(12, "query")}
    run(strategy, wire, rounds=2, start=start)
    wire.deaf = set()
    before = dict(strategy.policy.common.chain.state)
    run(strategy, wire, rounds=2, start=start)
    first, second = (m.content for m in wire.trained(12))
    assert same(tensors_of(first.array_records["arrays"]), tensors_of(start))
    found = read_updates(first)
    assert found is not None
    assert len(found[0]) == 2
    assert same(dict(catch_up(tensors_of(start), *found)), before)
    assert not second.array_records["arrays"]
    assert same(wire.common(12), dict(strategy.policy.common.chain.state))


def test_models_with_masks_of_infinity_and_weights_beyond_a_million_are_averaged() -> None:
    found, wire, _ = learners()
    for one in found:
        one.target *= np.float32(4e6)
    start = np.full((12, 16), 3e6, np.float32)
    mask = np.triu(np.full((4, 4), -np.inf, np.float32), 1)
    strategy = CompressedFedAvg("quantised")
    arrays = ArrayRecord({"mask": Array(mask), "w": Array(start)})
    run(strategy, wire, rounds=2, start=arrays)
    assert strategy.failures == []
    assert np.array_equal(strategy.policy.common.chain.state["mask"].numpy(), mask)
