"""Training at the fog, or wherever fewer bytes cross: real devices hold the fog's weights, and rounds are chosen."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import pytest
from flwr.app import ArrayRecord, ConfigRecord
from small_clips import small_clip
from update_wire import UpdateWire, run, same

from rinr_flower.array_file import Arrays
from rinr_flower.bandwidth import Entry, Ledger
from rinr_flower.clients import DeviceFolder, EdgeDevice, client_app
from rinr_flower.clients.device_state import BUDGET, JobState
from rinr_flower.errors import ConfigError
from rinr_flower.frames import Clip
from rinr_flower.messages.coded_model import is_coded
from rinr_flower.messages.common_model import tensors_of
from rinr_flower.messages.protocol import read_updates
from rinr_flower.report import DeviceRecord, PayloadRecord, RunRecord, UpdateRecord
from rinr_flower.report.schemes import schemes_of
from rinr_flower.simulations.run_folder import RunFolder
from rinr_flower.strategies import EdgeOrFog, FogNode, FogTraining

pytestmark = pytest.mark.usefixtures("task_identity")

LOW_RANK = {"name": "svd", "rank": 1, "bits": 4, "vector_bits": 8}


def run_to(strategy: FogNode, wire: UpdateWire, last: int) -> None:
    """Up to a round, whatever has been done before."""
    strategy.recall()
    run(strategy, wire, rounds=last - strategy.memory.rounds)


def cameras(path: Path, sides: tuple[int, ...], count: int = 2, extra: Sequence[Clip] = (), **of: str) -> UpdateWire:
    """Real devices with YOLOv8; ``sides`` are the pictures' sides in pixels, round by round.

    The first device captures the clips ``extra`` in round 1, too. ``of`` may give another class name.
    """
    apps, held = [], []
    for number in range(count):
        captures = [[small_clip(f"clip {i}", 10 * number + i, (side, side), **of)] for i, side in enumerate(sides)]
        captures[0] += extra if number == 0 else ()
        rest = small_clip("rest", number, (32, 32))
        folder = DeviceFolder.write(path / str(number), f"device-{number}", captures, [rest])
        apps.append(client_app(lambda context, folder=folder: EdgeDevice(folder)))
        held.append(partial(kept, folder.path / "state"))
    return UpdateWire(apps, held)


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
    assert len(strategy.policy.common.chain.updates) == 2
    for node in wire.apps:
        assert same(wire.common(node), dict(strategy.policy.common.chain.state))
        assert same(wire.model(node), dict(strategy.policy.common.chain.state))
    assert same(tensors_of(result.arrays), dict(strategy.policy.common.chain.state))
    kinds = strategy.ledger.by_kind()
    assert kinds["update"][0] == 2 * sum(map(len, strategy.policy.common.chain.updates))
    assert strategy.start_model is not None
    assert strategy.start_model.coded is not None
    assert kinds["start_model"][0] == 2 * len(strategy.start_model.coded)
    assert {"payload", "model"}.isdisjoint(kinds)
    assert kinds["update"][0] < kinds["start_model"][0] / 20
    last = strategy.trained[-1].metrics
    assert (last["num-examples"], last["steps"]) == (8, 1)


def test_classes_of_a_model_in_common_must_be_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"hold one model, whose classes train_config must name: .*'class-names'"):
        FogTraining().start(UpdateWire({}, {}), ArrayRecord(), 1, train_config=ConfigRecord({"steps": 1}))


@pytest.mark.parametrize(
    "make", [partial(FogTraining, LOW_RANK), partial(EdgeOrFog, {"name": "jpeg", "quality": 95}, LOW_RANK)]
)
def test_a_clip_of_a_class_that_is_not_named_costs_that_clip_alone(make: type[FogNode], tmp_path: Path) -> None:
    dog = small_clip("stray", 99, (320, 320), class_name="dog")
    wire = cameras(tmp_path, (320, 320), extra=[dog])
    folder = RunFolder.create(str(tmp_path / "run"))
    run(make(keep=folder, ledger=Ledger.open(folder.ledger)), wire)
    folder = RunFolder(folder.path)
    strategy = make(keep=folder, ledger=Ledger.open(folder.ledger))
    run_to(strategy, wire, 2)
    assert [(f.round, f.device, f.kind) for f in strategy.failures] == [(1, "device-0", "malformed")], "once"
    assert strategy.failures[0].reason == (
        "clip 'stray' of round 1 is not trained on: it has boxes of class 'dog', and the detector knows 1 classes: "
        "cup; name it in train_config too"
    )
    assert len(strategy.policy.common.chain.updates) == 2
    assert strategy.trained[-1].metrics["num-examples"] == 8, "all frames but those of the clip"
    for node in wire.apps:
        assert same(wire.common(node), dict(strategy.policy.common.chain.state))


def test_a_fog_with_nothing_but_clips_of_other_classes_trains_nothing(tmp_path: Path) -> None:
    wire = cameras(tmp_path, (48,), class_name="dog")
    strategy = FogTraining(LOW_RANK)
    run(strategy, wire)
    assert [(f.device, f.kind) for f in strategy.failures] == [("device-0", "malformed"), ("device-1", "malformed")]
    assert strategy.policy.common.chain.updates == []


def test_missed_updates_arrive_later_and_are_applied_once(tmp_path: Path) -> None:
    wire = cameras(tmp_path, (48, 48))
    strategy = FogTraining(LOW_RANK)
    wire.deaf, wire.mute = {(10, "train")}, {(11, "train")}
    run(strategy, wire)
    assert [failure.kind for failure in strategy.failures] == ["timeout", "timeout", "skipped"]
    wire.deaf, wire.mute = set(), set()
    run(strategy, wire)
    for node in wire.apps:
        message = wire.trained(node)[-1]
        assert message.content.array_records["arrays"], "neither node has confirmed the first model"
        assert len(read_updates(message.content)[0]) == 2
        assert same(wire.common(node), dict(strategy.policy.common.chain.state))
    assert len(strategy.policy.common.chain.updates) == 2


def test_a_device_that_lost_its_state_says_so_and_gets_the_present_model(tmp_path: Path) -> None:
    wire = cameras(tmp_path, (48, 48))
    strategy = FogTraining(LOW_RANK)
    run(strategy, wire)
    shutil.rmtree(tmp_path / "0" / "state")
    run(strategy, wire)
    assert strategy.failures == []
    assert is_coded(wire.trained(10)[-1].content.array_records["arrays"])
    assert len(read_updates(wire.trained(10)[-1].content)[0]) == 2
    assert not wire.trained(11)[-1].content.array_records["arrays"]
    assert same(wire.common(10), dict(strategy.policy.common.chain.state))


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
    beta = len(strategy.policy.common.chain.updates[0])
    first = [item for item in strategy.shared if item.round == 1]
    assert strategy.decisions[0].fog_bytes == sum(i.upload.size for i in first) + 3 * beta
    sent = {(e.round, e.kind) for e in strategy.ledger if e.kind in ("payload", "update")}
    assert sent == {(1, "update"), (2, "payload"), (3, "update")}
    assert len([e for e in strategy.ledger if e.kind == "payload"]) == 6, "clips of round 1 are in the update already"
    assert len(strategy.policy.common.chain.updates) == 2
    for node in wire.apps:
        assert same(wire.common(node), dict(strategy.policy.common.chain.state))


def test_devices_at_the_edge_keep_the_model_in_common_beside_their_own(tmp_path: Path) -> None:
    wire = cameras(tmp_path, (32,))
    strategy = EdgeOrFog("jpeg", "full")
    run(strategy, wire)
    assert strategy.decisions[0].choice == "edge"
    assert len(strategy.policy.common.update_bytes) == 1, "what was measured and not sent"
    for node in wire.apps:
        own = wire.model(node)
        assert same(wire.common(node), tensors_of(strategy.start_model.arrays))
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
        assert same(wire.common(node), dict(second.policy.common.chain.state))
