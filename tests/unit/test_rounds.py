"""The loop over rounds: who is waited for, who is asked, what a run says at its end, and what a resumed one returns."""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path
from types import MethodType
from typing import Any

import numpy as np
import pytest
import torch
from failing_codec import Failing
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord
from flwr.common.serde import message_to_proto
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvg
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects
from tiny_detector import cameras
from wire import Wire

from rinr_flower.errors import ConfigError
from rinr_flower.messages.protocol import query_content
from rinr_flower.simulations.run_folder import RunFolder
from rinr_flower.strategies import CaptureLimits, FogNode, FogTraining
from rinr_flower.strategies.encoding import encode_here
from rinr_flower.strategies.grids import AT_ONCE, AttendingGrid, StreamedGrid, TooFewNodesError

pytestmark = pytest.mark.usefixtures("task_identity")


def start() -> ArrayRecord:
    return ArrayRecord({"numbers": Array(np.ones(3, np.float32))})


def node(**options: object) -> FogNode:
    return FogNode(**{"codec": "jpeg", "encoder": encode_here, **options})  # type: ignore[arg-type]


def asked(wire: Wire, kind: str) -> list[int]:
    return sorted(m.metadata.dst_node_id for m in wire.sent if m.metadata.message_type == kind)


def test_the_inner_strategys_minimum_is_waited_for_before_anything_is_asked(tmp_path: Path) -> None:
    wire = cameras(tmp_path, 3)
    late = {number: wire.apps.pop(number) for number in (11, 12)}
    arrival = threading.Timer(0.4, lambda: wire.apps.update(late))
    arrival.start()
    strategy = node(inner=FedAvg(min_available_nodes=3))
    began = time.monotonic()
    strategy.start(wire, start(), 1, timeout=5)
    arrival.join()
    assert time.monotonic() - began > 0.4
    assert asked(wire, "query") == asked(wire, "train") == [10, 11, 12]
    assert strategy.failures == []


@pytest.mark.parametrize("option", ["min_available_nodes", "min_train_nodes"])
def test_a_round_with_fewer_nodes_than_the_inner_strategy_needs_is_skipped(option: str, tmp_path: Path) -> None:
    wire = cameras(tmp_path, 2)
    strategy = node(inner=FedAvg(**{option: 3}))  # type: ignore[arg-type]
    strategy.start(wire, start(), 1, timeout=0.3)
    assert [(f.device, f.kind) for f in strategy.failures] == [("fog", "skipped")]
    assert strategy.failures[0].reason == f"2 nodes are connected, {option} of FedAvg is 3"
    assert asked(wire, "train") == []
    assert len(strategy.shared) == 3, "what arrived is shared in the next round"


def test_an_inner_strategy_is_not_kept_waiting_for_devices_that_failed(tmp_path: Path) -> None:
    wire = cameras(tmp_path, 3)
    wire.deaf = {(12, "query"), (11, "train")}
    strategy = node(inner=FedAvg(min_available_nodes=3, min_evaluate_nodes=3))
    strategy.start(wire, start(), 1, timeout=0.3)
    assert asked(wire, "train") == [10, 11]
    assert asked(wire, "evaluate") == [10]
    assert [f.kind for f in strategy.failures] == ["timeout", "timeout"]


def test_only_some_devices_are_asked_where_fraction_query_says_so(tmp_path: Path) -> None:
    wire = cameras(tmp_path, 4)
    strategy = node(fraction_query=0.5, seed=3)
    strategy.start(wire, start(), 3, timeout=1)
    rounds = [set(asked_in) for asked_in in (_queried(wire, number) for number in (1, 2, 3))]
    assert [len(nodes) for nodes in rounds] == [2, 2, 2]
    assert len(set.union(*rounds)) > 2, "others in another round"
    assert len(asked(wire, "train")) == 6
    with pytest.raises(ConfigError, match="fraction_query is 0"):
        node(fraction_query=0)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"min_devices": "2"}, "min_devices is '2'; it must be a whole number of at least 1"),
        ({"min_devices": 0}, "min_devices is 0"),
        ({"keep": "runs/a"}, r"keep is 'runs/a'; give RunFolder.create\('runs/a'\)"),
        ({"keep": 5}, r"keep is '5'; give RunFolder"),
        ({"fraction_query": "0.5"}, "fraction_query is '0.5'; it must be a number above 0 and at most 1"),
        ({"seed": 1.5}, "seed is 1.5; it must be a whole number"),
        ({"seed": None}, "seed is None"),
        ({"timeout": "60"}, "timeout is '60'; it must be a number of seconds above 0"),
        ({"timeout": 0}, "timeout is 0"),
        ({"timeout": float("nan")}, "timeout is nan"),
        ({"limits": None}, "limits is None; it must be an object of CaptureLimits"),
        ({"policy": "x"}, "policy is 'x'; it must be an object of Policy, or None"),
        ({"identity": "fog"}, "identity is 'fog'"),
        ({"ledger": "x.csv"}, "ledger is 'x.csv'"),
        ({"device": "gpu"}, "device 'gpu' is not available here; available: auto"),
        ({"upload": "jpg"}, "upload: unknown codec 'jpg'; known: .*jpeg"),
        ({"upload": {"quality": 50}}, "upload: a codec given as a mapping needs a 'name'"),
        ({"upload": {"name": "jpeg", "quality": 500}}, "upload: jpeg quality 500"),
        ({"upload": 5}, "upload: a codec is given by its name, .*, not by 5"),
        ({"upload": {"name": "jpeg", "quality": np.int64(50)}}, "upload is .*50.*; it must be .* that are JSON values"),
        ({"upload": Failing()}, "upload is Failing.*; it must be the name of a registered codec, or a mapping"),
    ],
)
def test_a_bad_option_is_named_before_the_first_round(options: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        FogNode("jpeg", **options)


@pytest.mark.parametrize("bounds", [{"clips": -1}, {"seconds": "3"}, {"megabytes": float("nan")}])
def test_a_bad_bound_is_named(bounds: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=f"{next(iter(bounds))} of CaptureLimits is .* number of at least 0"):
        CaptureLimits(**bounds)


@pytest.mark.parametrize(
    "option", [{"num_rounds": "3"}, {"num_rounds": 1.5}, {"initial_arrays": None}, {"timeout": None}, {"timeout": -1}]
)
def test_a_bad_argument_of_start_is_named(option: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=f"{next(iter(option))} is "):
        node().start(Wire({}), **{"initial_arrays": start(), **option})


def _queried(wire: Wire, number: int) -> list[int]:
    found = [m for m in wire.sent if m.metadata.message_type == "query"]
    return [m.metadata.dst_node_id for m in found if m.content["config"]["server-round"] == number]


def test_a_run_in_which_nobody_trains_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    wire = cameras(tmp_path, 2, detector="no-such-model")
    strategy = node()
    with caplog.at_level(logging.ERROR, "flwr.rinr_flower"):
        strategy.start(wire, ArrayRecord(), 2, timeout=1)
    assert "NO DEVICE HAS TRAINED in 2 rounds" in caplog.text
    assert "no-such-model" in caplog.text
    skipped = [f for f in strategy.failures if f.device == "fog"]
    assert [(f.round, f.kind) for f in skipped] == [(1, "skipped"), (2, "skipped")]
    assert "none of 2 devices gave a usable answer" in skipped[0].reason


def test_without_a_configuration_devices_train_on_the_classes_that_there_are(tmp_path: Path) -> None:
    wire = cameras(tmp_path, 2, class_name="zebra")
    strategy = node()
    strategy.start(wire, ArrayRecord(), 2, timeout=1)
    assert strategy.failures == []
    assert [row.metrics["num-examples"] for row in strategy.trained] == [6, 6, 12, 12]
    assert {row.metrics["refused-payloads"] for row in strategy.trained} == {0}
    trained = [m for m in wire.sent if m.metadata.message_type == "train"]
    assert trained[0].content["config"]["class-names"] == ["zebra"]


def test_rounds_are_counted_from_the_first_and_a_mistake_is_named(tmp_path: Path) -> None:
    wire, strategy = cameras(tmp_path, 2), node()
    strategy.start(wire, start(), 2, timeout=1)
    for number in (1, 2):
        with pytest.raises(ConfigError, match="2 rounds are done; it counts from the first round: give 3"):
            strategy.start(wire, start(), number, timeout=1)
    strategy.start(wire, start(), 3, timeout=1)
    assert strategy.memory.rounds == 3


def test_a_resumed_run_returns_the_metrics_and_the_model_of_all_rounds(tmp_path: Path) -> None:
    calls: list[int] = []

    def central(number: int, arrays: ArrayRecord) -> MetricRecord:
        calls.append(number)
        return MetricRecord({"sum": float(arrays["numbers"].numpy().sum())})

    whole = node(inner=FedAvg()).start(cameras(tmp_path / "a", 2), start(), 3, timeout=1, evaluate_fn=central)
    wire, folder = cameras(tmp_path / "b", 2), RunFolder.create(str(tmp_path / "run"))
    calls.clear()
    node(inner=FedAvg(), keep=folder).start(wire, start(), 2, timeout=1, evaluate_fn=central)
    resumed = node(inner=FedAvg(), keep=RunFolder(folder.path)).start(wire, start(), 3, timeout=1, evaluate_fn=central)
    assert resumed == whole
    assert calls == [0, 1, 2, 2, 3], "only the last round before the break may have been lost"
    again = node(inner=FedAvg(), keep=RunFolder(folder.path))
    assert again.start(wire, start(), 3, timeout=1, evaluate_fn=central) == whole, "a finished run is read"


def test_a_step_of_the_round_can_be_overridden(tmp_path: Path) -> None:
    class Picky(FogNode):
        """Waits for one node, and shares every first clip of a device alone."""

        def wait(self, grid: Grid) -> list[int]:
            return sorted(grid.get_node_ids())[:2]

        def collect(self, server_round: int, grid: Grid) -> list[object]:  # type: ignore[override]
            return [c for c in super().collect(server_round, grid) if c.clip.endswith(" 0")]

        def content(self, fog_round: object, device: str, content: object) -> object:  # type: ignore[override]
            out = super().content(fog_round, device, content)  # type: ignore[arg-type]
            out.content["config"] = ConfigRecord({**out.content["config"], "note": device})
            return out

    wire = cameras(tmp_path, 3)
    strategy = Picky("jpeg", encoder=encode_here)
    strategy.start(wire, start(), 1, timeout=1)
    assert [(s.device, s.clip) for s in strategy.shared] == [("device-0", "0 0"), ("device-1", "0 0")]
    trained = [m for m in wire.sent if m.metadata.message_type == "train"]
    assert [m.content["config"]["note"] for m in trained] == ["device-0", "device-1"]


class Grouped(FedAvg):
    """A strategy of somebody else's that groups its messages."""

    def configure_train(self, *args: object) -> list[Message]:
        return [
            Message(m.content, m.metadata.dst_node_id, m.metadata.message_type, group_id="g")
            for m in super().configure_train(*args)  # type: ignore[arg-type]
        ]


def test_the_group_of_an_inner_strategys_message_is_kept(tmp_path: Path) -> None:
    wire = cameras(tmp_path, 2)
    node(inner=Grouped()).start(wire, start(), 1, timeout=1)
    groups = {m.metadata.group_id for m in wire.sent if m.metadata.message_type == "train"}
    assert groups == {"g"}


def test_an_array_that_many_messages_carry_is_stored_once(tmp_path: Path) -> None:
    """Counted beside Flower's own content-addressed objects."""
    wire, strategy = cameras(tmp_path, 4), node()
    strategy.start(wire, start(), 1, timeout=1)
    rows = {row.kind: row for row in strategy.memory.stored}
    sent = [m for m in wire.sent if m.metadata.message_type == "train"]
    assert rows["train"].sent_bytes == pytest.approx(sum(_size(m) for m in sent), rel=0.02)
    objects = {name: obj for message in sent for name, obj in get_all_nested_objects(message).items()}
    chunks = sum(len(obj.data) for obj in objects.values() if type(obj).__name__ == "ArrayChunk")
    payloads = sum(item.payload.size for item in strategy.shared)
    assert strategy.start_model is not None
    assert strategy.start_model.coded is not None
    assert chunks == payloads + len(strategy.start_model.coded), "every clip, and the start model"
    assert 0 <= rows["train"].stored_bytes - chunks < 0.5 * rows["train"].stored_bytes, "the rest are keys and settings"
    assert rows["train"].sent_bytes > 2 * rows["train"].stored_bytes


def _size(message: Message) -> int:
    return int(message_to_proto(message).ByteSize())


def test_messages_are_composed_as_they_are_sent_and_replies_taken_as_they_come(tmp_path: Path) -> None:
    alive: list[int] = []
    waiting = 0

    def compose() -> object:
        nonlocal waiting
        for _ in range(3 * AT_ONCE):
            waiting += 1
            alive.append(waiting)
            yield Message(query_content(1, None), dst_node_id=10, message_type="query")

    wire = cameras(tmp_path, 1)
    push = wire.push_messages

    def pushed(self: Wire, messages: list[Message]) -> object:
        nonlocal waiting
        numbers = push(messages)
        waiting -= len(messages)
        return numbers

    wire.push_messages = MethodType(pushed, wire)  # type: ignore[method-assign]
    replies = StreamedGrid(wire).send_and_receive(compose(), timeout=5)  # type: ignore[arg-type]
    assert alive == [], "nothing is composed before the first reply is asked for"
    assert len(list(replies)) == 3 * AT_ONCE
    assert max(alive) == AT_ONCE


def test_progress_is_told_while_answers_come_and_can_end_the_wait(tmp_path: Path) -> None:
    told: list[tuple[str, float]] = []
    strategy = node(progress=lambda what, done: told.append((what, done)))
    strategy.start(cameras(tmp_path, 2), start(), 1, timeout=1)
    stages = ("upload", "train", "evaluate")
    assert {what for what, _ in told} >= {f"round 1: devices {stage}" for stage in stages}
    assert all(0 <= done <= 1 for _, done in told)

    def stop(what: str, done: float) -> None:
        if what == "round 1: devices train":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        node(progress=stop).start(cameras(tmp_path / "again", 2), start(), 1, timeout=1)


def test_progress_is_told_while_devices_are_waited_for_and_can_end_the_wait(tmp_path: Path) -> None:
    wire = cameras(tmp_path, 2)
    late = wire.apps.pop(11)
    told: list[tuple[str, float]] = []

    def arrive(what: str, done: float) -> None:
        told.append((what, done))
        if what == "round 1: waiting for devices":
            wire.apps[11] = late

    strategy = node(min_devices=2, progress=arrive)
    strategy.start(wire, start(), 2, timeout=5)
    waits = [(what, done) for what, done in told if "waiting" in what]
    assert waits == [("round 1: waiting for devices", 0.5), ("round 1: waiting for devices", 1.0)], "round 2 need not"
    assert strategy.failures == []

    def stop(what: str, done: float) -> None:
        raise KeyboardInterrupt

    again = Wire(wire.apps)
    with pytest.raises(KeyboardInterrupt):
        node(min_devices=3, progress=stop).start(again, start(), 1, timeout=1)
    assert again.sent == [], "not only after the wait"


def test_a_strategy_that_waits_for_nodes_that_do_not_attend_is_told(tmp_path: Path) -> None:
    grid = AttendingGrid(cameras(tmp_path, 2), [10])
    assert [list(grid.get_node_ids()) for _ in range(5)] == [[10]] * 5
    with pytest.raises(TooFewNodesError, match="1 devices attend"):
        grid.get_node_ids()


def test_the_fogs_own_training_shows_under_the_names_of_its_devices(tmp_path: Path) -> None:
    """With a detector that the fog builds itself; its class names must be given."""
    config = ConfigRecord({"class-names": ["cup"], "steps": 1, "batch": 2, "image-size": 32})
    strategy = FogTraining("stc", encoder=encode_here)
    result = strategy.start(cameras(tmp_path, 2, detector=None), ArrayRecord(), 1, 5, config, config)
    assert strategy.failures == []
    assert result.train_metrics_clientapp[1]["steps"] == 1
    assert {row.metrics["num-examples"] for row in strategy.trained} == {6}


def test_payloads_are_the_same_object_in_all_messages(tmp_path: Path) -> None:
    seen: dict[bytes, set[int]] = {}

    class Watching(Wire):
        def push_messages(self, messages: object) -> object:  # type: ignore[override]
            for message in messages:  # type: ignore[attr-defined]
                for array in message.content.array_records.get("payloads", {}).values():
                    seen.setdefault(array.data, set()).add(id(array))
            return super().push_messages(messages)  # type: ignore[arg-type]

    node().start(Watching(cameras(tmp_path, 3).apps), start(), 1, timeout=1)
    assert len(seen) == 1 + 2 + 4
    assert all(len(ids) == 1 for ids in seen.values())


def test_numbers_of_numpy_and_devices_of_torch_are_options_too() -> None:
    assert FogNode("jpeg", min_devices=np.int64(2), device=torch.device("cpu")).device == "cpu"  # type: ignore[arg-type]
