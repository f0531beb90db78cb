"""Signed messages: what passes between a fog and its devices, and every way to forge it."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP384R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.common.serde import recorddict_from_proto, recorddict_to_proto

from rinr_flower.clients import DeviceFolder, EdgeDevice, client_app
from rinr_flower.errors import ConfigError
from rinr_flower.frames import Clip, Frame
from rinr_flower.messages.identity import DeviceIdentity, FogIdentity, ForgedError, digest, name_of, node_name
from rinr_flower.messages.key_files import load_device_keys, load_private_key, load_public_key
from rinr_flower.messages.protocol import query_content, read_captures
from rinr_flower.simulations.task_identity import take_server_identity

FOG = Ed25519PrivateKey.from_private_bytes(b"f" * 32)
KEYS = {name: Ed25519PrivateKey.from_private_bytes(name.encode() * 4) for name in ("camera-1", "camera-2")}
fog = FogIdentity(FOG, {name: key.public_key() for name, key in KEYS.items()})
devices = {name: DeviceIdentity(name, key, FOG.public_key()) for name, key in KEYS.items()}


def content() -> RecordDict:
    arrays = ArrayRecord({"b": Array(np.arange(6, dtype=np.float32).reshape(2, 3)), "a": Array(np.zeros(0))})
    config = ConfigRecord({"server-round": 3, "payloads": [b"one", b"two"], "flag": True, "rate": 0.1, "text": "é"})
    metrics = MetricRecord({"num-examples": 4, "loss": float("nan"), "list": [1, 2], "none": []})
    return RecordDict({"arrays": arrays, "config": config, "metrics": metrics})


def over_the_wire(record: RecordDict) -> RecordDict:
    return recorddict_from_proto(recorddict_to_proto(record))


def question(receiver: str = "camera-1", **changes: object) -> RecordDict:
    header = {"job": "0123456789abcdef", "server_round": 3, "kind": "train", **changes}
    return over_the_wire(fog.seal(content(), receiver=receiver, **header))  # type: ignore[arg-type]


def answer(asked: RecordDict, device: str = "camera-1") -> RecordDict:
    return over_the_wire(devices[device].seal(content(), question=asked))


def test_a_question_and_its_answer_pass() -> None:
    asked = question()
    opened = devices["camera-1"].open(asked, kind="train", node=7)
    assert opened == over_the_wire(content()) or digest(opened) == digest(content())  # NaN is not equal to itself
    assert sorted(opened) == ["arrays", "config", "metrics"]
    name, opened = fog.open(answer(asked), question=asked, sender="camera-1")
    assert name == "camera-1"
    assert digest(opened) == digest(content())
    assert "signature" not in opened


def test_the_fog_learns_a_name_from_an_answer() -> None:
    asked = question(node_name(7), kind="query")
    devices["camera-2"].open(asked, kind="query", node=7)
    assert fog.open(answer(asked, "camera-2"), question=asked)[0] == "camera-2"


def test_the_digest_does_not_depend_on_the_order_of_records_and_keys() -> None:
    records = content()
    names = list(records)
    for seed in range(5):
        random.Random(seed).shuffle(names)
        config = dict(random.Random(seed).sample(sorted(records["config"].items()), len(records["config"])))
        mixed = RecordDict({name: records[name] for name in names})
        mixed["config"] = ConfigRecord(config)
        assert digest(mixed) == digest(records) == digest(over_the_wire(mixed))


def _payload(record: RecordDict) -> None:
    record["config"]["payloads"] = [b"one", b"twO"]


def _boundary(record: RecordDict) -> None:
    record["config"]["payloads"] = [b"onet", b"wo"]


def _kind_of_number(record: RecordDict) -> None:
    record["config"]["server-round"] = 3.0


def _truth(record: RecordDict) -> None:
    record["config"]["flag"] = 1


def _array(record: RecordDict) -> None:
    record["arrays"]["b"] = Array(np.arange(6, dtype=np.float32).reshape(2, 3) + np.float32(1e-6))


def _shape(record: RecordDict) -> None:
    old = record["arrays"]["b"]
    record["arrays"]["b"] = Array(old.dtype, (3, 2), old.stype, old.data)


def _array_order(record: RecordDict) -> None:
    record["arrays"] = ArrayRecord({name: record["arrays"][name] for name in ("a", "b")})


def _more(record: RecordDict) -> None:
    record["more"] = ConfigRecord({"x": 1})


def _less(record: RecordDict) -> None:
    del record["metrics"]


def _moved(record: RecordDict) -> None:
    record["config2"] = record["config"]
    del record["config"]


def _key(record: RecordDict) -> None:
    record["config"]["Text"] = record["config"].pop("text")


@pytest.mark.parametrize(
    "change",
    [_payload, _boundary, _kind_of_number, _truth, _array, _shape, _array_order, _more, _less, _moved, _key],
)
def test_any_alteration_is_noticed_at_either_end(change: Callable[[RecordDict], None]) -> None:
    asked = question()
    replied = answer(asked)
    altered = over_the_wire(asked)
    change(altered)
    with pytest.raises(ForgedError, match="altered"):
        devices["camera-1"].open(altered, kind="train", node=7)
    change(replied)
    with pytest.raises(ForgedError, match="altered"):
        fog.open(replied, question=asked, sender="camera-1")


@pytest.mark.parametrize("field", ["job", "round", "kind", "sender", "receiver", "about"])
def test_the_header_is_signed_too(field: str) -> None:
    asked = question()
    replied = answer(asked)
    value = replied["signature"][field]
    replied["signature"][field] = 4 if field == "round" else "camera-2" if field == "sender" else f"{value}x"
    with pytest.raises(ForgedError, match="altered"):
        fog.open(replied, question=asked)


@pytest.mark.parametrize(
    ("other", "text"),
    [
        ({"server_round": 2}, "its round is 2, not 3"),
        ({"job": "f" * 16}, "its job"),
        ({"kind": "evaluate"}, "its kind"),
    ],
)
def test_an_answer_of_another_exchange_is_a_replay(other: dict[str, object], text: str) -> None:
    earlier = answer(question(**other))
    with pytest.raises(ForgedError, match=text):
        fog.open(earlier, question=question(), sender="camera-1")


def test_an_answer_to_another_question_of_the_same_exchange_is_a_replay() -> None:
    first, second = question(node_name(7)), question(node_name(8))
    with pytest.raises(ForgedError, match="its about"):
        fog.open(answer(first), question=second)


def test_a_device_cannot_answer_in_anothers_name() -> None:
    asked = question("camera-1")
    with pytest.raises(ForgedError, match="by 'camera-2'; 'camera-1' was asked"):
        fog.open(answer(asked, "camera-2"), question=asked, sender="camera-1")
    liar = DeviceIdentity("camera-1", KEYS["camera-2"], FOG.public_key())
    with pytest.raises(ForgedError, match="not by the key of 'camera-1'"):
        fog.open(liar.seal(content(), question=asked), question=asked, sender="camera-1")
    stranger = DeviceIdentity("camera-9", KEYS["camera-2"], FOG.public_key())
    with pytest.raises(ForgedError, match="'camera-9', for which the fog has no key"):
        fog.open(stranger.seal(content(), question=asked), question=asked)


def test_a_question_for_another_device_or_of_another_kind_is_refused() -> None:
    device = devices["camera-1"]
    with pytest.raises(ForgedError, match="its receiver is 'camera-2', not 'camera-1'"):
        device.open(question("camera-2"), kind="train", node=7)
    with pytest.raises(ForgedError, match="its receiver is 'node 8'"):
        device.open(question(node_name(8)), kind="train", node=7)
    with pytest.raises(ForgedError, match="its kind is 'train', not 'evaluate'"):
        device.open(question(), kind="evaluate", node=7)


def test_another_fog_and_a_device_that_plays_the_fog_are_refused() -> None:
    other = FogIdentity(KEYS["camera-2"], fog.devices)
    asked = other.seal(content(), job="0", server_round=1, kind="train", receiver="camera-1")
    with pytest.raises(ForgedError, match="not by the key of 'fog'"):
        devices["camera-1"].open(asked, kind="train", node=7)
    with pytest.raises(ForgedError, match="not by the key of 'camera-2'"):
        devices["camera-1"].open(answer(question("camera-2"), "camera-2"), kind="train", node=7)


def test_an_unsigned_message_is_refused_at_either_end() -> None:
    with pytest.raises(ForgedError, match="not signed"):
        devices["camera-1"].open(content(), kind="train", node=7)
    with pytest.raises(ForgedError, match="not signed"):
        fog.open(content(), question=question())
    with pytest.raises(ForgedError, match="not signed"):
        name_of(content())


@pytest.mark.parametrize(
    "change",
    [
        {"signature": "text"},
        {"round": True},
        {"round": "3"},
        {"sender": b"camera-1"},
        {"job": "x" * 1000},
        {"about": [1]},
    ],
)
def test_a_malformed_signature_record_is_refused(change: dict[str, object]) -> None:
    asked = question()
    replied = answer(asked)
    replied["signature"] = ConfigRecord({**replied["signature"], **change})  # type: ignore[dict-item]
    with pytest.raises(ForgedError, match="lacks a field"):
        fog.open(replied, question=asked)


def test_a_device_answers_its_fog_alone_and_signs_its_answer(tmp_path: Path) -> None:
    take_server_identity()
    folder = DeviceFolder.write(tmp_path, "camera-1", [], [Clip("rest", (Frame(np.zeros((8, 8, 3), np.uint8)),))])
    app = client_app(lambda context: EdgeDevice(folder, identity=devices["camera-1"]))

    def ask(asked: RecordDict) -> RecordDict:
        message = Message(asked, dst_node_id=7, message_type="query")
        message.metadata.__dict__["_message_id"] = "1"
        return over_the_wire(app(message, Context(1, 7, {}, RecordDict(), {})).content)

    plain = query_content(1, None)
    plain["config"]["job"] = "0" * 16
    with pytest.raises(ForgedError, match="not signed"):
        ask(plain)
    stranger = FogIdentity(KEYS["camera-2"], {})
    forged = stranger.seal(plain, job="0" * 16, server_round=1, kind="query", receiver=node_name(7))
    with pytest.raises(ForgedError, match="not by the key of 'fog'"):
        ask(forged)
    assert not (tmp_path / "state").exists(), "nothing was kept of them"
    asked = fog.seal(plain, job="0" * 16, server_round=1, kind="query", receiver=node_name(7))
    name, opened = fog.open(ask(asked), question=asked)
    assert name == "camera-1" == read_captures(opened)[0].device
    with pytest.raises(ConfigError, match="called 'camera-1', but its key belongs to 'camera-2'"):
        EdgeDevice(folder, identity=devices["camera-2"])


def public_line(key: Ed25519PublicKey, name: str) -> str:
    return f"{key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()} {name}\n"


def test_keys_are_read_from_the_files_that_ssh_keygen_writes(tmp_path: Path) -> None:
    for name, key in {"fog": FOG, **KEYS}.items():
        private = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
        (tmp_path / name).write_bytes(private)
        (tmp_path / f"{name}.pub").write_text(public_line(key.public_key(), name))
    lines = [(tmp_path / f"{name}.pub").read_text() for name in KEYS]
    (tmp_path / "devices.pub").write_text("# the yard\n\n" + "".join(lines))
    loaded = FogIdentity.load(tmp_path / "fog", tmp_path / "devices.pub")
    assert list(loaded.devices) == list(KEYS)
    device = DeviceIdentity.load("camera-1", tmp_path / "camera-1", tmp_path / "fog.pub")
    asked = loaded.seal(content(), job="0", server_round=1, kind="query", receiver=node_name(1))
    device.open(asked, kind="query", node=1)
    assert loaded.open(device.seal(content(), question=asked), question=asked)[0] == "camera-1"


def test_unusable_key_files_are_named_and_not_shown(tmp_path: Path) -> None:
    path = tmp_path / "key"
    with pytest.raises(ConfigError, match=f"{path} cannot be read: No such file"):
        load_private_key(path)
    with pytest.raises(ConfigError, match=rf"No such file.*make one: cat camera-\*.pub > {path}"):
        load_device_keys(path)
    path.mkdir()
    with pytest.raises(ConfigError, match=f"{path} cannot be read: Is a directory"):
        load_public_key(path)
    path.rmdir()
    for data in (b"", b"secret", b"\xff\xfe\0", b"-----BEGIN OPENSSH PRIVATE KEY-----\nc2VjcmV0\n"):
        path.write_bytes(data)
        for load in (load_private_key, load_public_key):
            with pytest.raises(ConfigError, match=str(path)) as caught:
                load(path)
            assert "secret" not in str(caught.value)
    other = generate_private_key(SECP384R1())
    path.write_bytes(other.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    with pytest.raises(ConfigError, match="another kind than Ed25519"):
        load_private_key(path)
    path.write_bytes(other.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH))
    with pytest.raises(ConfigError, match="another kind than Ed25519"):
        load_public_key(path)


@pytest.mark.parametrize(
    ("lines", "text"),
    [
        ([], "no public key"),
        ([("camera-1", "")], r"devices.pub:1: the comment '' is no device's name"),
        ([("camera-1", "fog")], "'fog' is no device's name"),
        ([("camera-1", "x" * 200)], "is no device's name"),
        ([("camera-1", "a"), ("camera-2", "a")], r"devices.pub:2: a second key for 'a'"),
        ([("camera-1", "a"), ("camera-1", "b")], r"devices.pub:2: 'b' has the key of 'a'"),
    ],
)
def test_a_file_of_device_keys_is_checked(lines: list[tuple[str, str]], text: str, tmp_path: Path) -> None:
    path = tmp_path / "devices.pub"
    path.write_text("".join(public_line(KEYS[key].public_key(), name) for key, name in lines))
    with pytest.raises(ConfigError, match=text):
        load_device_keys(path)
