"""FogNode and its baselines over real Flower messages that pass through their wire format."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable

import numpy as np
import pytest
from failing_codec import Failing
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Error, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvg
from small_clips import small_clip
from wire import Wire, app_of

from rinr_flower.bitstream.container import Payload
from rinr_flower.codecs import Codec, Jpeg, Nerv, Residual, codecs, decode
from rinr_flower.errors import DataError
from rinr_flower.messages.protocol import (
    Capture,
    captures_content,
    query_content,
    read_captures,
    read_payloads,
    read_query,
)
from rinr_flower.strategies import CaptureLimits, FogNode, JpegSharing
from rinr_flower.strategies.replies import Answer, Asked, Lost, Refused, match_replies, shorten

START = ArrayRecord({"w": Array(np.zeros(3, np.float32))})


pytestmark = pytest.mark.usefixtures("task_identity")


class Device:
    """A device of somebody else's: no detector of ours, only the documented messages."""

    def __init__(self, number: int) -> None:
        self.name = f"device-{number}"
        self.number = number
        self.received: dict[int, list[bytes]] = {}
        self.models: list[ArrayRecord] = []
        self.captures: Callable[[int], list[Capture]] = self.own
        self.metrics = MetricRecord({"num-examples": number + 1, "map50": 0.25 * number})
        self.reply_model: ArrayRecord | None = None
        self.app = app_of(self._query, self._train, self._evaluate)

    def own(self, server_round: int) -> list[Capture]:
        taken = small_clip(f"clip {server_round}", 100 * self.number + server_round)
        return [Capture(self.name, taken.name, taken.file_bytes(), codecs.create("jpeg").encode(taken))]

    def _query(self, message: Message, context: Context) -> Message:
        server_round, upload = read_query(message.content)
        assert upload == "jpeg"
        return Message(captures_content(self.name, self.captures(server_round)), reply_to=message)

    def _train(self, message: Message, context: Context) -> Message:
        server_round = int(message.content.config_records["config"]["server-round"])
        self.received[server_round] = read_payloads(message.content)
        self.models.append(message.content.array_records["arrays"])
        content = RecordDict({"metrics": self.metrics})
        if message.content.config_records["config"].get("return-model", True):
            own = ArrayRecord({"w": Array(np.full(3, self.number, np.float32))})
            content["arrays"] = self.reply_model or own
        return Message(content, reply_to=message)

    def _evaluate(self, message: Message, context: Context) -> Message:
        return Message(RecordDict({"metrics": self.metrics}), reply_to=message)


def fleet(count: int = 3) -> tuple[list[Device], Wire]:
    devices = [Device(number) for number in range(count)]
    return devices, wire_of(devices)


def wire_of(devices: list[Device]) -> Wire:
    return Wire({10 + device.number: device.app for device in devices})


def run(strategy: FogNode, wire: Wire, rounds: int = 1) -> object:
    """So many rounds more."""
    last = strategy.memory.rounds + rounds
    return strategy.start(grid=wire, initial_arrays=START, num_rounds=last, timeout=0.5)


def broken(message: Message, context: Context) -> Message:
    """A device that raises, as Ray words it."""
    return Message(Error(code=2, reason="Traceback\n\x1b[31mValueError: lens cap is on\x1b[0m"), reply_to=message)


def kinds(strategy: FogNode) -> list[tuple[int, str, str]]:
    return [(failure.round, failure.device, failure.kind) for failure in strategy.failures]


def test_every_device_receives_the_clips_of_the_others_and_never_its_own() -> None:
    devices, wire = fleet()
    run(FogNode("jpeg"), wire, rounds=2)
    for device in devices:
        for number in (1, 2):
            others = [other.own(number)[0].data for other in devices if other is not device]
            assert device.received[number] == others


def test_the_fog_encodes_with_its_codec_and_the_result_decodes_alone() -> None:
    devices, wire = fleet()
    run(FogNode({"name": "jpeg", "quality": 30}), wire)
    sent = [decode(payload) for payload in devices[0].received[1]]
    expected = [decode(codecs.create("jpeg", quality=30).encode(decode(d.own(1)[0].data))) for d in devices[1:]]
    for one, other in zip(sent, expected, strict=True):
        assert np.array_equal(one.images(), other.images())
        assert np.array_equal(one.frames[0].boxes, other.frames[0].boxes)


def test_the_ledger_holds_every_byte_of_every_message() -> None:
    _, wire = fleet()
    strategy = FogNode("jpeg")
    run(strategy, wire, rounds=2)
    # Flower fills in a message's id on the way, after it has been metered
    assert abs(strategy.ledger.message_bytes - wire.bytes) / wire.bytes < 0.02
    kinds = strategy.ledger.by_kind()
    uploads = sum(item.upload.size for item in strategy.shared)
    assert kinds["upload"][0] == uploads
    assert kinds["payload"][0] == 2 * uploads  # each clip goes to two other devices
    assert kinds["start_model"][0] == 3 * len(START["w"].data)  # to each device once, not again in round 2
    assert {e.destination for e in strategy.ledger if e.kind == "upload"} == {"fog"}


def test_a_failing_device_costs_its_own_data_of_the_round_and_catches_up_once() -> None:
    devices, wire = fleet()
    real, wire.apps[11] = wire.apps[11], broken
    strategy = FogNode("jpeg")
    run(strategy, wire)
    assert kinds(strategy) == [(1, "node 11", "error")]
    assert strategy.failures[0].reason == "ValueError: lens cap is on"
    assert devices[1].received == {}
    assert devices[0].received[1] == [devices[2].own(1)[0].data]
    wire.apps[11] = real
    run(strategy, wire)
    assert len(devices[1].received[2]) == 4  # both others' clips of both rounds
    assert len(devices[0].received[2]) == 2


def test_an_evaluation_confirms_no_payloads_of_a_round_before() -> None:
    class Drawn(FedAvg):
        """Samples for training all but the last of the devices in round 2."""

        def configure_train(
            self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
        ) -> Iterable[Message]:
            messages = list(super().configure_train(server_round, arrays, config, grid))
            return [m for m in messages if server_round != 2 or m.metadata.dst_node_id != 12]

    devices, wire = fleet()
    strategy = FogNode("jpeg", inner=Drawn())
    wire.apps[12] = app_of(devices[2]._query, broken, devices[2]._evaluate)
    run(strategy, wire)
    wire.apps[12] = devices[2].app
    run(strategy, wire, rounds=2)
    assert [item.round for item in strategy.evaluated if item.device == "device-2"] == [2, 3]
    assert len(devices[2].received[3]) == 6, "none of these ever came"


def test_lists_that_devices_report_are_averaged_too() -> None:
    devices, wire = fleet(2)
    for device in devices:
        weight, per_class = device.number + 1, [float(device.number), 0.5]
        device.metrics = MetricRecord({"num-examples": weight, "map50": 0.3 * device.number, "per-class": per_class})
    result = run(FogNode("jpeg"), wire)
    averaged = result.evaluate_metrics_clientapp[1]
    assert averaged["map50"] == pytest.approx(0.2)
    assert averaged["per-class"] == pytest.approx([2 / 3, 0.5])


def test_what_a_device_did_not_confirm_is_sent_again() -> None:
    devices, wire = fleet()
    strategy = FogNode("jpeg")
    wire.deaf = {(12, "train")}
    run(strategy, wire)
    assert kinds(strategy) == [(1, "device-2", "timeout")]
    wire.deaf = set()
    run(strategy, wire)
    assert [len(device.received[2]) for device in devices] == [2, 2, 4]
    assert len(devices[2].models[-1]) == 1, "the start model had not been confirmed either"
    assert len(devices[0].models[-1]) == 0


def test_a_device_that_failed_is_not_asked_again_in_the_same_round() -> None:
    _, wire = fleet()
    wire.deaf = {(10, "query")}
    run(FogNode("jpeg"), wire)
    asked = [m.metadata.message_type for m in wire.sent if m.metadata.dst_node_id == 10]
    assert asked == ["query"]


def test_a_round_whose_chosen_nodes_have_not_answered_is_skipped() -> None:
    class Unlucky(FedAvg):
        """Samples from the nodes behind the first."""

        def configure_train(
            self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
        ) -> Iterable[Message]:
            messages = super().configure_train(server_round, arrays, config, grid)
            return [m for m in messages if m.metadata.dst_node_id != 10]

    _, wire = fleet(4)
    wire.deaf = {(number, "query") for number in (11, 12, 13)}
    strategy = FogNode("jpeg", inner=Unlucky(min_available_nodes=4))
    run(strategy, wire)
    assert strategy.trained == []
    assert kinds(strategy)[-1] == (1, "fog", "skipped")
    assert "Unlucky chose 3 nodes, of which none attends this round" in strategy.failures[-1].reason


def test_classes_are_those_of_captures_that_are_shared() -> None:
    devices, wire = fleet()
    whole = Payload.from_bytes(codecs.create("jpeg").encode(small_clip("cat", 1, class_name="cat")))
    torn = dataclasses.replace(whole, parts={name: part[: len(part) // 2] for name, part in whole.parts.items()})
    devices[0].captures = lambda server_round: [Capture("device-0", "cat", 9, torn.to_bytes())]
    strategy = FogNode({"name": "jpeg", "quality": 30})
    run(strategy, wire)
    assert kinds(strategy) == [(1, "device-0", "malformed")]
    assert strategy.memory.class_names == ("cup",)


def test_too_few_devices_skip_the_round_but_lose_nothing() -> None:
    devices, wire = fleet()
    wire.deaf = {(10, "query"), (11, "query")}
    strategy = FogNode("jpeg", min_devices=2)
    run(strategy, wire)
    assert [m.metadata.message_type for m in wire.sent] == ["query"] * 3
    assert strategy.trained == []
    assert kinds(strategy)[-1] == (1, "fog", "skipped")
    assert "min_devices is 2" in strategy.failures[-1].reason
    wire.deaf = set()
    run(strategy, wire)
    assert len(devices[0].received[2]) == 3  # two of device 2, one of device 1


def test_a_strategy_of_flower_averages_the_models() -> None:
    devices, wire = fleet()
    result = run(FogNode("jpeg", inner=FedAvg()), wire, rounds=2)
    weights = [device.number + 1 for device in devices]
    expected = np.average([device.number for device in devices], weights=weights)
    assert np.allclose(result.arrays["w"].numpy(), expected)
    assert np.allclose(devices[0].models[1]["w"].numpy(), expected), "round 2 starts from the average"
    assert len(devices[0].received[2]) == 2


@pytest.mark.parametrize(
    "model",
    [
        ArrayRecord({"w": Array(np.full(3, np.nan, np.float32))}),
        ArrayRecord({"w": Array(np.zeros(4, np.float32))}),
        ArrayRecord({"v": Array(np.zeros(3, np.float32))}),
    ],
    ids=["not finite", "another shape", "another name"],
)
def test_a_bad_model_is_refused_and_the_others_are_averaged(model: ArrayRecord) -> None:
    devices, wire = fleet()
    devices[2].reply_model = model
    strategy = FogNode("jpeg", inner=FedAvg())
    result = run(strategy, wire)
    assert kinds(strategy) == [(1, "device-2", "malformed")]
    assert np.allclose(result.arrays["w"].numpy(), np.average([0, 1], weights=[1, 2]))


@pytest.mark.parametrize("weight", [0, -1, math.nan, [1.0]])
def test_metrics_without_a_usable_weight_are_refused(weight: float) -> None:
    devices, wire = fleet()
    devices[1].metrics = MetricRecord({"num-examples": weight})
    strategy = FogNode("jpeg")
    run(strategy, wire)
    assert kinds(strategy) == [(1, "device-1", "malformed")]


def test_one_bad_clip_costs_that_clip_alone() -> None:
    devices, wire = fleet()
    good = devices[0].own(1)[0]
    bad = Capture(good.device, "scratched", 10, good.data[:-7] + b"scratch")
    devices[0].captures = lambda server_round: [bad, good]
    strategy = FogNode("jpeg")
    run(strategy, wire)
    assert kinds(strategy) == [(1, "device-0", "malformed")]
    assert "scratched" in strategy.failures[0].reason
    assert good.data in devices[1].received[1]
    assert bad.data not in devices[1].received[1]


def test_a_clip_that_the_codec_cannot_encode_is_a_failure_of_the_fog() -> None:
    devices, wire = fleet()
    good = devices[0].own(1)[0]
    devices[0].captures = lambda server_round: [Capture(good.device, "bad", 10, good.data), good]
    strategy = FogNode(Failing())
    run(strategy, wire)
    assert kinds(strategy) == [(1, "fog", "error")]
    assert strategy.failures[0].reason == "clip 'bad' of device-0 cannot be encoded: this clip cannot be encoded"
    assert len(devices[1].received[1]) == 2, "the other clips are shared"


@pytest.mark.parametrize(
    ("codec", "spec"),
    [
        (Jpeg(), {"name": "jpeg"}),
        (Jpeg(50), {"name": "jpeg", "quality": 50}),
        (Nerv(strides=(5, 2, 2)), {"name": "nerv", "strides": [5, 2, 2]}),
        (Residual(background=Jpeg(50)), {"name": "residual", "background": {"name": "jpeg", "quality": 50}}),
    ],
)
def test_devices_are_told_an_upload_codec_that_is_given_as_an_object(codec: Codec, spec: dict[str, object]) -> None:
    asked = query_content(1, FogNode("jpeg", upload=codec).upload)
    assert read_query(asked) == (1, spec)
    assert codecs.create(spec) == codec


def test_two_nodes_cannot_use_one_name() -> None:
    devices, wire = fleet()
    devices[2].name = "device-0"
    strategy = FogNode("jpeg")
    run(strategy, wire)
    assert [kind for _, _, kind in kinds(strategy)] == ["malformed"]


def test_serverless_sharing_is_metered_from_device_to_device() -> None:
    serverless, relayed = JpegSharing(), JpegSharing(relay=True)
    devices = []
    for strategy in (serverless, relayed):
        some, wire = fleet()
        run(strategy, wire)
        devices.append(some)
    assert devices[0][0].received == devices[1][0].received
    clips = sum(item.payload.size for item in serverless.shared)
    assert serverless.ledger.by_kind()["share"][0] == 2 * clips
    assert not {"upload", "payload"} & set(serverless.ledger.by_kind())
    assert relayed.ledger.by_kind()["upload"][0] == clips
    assert relayed.ledger.by_kind()["payload"][0] == 2 * clips
    pairs = {(e.source, e.destination) for e in serverless.ledger if e.kind == "share"}
    assert len(pairs) == 6


def test_replies_are_matched_to_what_was_asked() -> None:
    asked = [Message(RecordDict(), dst_node_id=node, message_type="train") for node in (1, 2, 3, 4)]
    for number, message in enumerate(asked):
        message.metadata.__dict__["_message_id"] = str(number)
    earlier = Message(RecordDict(), dst_node_id=1, message_type="train")
    earlier.metadata.__dict__["_message_id"] = "of another round"
    spoofed = Message(RecordDict(), reply_to=asked[1])
    spoofed.metadata.__dict__["_src_node_id"] = 3
    expired = Message(Error(code=3, reason="Message Unavailable"), reply_to=asked[2])
    answer = Message(RecordDict(), reply_to=asked[0])
    stray = Message(RecordDict(), reply_to=earlier)
    questions = [Asked(message.metadata, RecordDict()) for message in asked]
    came = list(match_replies(questions, [stray, answer, answer, spoofed, expired]))
    assert [(item.node, item.message) for item in came if isinstance(item, Answer)] == [(1, answer)]
    lost = [(item.node, item.kind) for item in came if isinstance(item, Lost)]
    assert lost == [(2, "forged"), (3, "timeout"), (4, "timeout")]
    assert [item.message for item in came if isinstance(item, Refused)][:3] == [stray, answer, spoofed]


def test_reasons_are_one_line() -> None:
    assert shorten("\x1b[36mray::Actor\x1b[0m\n  File x\nValueError: bad\n'>") == "ValueError: bad"
    torch_says = "RuntimeError: Error(s) in loading:\n\tUnexpected key(s)\nin it"
    traceback = f"Traceback (most recent call last):\n  File x\n    f()\n    ^^^\n{torch_says}\n"
    chained = f"Traceback:\n  File y\nKeyError: 1\n\nDuring handling of the above exception, another:\n\n{traceback}"
    for said in (torch_says, traceback, chained):
        assert shorten(said) == "RuntimeError: Error(s) in loading: Unexpected key(s) in it"
    flower_says = "<class 'ClientAppException'>:<'\nException ClientAppException occurred. Message: boom\nmore'>"
    assert shorten(flower_says) == "boom more"
    assert len(shorten("x" * 1000)) == 300
    assert shorten("") == "no reason given"


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"device": ""}, "'device'"),
        ({"device": "x" * 200}, "'device'"),
        ({"device": "two\nlines"}, "'device'"),
        ({"clips": ["a", "b"]}, "2 clips"),
        ({"clips": ["x" * 200]}, "'clips' holds 'xxx"),
        ({"clips": ["a\rb"]}, r"'clips' holds 'a\\rb'"),
        ({"clips": ["a\u2028b"]}, r"'clips' holds 'a\\u2028b'"),
        ({"payloads": [b"bytes"]}, "earlier version"),
        ({"camera-bytes": [-1]}, "negative"),
        ({"camera-bytes": [True]}, "list of int"),
    ],
)
def test_malformed_uploads_are_named(change: dict[str, object], text: str) -> None:
    content = captures_content("d", [Capture("d", "north\u00a0gate\u3000\u00e9 1", 5, b"12345")])
    read_captures(content)
    record = content.config_records["captures"]
    content["captures"] = ConfigRecord({**record, **change})  # type: ignore[dict-item]
    with pytest.raises(DataError, match=text):
        read_captures(content)


@pytest.mark.parametrize(
    ("limits", "text"),
    [
        (CaptureLimits(clips=0), "1 clips in one round"),
        (CaptureLimits(frames=1), "2 frames in one round"),
        (CaptureLimits(boxes=1), "2 boxes in one round"),
        (CaptureLimits(megabytes=1e-5), "megabytes in one round"),
        (CaptureLimits(megapixels=1e-3), "megapixels in one round"),
        (CaptureLimits(seconds=0), "not decoded"),
    ],
)
def test_a_device_that_uploads_too_much_is_named_and_the_others_share(limits: CaptureLimits, text: str) -> None:
    devices = [Device(0), Device(1), Device(2)]
    strategy = FogNode("jpeg", limits=limits)
    if limits.seconds:  # the others have nothing new
        for device in devices[1:]:
            device.captures = lambda server_round: []
    run(strategy, wire_of(devices), rounds=1)
    over = devices if not limits.seconds else devices[:1]
    assert {f.device for f in strategy.failures if f.kind == "malformed"} <= {d.name for d in over} | {"node 10"}
    assert any(text in failure.reason for failure in strategy.failures)
    assert not strategy.shared
    assert {item.device for item in strategy.trained} >= {d.name for d in devices[1:]}


def test_an_answer_without_captures_is_named() -> None:
    with pytest.raises(DataError, match="no ConfigRecord"):
        read_captures(RecordDict({"metrics": MetricRecord({"a": 1})}))
