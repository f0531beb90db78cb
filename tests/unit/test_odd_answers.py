"""Odd answers to training and evaluation: each is a failure of its device, and the others are averaged."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp.strategy import FedAvg
from tiny_detector import cameras
from wire import Wire

from rinr_flower.messages.protocol import ARRAYS, METRICS, bytes_array
from rinr_flower.strategies import FogNode
from rinr_flower.strategies.answers import odd_ones

pytestmark = pytest.mark.usefixtures("task_identity")

Spoil = Callable[[RecordDict], RecordDict]


def metric(**values: object) -> Spoil:
    return lambda content: RecordDict({**content, METRICS: MetricRecord({**content[METRICS], **values})})  # type: ignore[dict-item]


def without(name: str) -> Spoil:
    def spoil(content: RecordDict) -> RecordDict:
        return RecordDict({**content, METRICS: MetricRecord({k: v for k, v in content[METRICS].items() if k != name})})

    return spoil


def model(**arrays: Array) -> Spoil:
    return lambda content: RecordDict({**content, ARRAYS: ArrayRecord({**content.array_records[ARRAYS], **arrays})})


def record(name: str, value: object) -> Spoil:
    return lambda content: RecordDict({**content, name: value})  # type: ignore[dict-item]


def lacking(name: str) -> Spoil:
    return lambda content: RecordDict({k: v for k, v in content.items() if k != name})


BOTH: list[tuple[str, Spoil, str]] = [
    ("a key more", metric(extra=1.0), "metric 'extra' is in no other device's answer"),
    ("a list", metric(**{"map50": [0.5, 0.5], "train_loss": [1.0]}), "is a list of|is in no other"),
    ("NaN", metric(**{"num-examples": math.nan}), "'num-examples' is nan"),
    ("infinite", metric(odd=math.inf), "metric 'odd' is inf; metrics must be finite"),
    ("no metrics", lacking(METRICS), "0 MetricRecords"),
    ("two metrics", record("more", MetricRecord({"a": 1})), "2 MetricRecords"),
    ("no weight", without("num-examples"), "'num-examples' is None"),
]
TRAIN: list[tuple[str, Spoil, str]] = [
    ("a key too few", without("refused-payloads"), "lacks metric 'refused-payloads'"),
    ("no model", lacking(ARRAYS), "0 ArrayRecords; it must have one"),
    ("two models", record("again", ArrayRecord({"w": Array(np.zeros(2))})), "2 ArrayRecords"),
    ("an array more", model(w=Array(np.zeros(2))), "the model has other arrays"),
    ("another type", model(numbers=Array(np.zeros(3))), "is float64"),
    ("not a model", model(numbers=bytes_array(b"abc")), "is uint8"),
]
CASES = [(stage, *case) for stage, cases in (("train", BOTH + TRAIN), ("evaluate", BOTH)) for case in cases]


def run(wire: Wire, start: ArrayRecord | None = None, rounds: int = 1, **options: object) -> tuple[FogNode, object]:
    strategy = FogNode("jpeg", upload=None, inner=FedAvg(), **options)  # type: ignore[arg-type]
    first = ArrayRecord({"numbers": Array(np.ones(3, np.float32))}) if start is None else start
    return strategy, strategy.start(wire, first, rounds, timeout=0.5)


@pytest.mark.parametrize(("stage", "name", "spoil", "text"), CASES, ids=[f"{s} {n}" for s, n, *_ in CASES])
def test_an_odd_answer_costs_its_device_and_the_others_are_averaged(
    stage: str, name: str, spoil: Spoil, text: str, tmp_path: Path
) -> None:
    wire = cameras(tmp_path, 4)

    def change(reply: Message) -> Message:
        if reply.metadata.src_node_id == 11 and reply.metadata.message_type == stage:
            reply.content = spoil(reply.content)
        return reply

    wire.change_answered = change
    strategy, result = run(wire)
    assert [(f.device, f.kind) for f in strategy.failures] == [("device-1", "malformed")]
    assert re.search(text, strategy.failures[0].reason), strategy.failures[0].reason
    if stage == "train":
        frames = np.array([2, 8, 14])
        assert np.allclose(result.arrays["numbers"].numpy(), np.average(0.5 + frames, weights=frames))
        assert sorted(result.evaluate_metrics_clientapp[1]) == ["map50", "map50-95"]
    assert len(strategy.evaluated) == 3
    assert {item.device for item in strategy.trained} >= {f"device-{i}" for i in (0, 2, 3)}


def test_what_two_devices_answer_differently_is_settled_by_the_round_before(tmp_path: Path) -> None:
    wire = cameras(tmp_path, 2)
    strategy, _ = run(wire)

    def change(reply: Message) -> Message:
        if reply.metadata.src_node_id == 10 and reply.metadata.message_type == "train":
            reply.content = metric(extra=1.0)(reply.content)
        return reply

    wire.change_answered = change
    strategy.start(wire, ArrayRecord(), 2, timeout=0.5)
    assert [(f.round, f.device) for f in strategy.failures] == [(2, "device-0")]


def test_lists_that_all_devices_send_are_averaged_as_flower_does(tmp_path: Path) -> None:
    wire = cameras(tmp_path, 3)

    def change(reply: Message) -> Message:
        if reply.metadata.message_type == "evaluate":
            reply.content = metric(per_class=[1.0, float(reply.metadata.src_node_id)])(reply.content)
        return reply

    wire.change_answered = change
    strategy, result = run(wire)
    assert strategy.failures == []
    assert result.evaluate_metrics_clientapp[1]["per_class"] == pytest.approx([1.0, 11.0])


def test_a_model_whose_first_arrays_are_not_known_is_that_of_most(tmp_path: Path) -> None:
    wire = cameras(tmp_path, 3)

    def change(reply: Message) -> Message:
        if reply.metadata.src_node_id == 12 and reply.metadata.message_type == "train":
            reply.content = record(ARRAYS, ArrayRecord({"numbers": Array(np.zeros(4, np.float32))}))(reply.content)
        return reply

    wire.change_answered = change
    strategy, result = run(wire, ArrayRecord())
    assert [(f.device, f.kind) for f in strategy.failures] == [("device-2", "malformed")]
    assert "array 'numbers' is float32 (4,); other devices' is float32 (3,)" in strategy.failures[0].reason
    assert result.arrays["numbers"].shape == (3,)


def test_records_of_other_names_are_read_by_their_kind(tmp_path: Path) -> None:
    wire = cameras(tmp_path, 2)

    def change(reply: Message) -> Message:
        if reply.metadata.src_node_id == 11 and reply.metadata.message_type == "train":
            content = reply.content
            reply.content = RecordDict(
                {"model": content[ARRAYS], "measured": content[METRICS], "more": ConfigRecord({"a": 1})}
            )
        return reply

    wire.change_answered = change
    strategy, result = run(wire)
    assert strategy.failures == []
    assert len(result.arrays) == 1


def test_no_answer_is_odd_where_there_is_one_or_none() -> None:
    content = RecordDict({METRICS: MetricRecord({"num-examples": 1})})
    assert odd_ones({}) == ({}, None)
    assert odd_ones({"a": content})[0] == {}
