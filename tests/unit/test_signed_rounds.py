"""Rounds whose messages are signed: a whole run, and forged answers."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from flwr.app import Message, MetricRecord, RecordDict
from kept_runs import CODEC, Device, fog, go, outcome, wire_of

from rinr_flower.messages.identity import DeviceIdentity, FogIdentity
from rinr_flower.simulations.run_folder import RunFolder
from rinr_flower.strategies import FogNode

pytestmark = pytest.mark.usefixtures("task_identity")


def signed() -> tuple[list[Device], FogIdentity]:
    key, keys = Ed25519PrivateKey.generate(), [Ed25519PrivateKey.generate() for _ in range(3)]
    devices = [Device(i, one, key) for i, one in enumerate(keys)]
    return devices, FogIdentity(key, {d.name: one.public_key() for d, one in zip(devices, keys, strict=True)})


def test_signed_messages_carry_a_whole_run(tmp_path: Path, undisturbed: object) -> None:
    devices, identity = signed()
    wire = wire_of(devices)
    strategy = fog(RunFolder.create(str(tmp_path / "run")), identity=identity)
    go(strategy, wire)
    assert outcome(strategy) == undisturbed
    assert abs(strategy.ledger.message_bytes - wire.bytes) / wire.bytes < 0.02


@pytest.mark.parametrize("kind", ["query", "train", "evaluate"])
@pytest.mark.parametrize("how", ["unsigned", "altered", "another's key", "replayed"])
def test_forged_answers_are_refused_and_nothing_of_them_is_kept(kind: str, how: str) -> None:
    devices, identity = signed()
    wire, strategy = wire_of(devices), FogNode(CODEC, identity=identity)
    earlier: dict[str, RecordDict] = {}

    def change(reply: Message) -> Message:
        if reply.metadata.src_node_id != 10 or reply.metadata.message_type != kind:
            return reply
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

    wire.change_answered = change
    go(strategy, wire, rounds=2)
    assert [(f.round, f.device, f.kind) for f in strategy.failures] == [(2, "device-0", "forged")]
    shared = [(s.round, s.device) for s in strategy.shared]
    assert ((2, "device-0") in shared) == (kind != "query")
    assert ((2, "device-0") in [(m.round, m.device) for m in strategy.trained]) == (kind == "evaluate")
    assert [e.kind for e in strategy.ledger if e.kind == "refused"] == ["refused"]
    assert abs(strategy.ledger.message_bytes - wire.bytes) / wire.bytes < 0.02
