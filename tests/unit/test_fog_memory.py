"""What a fog node takes its devices to hold: answers that were lost, devices that forget, names that move."""

from __future__ import annotations

import pytest
from kept_runs import CODEC, Device, go, wire_of

from rinr_flower.strategies import FogNode

pytestmark = pytest.mark.usefixtures("task_identity")


def test_a_device_whose_answer_was_lost_has_the_payloads_all_the_same() -> None:
    devices = [Device(i) for i in range(3)]
    wire = wire_of(devices)
    wire.mute = {(12, "train")}
    strategy = FogNode(CODEC)
    go(strategy, wire, rounds=1)
    wire.mute = set()
    go(strategy, wire)
    assert [(f.round, f.device, f.kind) for f in strategy.failures] == [(1, "device-2", "timeout")]
    assert [len(batch) for batch in devices[2].received.values()] == [2, 2, 2]


def test_a_device_that_remembers_nothing_gets_everything_once_more() -> None:
    devices = [Device(i) for i in range(3)]
    wire, strategy = wire_of(devices), FogNode(CODEC)
    go(strategy, wire, rounds=2)
    devices[1].received, devices[1].known = {}, False
    go(strategy, wire, rounds=3)
    assert [len(device.received[3]) for device in devices] == [2, 6, 2]
    assert [e.round for e in strategy.ledger if e.kind == "start_model" and e.destination == "device-1"] == [1, 3]
    go(strategy, wire, rounds=4)
    assert [len(device.received[4]) for device in devices] == [2, 2, 2]


def test_a_payload_that_a_device_cannot_read_is_sent_again_once() -> None:
    devices = [Device(i) for i in range(2)]
    wire, strategy = wire_of(devices), FogNode(CODEC)
    go(strategy, wire, rounds=1)
    devices[0].unreadable = set(devices[0].received[1])
    go(strategy, wire, rounds=4)
    assert [len(batch) for batch in devices[0].received.values()] == [1, 2, 1, 1]
    assert [len(batch) for batch in devices[1].received.values()] == [1, 1, 1, 1]


def test_a_name_moves_to_the_node_that_takes_its_place() -> None:
    devices = [Device(i) for i in range(2)]
    wire, strategy = wire_of(devices), FogNode(CODEC)
    go(strategy, wire, rounds=1)
    wire.apps[99] = wire.apps.pop(11)
    go(strategy, wire, rounds=2)
    assert strategy.failures == []
    assert len(devices[1].received[2]) == 1
