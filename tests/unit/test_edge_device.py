"""A whole device through restarts, repeated rounds, bad payloads and hostile models."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, RecordDict
from flwr.common.serde import message_from_proto, message_to_proto
from small_clips import small_clip

from rinr_flower.clients import DeviceFolder, DeviceState, EdgeDevice, Training, client_app
from rinr_flower.clients.device_state import ARRAYS_KEPT, BUDGET
from rinr_flower.clients.own_frames import OwnClip
from rinr_flower.codecs import codecs
from rinr_flower.detection import TrainingLog
from rinr_flower.errors import ConfigError, DataError
from rinr_flower.files import name_of
from rinr_flower.messages.protocol import bytes_record, holds_digest, query_content

pytestmark = pytest.mark.usefixtures("task_identity")

JOB = "0123456789abcdef"
TRAINING = Training(class_names=("cup",), image_size=32, steps=1, batch=2)
SIZE = (32, 32)


def payload(seed: int, class_name: str = "cup") -> bytes:
    return codecs.create("jpeg").encode(small_clip("other", seed, SIZE, class_name))


def make(path: Path) -> DeviceFolder:
    captures = [[small_clip(f"clip {number}", number, SIZE)] for number in (1, 2, 3)]
    return DeviceFolder.write(path, "camera-1", captures, [small_clip("rest", 9, SIZE)])


def ask(folder: DeviceFolder, kind: str, content: RecordDict, budget: int = BUDGET) -> RecordDict:
    """Send a message to the device as a process that has just started would find it."""
    app = client_app(lambda context: EdgeDevice(folder, state=DeviceState(folder.path / "state", budget)))
    message = Message(content, dst_node_id=7, message_type=kind)
    message.metadata.__dict__["_message_id"] = "1"
    return app(message_from_proto(message_to_proto(message)), Context(1, 7, {}, RecordDict(), {})).content


def train(
    folder: DeviceFolder,
    server_round: int,
    brought: Iterable[bytes] = (),
    model: ArrayRecord | None = None,
    budget: int = BUDGET,
) -> RecordDict:
    config = ConfigRecord({**TRAINING.to_config(), "server-round": server_round, "job": JOB})
    records = {"config": config, "payloads": bytes_record(brought)}
    return ask(folder, "train", RecordDict({**records, "arrays": model or ArrayRecord()}), budget)


def query(folder: DeviceFolder, server_round: int) -> ConfigRecord:
    content = query_content(server_round, None)
    content["config"]["job"] = JOB
    return ask(folder, "query", content).config_records["captures"]


def same(a: RecordDict, b: RecordDict) -> bool:
    """The same model, bit for bit, from the same frames."""
    one, other = a.array_records["arrays"], b.array_records["arrays"]
    frames = [record.metric_records["metrics"]["num-examples"] for record in (a, b)]
    return list(one) == list(other) and all(one[k].data == other[k].data for k in one) and frames[0] == frames[1]


def test_restarts_and_repetitions_change_nothing(tmp_path: Path) -> None:
    calm, rough = make(tmp_path / "calm"), make(tmp_path / "rough")
    first = train(calm, 1, [payload(50)])
    second = train(calm, 2, [payload(51)])
    assert same(train(rough, 1, [payload(50)]), first)
    assert same(train(rough, 1, [payload(50)]), first), "the fog repeats its running round"
    assert query(rough, 2)["holds"] == holds_digest([name_of(payload(50))])
    assert same(train(rough, 2, [payload(51)]), second)
    assert same(train(rough, 2, [payload(51)]), second)
    assert not same(first, second)
    with pytest.raises(DataError, match="round 1 is over"):
        train(rough, 1, [payload(50)])
    assert query(rough, 3)["holds"] == holds_digest([name_of(payload(50)), name_of(payload(51))])


def test_a_repeated_round_under_a_tight_budget_trains_on_the_same_frames(tmp_path: Path) -> None:
    folder = make(tmp_path)
    model = sum(array.nbytes for array in TRAINING.build().state().values())
    budget = ARRAYS_KEPT * model + len(payload(51)) + len(payload(50)) // 2
    train(folder, 1, [payload(50)], budget=budget)
    first = train(folder, 2, [payload(51)], budget=budget)
    assert first.metric_records["metrics"]["num-examples"] == 2 * 2 + 2, "the payload of round 1 has been let go"
    assert same(train(folder, 2, [payload(51)], budget=budget), first)
    assert query(folder, 3)["holds"] == holds_digest([name_of(payload(50)), name_of(payload(51))])
    used = sum(path.stat().st_size for path in (folder.path / "state").rglob("*") if path.is_file())
    assert used <= budget


def test_a_budget_below_the_models_is_refused_in_the_first_round_too(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="budget of 1,048,576 bytes is too small"):
        train(make(tmp_path), 1, budget=1 << 20)


@pytest.mark.parametrize("log", [None, TrainingLog(0.0, 0.0, ())])
def test_a_training_step_must_return_a_log(log: TrainingLog | None, tmp_path: Path) -> None:
    device, own = EdgeDevice(make(tmp_path)), [OwnClip("a", payload(1))]
    with pytest.raises(DataError, match="must return a TrainingLog with at least one loss"):
        device.train(1, own, {}, None, TRAINING, lambda *_: log)  # type: ignore[arg-type, return-value]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"opened_bytes": -5}, "opened_bytes is -5; it must be a whole number from 0"),
        ({"opened_bytes": None}, "opened_bytes is None"),
        ({"threads": 0}, "threads is 0; it must be a whole number from 1, or None"),
        ({"train": "x"}, "train is 'x'"),
        ({"mods": "x"}, "mods is 'x'; it must be a sequence of Flower mods"),
        ({"mods": None}, "mods is None"),
        ({"detector": {"name": "nothing"}}, "unknown detector 'nothing'"),
    ],
)
def test_bad_arguments_of_a_client_app_are_named_at_once(options: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        client_app(lambda context: EdgeDevice(make(Path())), **options)


def test_an_own_class_that_the_fog_does_not_name_is_named(tmp_path: Path) -> None:
    device, own = EdgeDevice(make(tmp_path)), [OwnClip("night", payload(1, "mug"))]
    with pytest.raises(DataError, match=r"own clip 'night': .* class 'mug', .* in the fog's train_config"):
        device.train(1, own, {}, None, TRAINING)


def test_a_wiped_device_says_that_it_holds_nothing(tmp_path: Path) -> None:
    folder = make(tmp_path)
    assert query(folder, 1)["holds"] == ""
    train(folder, 1)
    assert query(folder, 2)["holds"] == holds_digest([])
    shutil.rmtree(folder.path / "state")
    assert query(folder, 2)["holds"] == ""


def test_a_bad_payload_costs_itself_alone_and_is_not_held(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = make(tmp_path)
    cut, strange = payload(50)[:-9], payload(51, "elephant")
    with caplog.at_level(logging.WARNING, "flwr.rinr_flower"):
        metrics = train(folder, 1, [cut, payload(52), strange]).metric_records["metrics"]
    assert (metrics["num-examples"], metrics["refused-payloads"]) == (2 + 2, 2)
    assert name_of(cut) in caplog.text
    assert "class 'elephant', and the detector knows 1 classes: cup" in caplog.text
    assert query(folder, 2)["holds"] == holds_digest([name_of(payload(52))])
    metrics = train(folder, 2, [payload(50)]).metric_records["metrics"]
    assert metrics["num-examples"] == 2 * 2 + 2 * 2, "two clips of its own and two of others"
    assert metrics["refused-payloads"] == 0, "the keys are always the same"


def _changed(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[dict[str, Array]], None]:
    def apply(arrays: dict[str, Array]) -> None:
        arrays[name] = Array(change(arrays[name].numpy().copy()))

    return apply


def _pickled(arrays: dict[str, Array]) -> None:
    old = arrays["model.0.conv.weight"]
    data = b"\x80\x04\x95cos\nsystem\n."
    arrays["model.0.conv.weight"] = Array(old.dtype, old.shape, old.stype, data)


@pytest.mark.parametrize(
    ("spoil", "text"),
    [
        (_changed("model.0.conv.weight", lambda a: a * np.float32(np.nan)), "'model.0.conv.weight' holds nan"),
        (_changed("model.0.bn.bias", lambda a: a + np.float32(np.inf)), "'model.0.bn.bias' holds inf"),
        (_changed("model.0.conv.weight", lambda a: a * np.float32(1e9)), "holds .*e\\+0.* at most 1e\\+06"),
        (_changed("model.0.conv.weight", lambda a: a[:, :1]), "'model.0.conv.weight' has the shape"),
        (lambda arrays: arrays.pop("model.0.conv.weight"), "lacks 'model.0.conv.weight'"),
        (_pickled, "'model.0.conv.weight' cannot be read"),
    ],
    ids=["NaN", "infinite", "exploding", "another shape", "a name too few", "pickle"],
)
def test_a_hostile_model_is_refused_and_the_device_stays_as_it_was(
    spoil: Callable[[dict[str, Array]], None], text: str, tmp_path: Path
) -> None:
    folder = make(tmp_path)
    arrays = {name: Array(array) for name, array in TRAINING.build().state().items()}
    spoil(arrays)
    with pytest.raises(DataError, match=text):
        train(folder, 1, [payload(50)], ArrayRecord(arrays))
    assert query(folder, 1)["holds"] == ""
