"""A fog node that is killed and taken up again, over real Flower messages that pass through their wire format."""

from __future__ import annotations

import hashlib
import resource
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.common.serde import message_from_proto, message_to_proto
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAdam, FedAvg, FedAvgM
from flwr.supercore.task_identity import TaskIdentity

from rinr_flower.bandwidth import Ledger
from rinr_flower.codecs import codecs
from rinr_flower.errors import ConfigError, DataError
from rinr_flower.frames import Clip, Frame, write_jpeg
from rinr_flower.simulations.run_folder import RunFolder
from rinr_flower.strategies import FogNode
from rinr_flower.strategies.encoding import Encoded, encode_here
from rinr_flower.strategies.identity import DeviceIdentity, FogIdentity
from rinr_flower.strategies.protocol import Capture, captures_content, holds_digest, read_payloads

ROUNDS = 3
CODEC = {"name": "jpeg", "quality": 30}


class Killed(BaseException):
    """Stands where kill -9 would: nothing after it is carried out."""


@pytest.fixture(autouse=True)
def identity() -> None:
    """What Flower sets when it starts a ServerApp."""
    TaskIdentity.run_id, TaskIdentity.task_id, TaskIdentity.node_id = 1, 1, 1


def capture(device: str, server_round: int) -> Capture:
    seed = int(hashlib.sha256(f"{device} {server_round}".encode()).hexdigest()[:6], 16)
    images = np.random.default_rng(seed).integers(0, 255, (2, 24, 32, 3), np.uint8)
    box = np.array([[4, 4, 20, 16]], np.float32)
    clip = Clip("street", tuple(Frame(i, box, np.zeros(1, np.int64), write_jpeg(i, 80)) for i in images), ("cup",))
    return Capture(device, f"street {server_round}", clip.file_bytes(), codecs.create("jpeg").encode(clip))


class Device:
    """A device of somebody else's that follows the documented messages and remembers what came in which round."""

    def __init__(self, number: int, key: Ed25519PrivateKey | None = None, fog: Ed25519PrivateKey | None = None) -> None:
        self.name, self.number = f"device-{number}", number
        self.received: dict[int, list[bytes]] = {}
        self.known = False
        self.unreadable: set[bytes] = set()
        self.identity = None
        if key is not None and fog is not None:
            self.identity = DeviceIdentity(self.name, key, fog.public_key())
        self.app = ClientApp()
        self.app.query()(self._query)
        self.app.train()(self._train)
        self.app.evaluate()(self._evaluate)

    def _query(self, message: Message, context: Context) -> Message:
        number = self._round(message)
        before = {data for n, batch in self.received.items() if n < number for data in batch} - self.unreadable
        holds = holds_digest({hashlib.sha256(data).hexdigest() for data in before}) if self.known else ""
        return self._reply(message, captures_content(self.name, [capture(self.name, number)], holds))

    def _train(self, message: Message, context: Context) -> Message:
        self.known = True
        self.received[self._round(message)] = read_payloads(message.content)
        content = RecordDict({"metrics": MetricRecord({"num-examples": 1})})
        if message.content.config_records["config"].get("return-model", True):
            start = message.content.array_records["arrays"]["w"].numpy()
            content["arrays"] = ArrayRecord({"w": Array(start * np.float32(0.5) + np.float32(self.number))})
        return self._reply(message, content)

    def _evaluate(self, message: Message, context: Context) -> Message:
        return self._reply(message, RecordDict({"metrics": MetricRecord({"num-examples": 1, "map50": 0.5})}))

    def _reply(self, message: Message, content: RecordDict) -> Message:
        if self.identity is not None:
            self.identity.open(message.content, kind=message.metadata.message_type, node=message.metadata.dst_node_id)
            content = self.identity.seal(content, question=message.content)
        return Message(content, reply_to=message)

    @staticmethod
    def _round(message: Message) -> int:
        return int(message.content.config_records["config"]["server-round"])


class Wire(Grid):
    """Carries messages to devices and back through their serialised form, and weighs them."""

    def __init__(self, devices: Sequence[Device], first_node: int = 10) -> None:
        self.devices = {first_node + device.number: device for device in devices}
        self.die: Callable[[int, str, str], bool] = lambda server_round, kind, when: False
        self.silent: set[tuple[int, int, str]] = set()  # (round, device's number, kind) whose answer is lost
        self.change: Callable[[Message], Message] = lambda reply: reply
        self.bytes = 0
        self._count = 0

    def get_node_ids(self) -> Iterable[int]:
        return list(self.devices)

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
            self.bytes += message_to_proto(message).ByteSize()
            self._count += 1
            message.metadata.__dict__["_message_id"] = f"message {self._count}"
            node, kind = message.metadata.dst_node_id, message.metadata.message_type
            number = int(message.content.config_records["config"]["server-round"])
            arrived = message_from_proto(message_to_proto(message))
            reply = self.change(self.devices[node].app(arrived, Context(1, node, {}, RecordDict(), {})))
            if (number, self.devices[node].number, kind) not in self.silent:
                self.bytes += message_to_proto(reply).ByteSize()
                replies.append(message_from_proto(message_to_proto(reply)))
        if replies and self.die(number, kind, "answered"):
            raise Killed
        return replies


class Counted:
    """The real encoder, and how many clips it has encoded; can be killed after some of them."""

    def __init__(self) -> None:
        self.clips = 0
        self.die_after = 10**9

    def __call__(self, codec: object, clips: Sequence[Clip], **options: object) -> Iterator[Encoded]:
        for found in encode_here(codec, clips, **options):  # type: ignore[arg-type]
            if self.clips == self.die_after:
                self.die_after = 10**9
                raise Killed
            self.clips += 1
            yield found


def fog(folder: RunFolder, **options: object) -> FogNode:
    return FogNode(CODEC, ledger=Ledger.open(folder.ledger), keep=folder, **options)


def go(strategy: FogNode, wire: Wire, rounds: int = ROUNDS) -> np.ndarray:
    start = ArrayRecord({"w": Array(np.ones(3, np.float32))})
    result = strategy.start(wire, start, rounds, timeout=0.5)
    return result.arrays["w"].numpy() if result.arrays else start["w"].numpy()


def outcome(strategy: FogNode) -> object:
    """What must not depend on whether the run was broken off."""
    kept = {kind: sorted(p.name for p in (strategy.keep.path / kind).iterdir()) for kind in ("captures", "payloads")}
    rows = sorted(
        (e.round, e.source, e.destination, e.kind, e.payload_bytes, e.content)
        for e in strategy.ledger
        if e.kind not in ("repeated", "control")
    )
    shared = [(s.round, s.device, s.clip, s.upload.name, s.payload.name) for s in strategy.shared]
    return kept, rows, shared, [(m.round, m.device) for m in strategy.trained], strategy.failures


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> object:
    TaskIdentity.run_id, TaskIdentity.task_id, TaskIdentity.node_id = 1, 1, 1
    strategy = fog(RunFolder.create(str(tmp_path_factory.mktemp("undisturbed") / "run")))
    go(strategy, Wire([Device(i) for i in range(3)]))
    assert strategy.failures == []
    return outcome(strategy)


@pytest.mark.parametrize("number", range(1, ROUNDS + 1))
@pytest.mark.parametrize("kind", ["query", "train", "evaluate"])
def test_a_killed_run_goes_on_and_ends_as_if_nothing_had_happened(
    tmp_path: Path, undisturbed: object, number: int, kind: str
) -> None:
    path = tmp_path / "run"
    devices, encoder = [Device(i) for i in range(3)], Counted()
    wire = Wire(devices)
    wire.die = lambda server_round, asked, when: (server_round, asked) == (number, kind)
    with pytest.raises(Killed):
        go(fog(RunFolder.create(str(path)), encoder=encoder), wire)
    again = Wire(devices, first_node=70)  # nodes have other ids now
    strategy = fog(RunFolder(path), encoder=encoder)
    go(strategy, again)
    assert outcome(strategy) == undisturbed
    assert encoder.clips == 3 * ROUNDS, "nothing is encoded twice"
    assert Ledger.read(path / "ledger.csv").entries == strategy.ledger.entries
    for device in devices:
        batches = [len(batch) for batch in device.received.values()]
        assert batches == [2] * ROUNDS, "every payload once"


def test_what_was_encoded_before_the_kill_is_not_encoded_again(tmp_path: Path, undisturbed: object) -> None:
    path = tmp_path / "run"
    devices, encoder = [Device(i) for i in range(3)], Counted()
    encoder.die_after = 4  # in the middle of round 2
    with pytest.raises(Killed):
        go(fog(RunFolder.create(str(path)), encoder=encoder), Wire(devices))
    index = path / "encoded.jsonl"
    index.write_bytes(index.read_bytes() + b'{"key": "torn')
    strategy = fog(RunFolder(path), encoder=encoder)
    go(strategy, Wire(devices))
    assert encoder.clips == 9
    assert outcome(strategy) == undisturbed
    assert len(RunFolder(path)._encoded) == 9


def test_bytes_that_were_sent_twice_stay_in_the_ledger(tmp_path: Path) -> None:
    path = tmp_path / "run"
    devices = [Device(i) for i in range(3)]
    wire = Wire(devices)
    wire.die = lambda server_round, asked, when: (server_round, asked) == (2, "evaluate")
    with pytest.raises(Killed):
        go(fog(RunFolder.create(str(path))), wire)
    again = Wire(devices)
    strategy = fog(RunFolder(path))
    go(strategy, again)
    sent = wire.bytes + again.bytes
    repeated = [e for e in strategy.ledger if e.kind == "repeated"]
    assert {e.round for e in repeated} == {2}
    assert {e.content.split()[0] for e in repeated} == {"upload", "payload", "control"}
    # answers to the exchange that was cut off are all that no one could enter
    assert 0.97 < strategy.ledger.message_bytes / sent < 1.0


def test_a_finished_run_is_read_again_and_nothing_is_asked(tmp_path: Path, undisturbed: object) -> None:
    folder = RunFolder.create(str(tmp_path / "run"))
    go(fog(folder), Wire([Device(i) for i in range(3)]))
    assert folder.whole_rounds() == ROUNDS
    strategy = fog(RunFolder(folder.path))
    assert strategy.recall() == ROUNDS
    assert outcome(strategy) == undisturbed


@pytest.mark.parametrize("make", [FedAvg, FedAdam, FedAvgM], ids=lambda make: make.__name__)
def test_the_inner_strategys_model_and_moments_come_back(tmp_path: Path, make: type) -> None:
    options = {"server_momentum": 0.5} if make is FedAvgM else {}
    expected = go(
        fog(RunFolder.create(str(tmp_path / "whole")), inner=make(**options)), Wire([Device(i) for i in range(2)])
    )
    devices, path = [Device(i) for i in range(2)], tmp_path / "run"
    wire = Wire(devices)
    wire.die = lambda server_round, asked, when: (server_round, asked) == (3, "query")
    with pytest.raises(Killed):
        go(fog(RunFolder.create(str(path)), inner=make(**options)), wire)
    assert np.array_equal(go(fog(RunFolder(path), inner=make(**options)), Wire(devices)), expected)
    assert len(list((path / "arrays").iterdir())) <= 3, "models of old rounds are let go"


@pytest.mark.parametrize("damage", ["altered", "arrays"])
def test_a_damaged_round_is_done_again(tmp_path: Path, undisturbed: object, damage: str) -> None:
    path = tmp_path / "run"
    devices = [Device(i) for i in range(3)]
    go(fog(RunFolder.create(str(path))), Wire(devices))
    if damage == "altered":
        broken = path / "rounds" / "002.json"
        broken.write_bytes(broken.read_bytes().replace(b"street", b"straat"))
        last = 1
    else:  # of the last round, or of the first, which it shares its arrays with
        for file in (path / "arrays").iterdir():
            file.write_bytes(file.read_bytes()[:-1])
        last = None
    strategy = fog(RunFolder(path))
    if last is None:
        assert RunFolder(path).load() is None
        return
    assert strategy.recall() == last
    assert not (path / "rounds" / "003.json").exists()
    go(strategy, Wire(devices))
    assert outcome(strategy) == undisturbed


@pytest.mark.parametrize(
    "change", [{"codec": "jpeg"}, {"seed": 3}, {"inner": FedAvg()}, {"upload": {"name": "jpeg", "quality": 9}}]
)
def test_other_settings_are_refused(tmp_path: Path, change: dict[str, object]) -> None:
    folder = RunFolder.create(str(tmp_path / "run"))
    go(fog(folder), Wire([Device(i) for i in range(2)]), rounds=1)
    options = {"codec": CODEC, **change}
    strategy = FogNode(options.pop("codec"), keep=RunFolder(folder.path), **options)
    with pytest.raises(ConfigError, match=f"begun with {next(iter(change))}"):
        strategy.recall()


def test_a_device_whose_answer_was_lost_has_the_payloads_all_the_same() -> None:
    devices = [Device(i) for i in range(3)]
    wire = Wire(devices)
    wire.silent = {(1, 2, "train")}
    strategy = FogNode(CODEC)
    go(strategy, wire)
    assert [(f.round, f.device, f.kind) for f in strategy.failures] == [(1, "device-2", "timeout")]
    assert [len(batch) for batch in devices[2].received.values()] == [2, 2, 2]


def test_a_device_that_remembers_nothing_gets_everything_once_more() -> None:
    devices = [Device(i) for i in range(3)]
    wire, strategy = Wire(devices), FogNode(CODEC)
    go(strategy, wire, rounds=2)
    devices[1].received, devices[1].known = {}, False
    go(strategy, wire, rounds=3)
    assert [len(device.received[3]) for device in devices] == [2, 6, 2]
    assert [e.round for e in strategy.ledger if e.kind == "start_model" and e.destination == "device-1"] == [1, 3]
    go(strategy, wire, rounds=4)
    assert [len(device.received[4]) for device in devices] == [2, 2, 2]


def test_a_payload_that_a_device_cannot_read_is_sent_again_once() -> None:
    devices = [Device(i) for i in range(2)]
    wire, strategy = Wire(devices), FogNode(CODEC)
    go(strategy, wire, rounds=1)
    devices[0].unreadable = set(devices[0].received[1])
    go(strategy, wire, rounds=4)
    assert [len(batch) for batch in devices[0].received.values()] == [1, 2, 1, 1]
    assert [len(batch) for batch in devices[1].received.values()] == [1, 1, 1, 1]


def test_a_name_moves_to_the_node_that_takes_its_place() -> None:
    devices = [Device(i) for i in range(2)]
    wire, strategy = Wire(devices), FogNode(CODEC)
    go(strategy, wire, rounds=1)
    wire.devices[99] = wire.devices.pop(11)
    go(strategy, wire, rounds=2)
    assert strategy.failures == []
    assert len(devices[1].received[2]) == 1


def signed() -> tuple[list[Device], FogIdentity]:
    key, keys = Ed25519PrivateKey.generate(), [Ed25519PrivateKey.generate() for _ in range(3)]
    devices = [Device(i, one, key) for i, one in enumerate(keys)]
    return devices, FogIdentity(key, {d.name: one.public_key() for d, one in zip(devices, keys, strict=True)})


def test_signed_messages_carry_a_whole_run(tmp_path: Path, undisturbed: object) -> None:
    devices, identity = signed()
    wire = Wire(devices)
    strategy = fog(RunFolder.create(str(tmp_path / "run")), identity=identity)
    go(strategy, wire)
    assert outcome(strategy) == undisturbed
    assert abs(strategy.ledger.message_bytes - wire.bytes) / wire.bytes < 0.02


@pytest.mark.parametrize("kind", ["query", "train", "evaluate"])
@pytest.mark.parametrize("how", ["unsigned", "altered", "another's key", "replayed"])
def test_forged_answers_are_refused_and_nothing_of_them_is_kept(kind: str, how: str) -> None:
    devices, identity = signed()
    wire, strategy = Wire(devices), FogNode(CODEC, identity=identity)
    earlier: dict[str, RecordDict] = {}

    def change(reply: Message) -> Message:
        number = int(reply.metadata.__dict__.get("round", 0))
        if reply.metadata.src_node_id != 10 or reply.metadata.message_type != kind:
            return reply
        del number
        if kind not in earlier:
            earlier[kind] = reply.content
            return reply
        if how == "unsigned":
            reply.content = RecordDict({k: v for k, v in reply.content.items() if k != "signature"})
        elif how == "altered":
            reply.content["more"] = MetricRecord({"x": 1.0})
        elif how == "replayed":
            reply.content = earlier[kind]
        else:
            content = RecordDict({k: v for k, v in reply.content.items() if k != "signature"})
            other = DeviceIdentity("device-0", Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate().public_key())
            reply.content = other.seal(
                content,
                question=identity.seal(
                    RecordDict(), job=strategy.keep.job, server_round=2, kind=kind, receiver="device-0"
                ),
            )
        return reply

    wire.change = change
    go(strategy, wire, rounds=2)
    assert [(f.round, f.device, f.kind) for f in strategy.failures] == [(2, "device-0", "forged")]
    shared = [(s.round, s.device) for s in strategy.shared]
    assert ((2, "device-0") in shared) == (kind != "query")
    assert ((2, "device-0") in [(m.round, m.device) for m in strategy.trained]) == (kind == "evaluate")
    assert [e.kind for e in strategy.ledger if e.kind == "refused"] == ["refused"]
    assert abs(strategy.ledger.message_bytes - wire.bytes) / wire.bytes < 0.02


def test_a_disk_that_is_full_is_named_and_what_was_kept_stays(tmp_path: Path, undisturbed: object) -> None:
    path = tmp_path / "run"
    devices = [Device(i) for i in range(3)]
    go(fog(RunFolder.create(str(path))), Wire(devices), rounds=1)
    before = {p: p.read_bytes() for p in path.rglob("*") if p.is_file()}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (600, hard))  # files cannot grow beyond this, as on a full disk
    try:
        with pytest.raises(DataError, match="free space there"):
            go(fog(RunFolder(path)), Wire(devices), rounds=2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    after = {p: p.read_bytes() for p in path.rglob("*") if p.is_file() and p.name != "ledger.csv"}
    assert {p: data for p, data in after.items() if p in before} == {
        p: data for p, data in before.items() if p.name != "ledger.csv"
    }
    strategy = fog(RunFolder(path))
    go(strategy, Wire(devices))
    assert outcome(strategy) == undisturbed


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be made"):
        RunFolder.create(str(tmp_path / "file" / "run"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"job\.json"):
        RunFolder(tmp_path / "empty")
