"""Strategies that send model updates, over real Flower messages that pass through their wire format."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Error, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.common.serde import message_from_proto, message_to_proto
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvg
from flwr.supercore.task_identity import TaskIdentity

from rinr_flower.array_file import Arrays
from rinr_flower.bandwidth import DeviceRecord, Entry, Ledger, PayloadRecord, RunRecord, UpdateRecord
from rinr_flower.bandwidth.schemes import schemes_of
from rinr_flower.clients import DeviceFolder, EdgeDevice, Training, client_app
from rinr_flower.clients.common_model import holding, take_common_model, update_of
from rinr_flower.clients.device_state import BUDGET, JobState
from rinr_flower.errors import DataError, PayloadError
from rinr_flower.frames import Clip, Frame, write_jpeg
from rinr_flower.simulations.run_folder import RunFolder
from rinr_flower.strategies import CompressedFedAvg, EdgeOrFog, FogNode, FogTraining
from rinr_flower.strategies.protocol import captures_content, read_query, read_updates, updates_record
from rinr_flower.strategies.update_chain import UpdateChain, arrays_of, catch_up, tensors_of
from rinr_flower.updates import Float16, Full, Memory, SparseTernary, apply_update
from rinr_flower.updates.envelope import Envelope
from rinr_flower.updates.layout import fingerprint

LOW_RANK = {"name": "svd", "rank": 1, "bits": 4, "vector_bits": 8}
TRAINING = Training(class_names=("cup",), image_size=32, steps=1, batch=2)


@pytest.fixture(autouse=True)
def identity() -> None:
    """What Flower sets when it starts a ServerApp."""
    TaskIdentity.run_id, TaskIdentity.task_id, TaskIdentity.node_id = 1, 1, 1


class Wire(Grid):
    """Carries messages to apps and back through their serialised form; ``held`` gives what a node's device holds."""

    def __init__(self, apps: list[ClientApp], held: list[Callable[[], Mapping[str, Arrays]]]) -> None:
        self.apps = {10 + number: app for number, app in enumerate(apps)}
        self.held = {10 + number: read for number, read in enumerate(held)}
        self.deaf: set[tuple[int, str]] = set()  # (node, message type) that never arrives
        self.mute: set[tuple[int, str]] = set()  # that arrives, but whose answer is lost
        self.change: Callable[[Message], Message] = lambda message: message
        self.sent: list[Message] = []

    def get_node_ids(self) -> Iterable[int]:
        return list(self.apps)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        raise NotImplementedError

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        raise NotImplementedError

    def set_run(self, run: object) -> None:
        raise NotImplementedError

    @property
    def run(self) -> object:
        raise NotImplementedError

    def create_message(self, *args: object, **kwargs: object) -> Message:
        raise NotImplementedError

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        replies = []
        for message in messages:
            message.metadata.__dict__["_message_id"] = f"message {len(self.sent)}"
            self.sent.append(message)
            node, kind = message.metadata.dst_node_id, message.metadata.message_type
            if (node, kind) in self.deaf:
                continue
            arrived = self.change(message_from_proto(message_to_proto(message)))
            try:
                reply = self.apps[node](arrived, Context(1, node, {}, RecordDict(), {}))
            except Exception as error:
                reply = _error(error, message)
            if (node, kind) not in self.mute:
                replies.append(message_from_proto(message_to_proto(reply)))
        return replies

    def trained(self, node: int) -> list[Message]:
        return [m for m in self.sent if m.metadata.dst_node_id == node and m.metadata.message_type == "train"]

    def common(self, node: int) -> dict[str, torch.Tensor]:
        return self.model(node, "common-model")

    def model(self, node: int, which: str = "model") -> dict[str, torch.Tensor]:
        return {name: torch.from_numpy(array) for name, array in self.held[node]().get(which, {}).items()}


def _error(error: Exception, message: Message) -> Message:
    return Message(Error(code=2, reason=f"{type(error).__name__}: {error}"), reply_to=message)


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return list(a) == list(b) and all(torch.equal(a[name], b[name]) for name in a)


def run(strategy: FogNode, wire: Wire, rounds: int = 1, start: ArrayRecord | None = None) -> object:
    """So many rounds more."""
    config = ConfigRecord(TRAINING.to_config())
    start = ArrayRecord() if start is None else start
    last = strategy.memory.rounds + rounds
    return strategy.start(wire, start, last, timeout=0.5, train_config=config, evaluate_config=config)


def run_to(strategy: FogNode, wire: Wire, last: int) -> None:
    """Up to a round, whatever has been done before."""
    strategy.recall()
    run(strategy, wire, rounds=last - strategy.memory.rounds)


def clip(name: str, seed: int, side: int) -> Clip:
    images = np.random.default_rng(seed).integers(0, 255, (2, side, side, 3), np.uint8)
    box = np.array([[4, 4, 20, 16]], np.float32)
    return Clip(name, tuple(Frame(i, box, np.zeros(1, np.int64), write_jpeg(i, 90)) for i in images), ("cup",))


def cameras(path: Path, sides: tuple[int, ...], count: int = 2) -> Wire:
    """Real devices with YOLOv8; ``sides`` are the pictures' sides in pixels, round by round."""
    apps, held = [], []
    for number in range(count):
        captures = [[clip(f"clip {i}", 10 * number + i, side)] for i, side in enumerate(sides)]
        folder = DeviceFolder.write(path / str(number), f"device-{number}", captures, clip("rest", number, 32))
        apps.append(client_app(lambda context, folder=folder: EdgeDevice(folder)))
        held.append(partial(kept, folder.path / "state"))
    return Wire(apps, held)


def kept(state: Path) -> Mapping[str, Arrays]:
    """The arrays that a device keeps of its only job."""
    for job in state.glob("*"):
        held = JobState(job, BUDGET).before(10**6, "query")
        return {} if held is None else held.arrays
    return {}


def test_the_fog_trains_and_devices_hold_its_weights_bit_for_bit(tmp_path: Path) -> None:
    wire = cameras(tmp_path, (48, 48))
    strategy = FogTraining({"name": "factorised", "rank": 1, "vector_bits": 8})
    result = run(strategy, wire, rounds=2)
    assert strategy.failures == []
    assert len(strategy.chain.updates) == 2
    for node in wire.apps:
        assert same(wire.common(node), dict(strategy.chain.state))
        assert same(wire.model(node), dict(strategy.chain.state))
    assert same(tensors_of(result.arrays), dict(strategy.chain.state))
    assert not same(tensors_of(strategy.chain.start), dict(strategy.chain.state))
    kinds = strategy.ledger.by_kind()
    assert kinds["update"][0] == 2 * sum(map(len, strategy.chain.updates))
    assert kinds["start_model"][0] == 2 * sum(len(a.data) for a in strategy.chain.start.values())
    assert {"payload", "model"}.isdisjoint(kinds)
    assert kinds["update"][0] < kinds["start_model"][0] / 20
    last = strategy.trained[-1].metrics
    assert (last["num-examples"], last["steps"]) == (8, 2)


def test_missed_updates_arrive_later_and_are_applied_once(tmp_path: Path) -> None:
    wire = cameras(tmp_path, (48, 48))
    strategy = FogTraining(LOW_RANK)
    wire.deaf, wire.mute = {(10, "train")}, {(11, "train")}
    run(strategy, wire)
    assert [failure.kind for failure in strategy.failures] == ["timeout", "timeout"]
    wire.deaf, wire.mute = set(), set()
    run(strategy, wire)
    for node in wire.apps:
        message = wire.trained(node)[-1]
        assert read_updates(message.content)[0] == strategy.chain.updates, "neither node has confirmed the first one"
        assert same(wire.common(node), dict(strategy.chain.state))
    assert len(strategy.chain.updates) == 2


def test_a_device_that_lost_its_state_says_so_and_gets_the_start_model_and_what_came_after(tmp_path: Path) -> None:
    wire = cameras(tmp_path, (48, 48))
    strategy = FogTraining(LOW_RANK)
    run(strategy, wire)
    shutil.rmtree(tmp_path / "0" / "state")
    run(strategy, wire)
    assert strategy.failures == []
    assert wire.trained(10)[-1].content.array_records["arrays"]
    assert read_updates(wire.trained(10)[-1].content)[0] == strategy.chain.updates
    assert not wire.trained(11)[-1].content.array_records["arrays"]
    assert same(wire.common(10), dict(strategy.chain.state))


def test_each_round_goes_where_fewer_bytes_cross(tmp_path: Path) -> None:
    wire = cameras(tmp_path, (320, 32, 320), count=3)
    strategy = EdgeOrFog({"name": "jpeg", "quality": 95}, LOW_RANK)
    run(strategy, wire, rounds=3)
    assert strategy.failures == []
    assert [(d.round, d.choice) for d in strategy.decisions] == [(1, "fog"), (2, "edge"), (3, "fog")]
    for decision in strategy.decisions:
        assert (decision.fog_bytes < decision.edge_bytes) == (decision.choice == "fog")
        assert "alpha" in decision.reason
        assert "beta" in decision.reason
    new = [item for item in strategy.shared if item.round == 2]
    uploads, payloads = sum(i.upload.size for i in new), sum(i.payload.size for i in new)
    assert strategy.decisions[1].edge_bytes == uploads + 2 * payloads
    beta = len(strategy.chain.updates[0])
    first = [item for item in strategy.shared if item.round == 1]
    assert strategy.decisions[0].fog_bytes == sum(i.upload.size for i in first) + 3 * beta
    sent = {(e.round, e.kind) for e in strategy.ledger if e.kind in ("payload", "update")}
    assert sent == {(1, "update"), (2, "payload"), (3, "update")}
    assert len([e for e in strategy.ledger if e.kind == "payload"]) == 6, "clips of round 1 are in the update already"
    assert len(strategy.chain.updates) == 2
    for node in wire.apps:
        assert same(wire.common(node), dict(strategy.chain.state))


def test_devices_at_the_edge_keep_the_model_in_common_beside_their_own(tmp_path: Path) -> None:
    wire = cameras(tmp_path, (32,))
    strategy = EdgeOrFog("jpeg", "full")
    run(strategy, wire)
    assert strategy.decisions[0].choice == "edge"
    assert len(strategy.update_bytes) == 1, "what was measured and not sent"
    for node in wire.apps:
        own = wire.model(node)
        assert same(wire.common(node), tensors_of(strategy.chain.start))
        assert not same(own, wire.common(node))
    assert len(strategy.trained) == len(strategy.evaluated) == 2


def test_a_run_that_went_both_ways_has_one_row_of_its_own() -> None:
    names = ("a", "b", "c")
    ledger, payloads = Ledger(), []
    for number in (1, 2):
        for name in names:
            payloads.append(PayloadRecord(number, name, "clip", "webp", 2, 8, 8, 900, 1000, 100))
            ledger.append(Entry(number, name, "fog", "upload", 1000, 1010, f"{name}/clip"))
    for name in names:
        ledger.append(Entry(1, "fog", name, "update", 40, 45, "update 1"))
        for other in names:
            if other != name:
                ledger.append(Entry(2, "fog", name, "payload", 100, 104, f"{other}/clip"))
    devices = tuple(DeviceRecord(name) for name in names)
    record = RunRecord(devices=devices, payloads=tuple(payloads), ledger=ledger, updates=(UpdateRecord("stc", 40),))
    own = schemes_of(record)[0]
    assert (own.name, own.evidence) == ("fog webp or training stc", "sent")
    assert own.payload_bytes == 6 * 1000 + 3 * 40 + 6 * 100 == own.predicted.total
    assert "training stc" in {scheme.name for scheme in schemes_of(record)}, "and what the update alone would take"


class Learner:
    """A device of somebody else's: its model is one matrix, which training moves to the device's own target."""

    def __init__(self, number: int, rate: float) -> None:
        self.rate = rate
        self.name = f"learner-{number}"
        self.target = np.random.default_rng(number).normal(size=(12, 16)).astype(np.float32)
        self.common: Arrays | None = None
        self.memory = Memory()
        self.app = ClientApp()
        self.app.query()(self._query)
        self.app.train()(self._train)
        self.app.evaluate()(self._evaluate)

    def held(self) -> Mapping[str, Arrays]:
        return {} if self.common is None else {"common-model": self.common}

    def _query(self, message: Message, context: Context) -> Message:
        assert read_query(message.content)[1] is None
        return Message(captures_content(self.name, []), reply_to=message)

    def _train(self, message: Message, context: Context) -> Message:
        self.common = common = take_common_model(message.content, self.common)
        assert common is not None
        model = common["w"]
        new = {"w": model + (self.target - model) * np.float32(self.rate)}
        config = message.content.config_records["config"]
        update = update_of(
            common, new, json.loads(str(config["compressor"])), self.memory, source=f"{config['server-round']}"
        )
        return Message(RecordDict({"metrics": MetricRecord({"num-examples": 4}), "updates": update}), reply_to=message)

    def _evaluate(self, message: Message, context: Context) -> Message:
        self.common = common = take_common_model(message.content, self.common)
        assert common is not None
        error = float(np.abs(common["w"] - self.target).mean())
        metrics = MetricRecord({"num-examples": 4, "error": error})
        return Message(RecordDict({"metrics": metrics, "updates": holding(common)}), reply_to=message)


def learners(count: int = 3, rate: float = 0.5) -> tuple[list[Learner], Wire, ArrayRecord]:
    found = [Learner(number, rate) for number in range(count)]
    return (
        found,
        Wire([one.app for one in found], [one.held for one in found]),
        ArrayRecord({"w": Array(np.zeros((12, 16), np.float32))}),
    )


def test_lossless_updates_average_as_the_inner_strategy_alone_would() -> None:
    found, wire, start = learners()
    strategy = CompressedFedAvg("full", inner=FedAvg())
    run(strategy, wire, rounds=3, start=start)
    model = np.zeros((12, 16), np.float32)
    for _ in range(3):
        model = np.mean([model + (one.target - model) / 2 for one in found], axis=0, dtype=np.float64)
    assert np.allclose(strategy.chain.state["w"].numpy(), model, atol=1e-6)


@pytest.mark.parametrize("compressor", [{"name": "stc", "fraction": 0.1}, {"name": "qsgd", "levels": 8}, "factorised"])
def test_both_ends_are_identical_after_ten_rounds(compressor: object) -> None:
    _, wire, start = learners()
    strategy = CompressedFedAvg(compressor)
    result = run(strategy, wire, rounds=10, start=start)
    assert strategy.failures == []
    for node in wire.apps:
        assert same(wire.common(node), dict(strategy.chain.state))
    assert same(tensors_of(result.arrays), dict(strategy.chain.state))
    assert {e.kind for e in strategy.ledger} == {"start_model", "update", "control"}


class Killed(BaseException):
    """Stands where kill -9 would: nothing after it is carried out."""


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

    wire.change = die_in_round_3
    with pytest.raises(Killed):
        run(first, wire, rounds=4, start=start)
    wire.change = lambda message: message
    folder = RunFolder(folder.path)
    second = CompressedFedAvg(compressor, keep=folder, ledger=Ledger.open(folder.ledger))
    assert second.recall() == 2
    assert same(dict(second.chain.state), dict(first.chain.state))
    run(second, wire, rounds=2, start=start)
    assert second.failures == []
    assert same(dict(second.chain.state), dict(whole.chain.state))
    assert second.chain.updates == whole.chain.updates
    assert sorted(second.update_bytes) == sorted(whole.update_bytes), "FedAvg asks its devices in any order"
    models = [e for e in second.ledger if e.kind in ("model", "start_model")]
    assert len(models) == 3, "no device gets the whole model again"


def test_a_killed_fog_knows_its_decisions_again(tmp_path: Path) -> None:
    wire = cameras(tmp_path, (320, 32))
    folder = RunFolder.create(str(tmp_path / "run"))
    options = {"codec": {"name": "jpeg", "quality": 95}, "compressor": LOW_RANK}
    first = EdgeOrFog(**options, keep=folder, ledger=Ledger.open(folder.ledger))
    run(first, wire, rounds=1)
    folder = RunFolder(folder.path)
    second = EdgeOrFog(**options, keep=folder, ledger=Ledger.open(folder.ledger))
    run_to(second, wire, 2)
    assert second.failures == []
    assert second.decisions[: len(first.decisions)] == first.decisions
    assert [d.round for d in second.decisions] == [1, 2]
    for node in wire.apps:
        assert same(wire.common(node), dict(second.chain.state))


def test_error_feedback_on_both_ends_finds_the_average() -> None:
    found, wire, start = learners(rate=0.1)  # slow against the four rounds that an element waits for its turn
    strategy = CompressedFedAvg({"name": "top_k", "fraction": 0.25})
    run(strategy, wire, rounds=60, start=start)
    mean = np.mean([one.target for one in found], axis=0)
    left = np.abs(strategy.chain.state["w"].numpy() - mean).mean() / np.abs(mean).mean()
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
    assert len(strategy.chain.updates) == 1


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
    assert same(wire.common(10), dict(strategy.chain.state))


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

    wire.change = change
    run(strategy, wire, start=start)
    assert [(f.device, f.kind) for f in strategy.failures] == [("learner-0", "error")]
    assert text in strategy.failures[0].reason
    assert same(wire.common(10), before)
    wire.change = lambda message: message
    run(strategy, wire, start=start)
    assert same(wire.common(10), dict(strategy.chain.state))
    assert same(wire.common(11), dict(strategy.chain.state))


def test_an_update_that_explodes_the_model_is_refused_by_the_fog() -> None:
    _, wire, start = learners()
    strategy = CompressedFedAvg({"name": "stc", "fraction": 0.5})
    real = wire.apps[10]

    def exploding(message: Message, context: Context) -> Message:
        reply = real(message, context)
        if message.metadata.message_type == "train":
            base = dict(strategy.chain.state)
            update = Full().compress(base, {"w": torch.full_like(base["w"], 1e9)})
            reply.content["updates"] = updates_record([update], fingerprint(base))
        return reply

    wire.apps[10] = exploding
    run(strategy, wire, start=start)
    assert [(f.device, f.kind) for f in strategy.failures] == [("learner-0", "malformed")]
    assert "array 'w' holds 1e+09" in strategy.failures[0].reason
    assert float(strategy.chain.state["w"].abs().max()) < 1e3


def test_the_whole_model_is_sent_where_it_is_smaller_than_what_was_missed() -> None:
    chain = UpdateChain(ArrayRecord({"w": Array(np.zeros((4, 4), np.float32))}))
    chain.content("a")
    chain.confirm("a")
    compressor = SparseTernary(fraction=0.1)
    choices = []
    for number in range(8):
        before = dict(chain.state)
        chain.advance(compressor.compress(before, {"w": before["w"] + torch.randn(4, 4)}, seed=number))
        missing, whole = sum(map(len, chain.updates)), sum(len(array.data) for array in chain.arrays.values())
        content = chain.content("a")
        assert bool(content["arrays"]) == (missing >= whole)
        assert len(content["updates"]["payloads"]) == (0 if missing >= whole else number + 1)
        choices.append(bool(content["arrays"]))
    assert choices[0] is False
    assert choices[-1] is True


def test_catching_up_starts_at_the_model_that_is_held() -> None:
    states = [{"w": torch.full((4, 4), float(i))} for i in range(4)]
    chain = [Full().compress(a, b) for a, b in pairwise(states)]
    target = fingerprint(states[-1])
    for state in states:
        assert same(dict(catch_up(state, chain, target)), states[-1])
    with pytest.raises(PayloadError, match="none of them"):
        catch_up({"w": torch.full((4, 4), 9.0)}, chain, target)


@pytest.mark.parametrize("record", [{"payloads": [1], "model": b"x"}, {"payloads": [b"x"], "model": "x"}])
def test_malformed_update_records_are_named(record: dict[str, object]) -> None:
    with pytest.raises(DataError, match="must be"):
        read_updates(RecordDict({"updates": ConfigRecord(record)}))


def test_arrays_survive_the_way_there_and_back() -> None:
    state = {"a": torch.randn(3, 2), "b": torch.zeros(()), "c": torch.arange(4)}
    assert same(tensors_of(arrays_of(state)), state)
    assert same(apply_update(state, Full().compress(state, state)), state)
