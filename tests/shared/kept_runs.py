"""Runs of a fog node that keeps what it needs to go on, with devices that remember what came in which round."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from in_process_grid import round_of
from small_clips import small_clip
from wire import Wire, app_of

from rinr_flower.bandwidth import Ledger
from rinr_flower.codecs import codecs
from rinr_flower.messages.identity import DeviceIdentity
from rinr_flower.messages.protocol import Capture, captures_content, holds_digest, read_payloads
from rinr_flower.simulations.run_folder import RunFolder
from rinr_flower.strategies import FogNode

ROUNDS = 3
CODEC = {"name": "jpeg", "quality": 30}


def capture(device: str, server_round: int) -> Capture:
    seed = int(hashlib.sha256(f"{device} {server_round}".encode()).hexdigest()[:6], 16)
    clip = small_clip("street", seed)
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
        self.app = app_of(self._query, self._train, self._evaluate)

    def _query(self, message: Message, context: Context) -> Message:
        number = round_of(message)
        before = {data for n, batch in self.received.items() if n < number for data in batch} - self.unreadable
        holds = holds_digest({hashlib.sha256(data).hexdigest() for data in before}) if self.known else ""
        return self._reply(message, captures_content(self.name, [capture(self.name, number)], holds))

    def _train(self, message: Message, context: Context) -> Message:
        self.known = True
        self.received[round_of(message)] = read_payloads(message.content)
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


def wire_of(devices: Sequence[Device], first_node: int = 10) -> Wire:
    return Wire({first_node + device.number: device.app for device in devices})


def fog(folder: RunFolder, **options: object) -> FogNode:
    return FogNode(CODEC, ledger=Ledger.open(folder.ledger), keep=folder, **options)


def go(strategy: FogNode, wire: Wire, rounds: int = ROUNDS) -> np.ndarray:
    start = ArrayRecord({"w": Array(np.ones(3, np.float32))})
    result = strategy.start(wire, start, rounds, timeout=0.5)
    return result.arrays["w"].numpy() if result.arrays else start["w"].numpy()


def outcome(strategy: FogNode) -> object:
    """Return the parts of a run that an interruption must not change."""
    kept = {kind: sorted(p.name for p in (strategy.keep.path / kind).iterdir()) for kind in ("captures", "payloads")}
    rows = sorted(
        (e.round, e.source, e.destination, e.kind, e.payload_bytes, e.content)
        for e in strategy.ledger
        if e.kind not in ("repeated", "control")
    )
    shared = [(s.round, s.device, s.clip, s.upload.name, s.payload.name) for s in strategy.shared]
    return kept, rows, shared, [(m.round, m.device) for m in strategy.trained], strategy.failures
