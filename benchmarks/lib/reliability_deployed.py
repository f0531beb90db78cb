"""The deployment example under load on one machine: bytes at the socket, killed devices, a killed SuperLink.

    python benchmarks/reliability.py --part wire --part nodes

Starts what the unit files of ``examples/deployment`` start, on the loopback interface: TLS, node authentication,
process isolation, a database, signed messages; every device a SuperNode of its own. Two parts:

- **wire**: three devices, two rounds, nothing fails. A forwarder between each device and the SuperLink counts bytes;
  they stand beside the ledger's. The bytes of idle devices (polling, heartbeats) are measured before the run.
- **nodes**: in round 2, when the fog has encoded, devices are killed with -9 and started again as systemd would; in
  round 4 the SuperLink is killed with -9 and started again. Checked: the run ends, the report names each killed device,
  nothing of the others is missing, and those that come back end up with every frame that the others have.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from camera_folders import FRAMES, write_camera_folder
from federation import Federation
from tiny_scenario import TINY

from rinr_flower.report import RunRecord
from rinr_flower.simulations.fleet import shares_of
from rinr_flower.simulations.scenario import Scenario, load_scenario

IDLE_S = 30.0
ASK_S = 20.0  # between two looks at whether a run has ended early
FRAMES_PER_CLIP = 4
KILL_IN_ROUND, RESTART_IN_ROUND, ROUNDS = 2, 4, 5


def measure_wire(work: Path, devices: int = 3, rounds: int = 2) -> dict[str, Any]:
    """Bytes at the devices' sockets in a run without faults, beside the ledger's."""
    scenario = prepare(work, devices, rounds)
    with Federation(work / "federation", frames_of(work), frames_per_clip=FRAMES_PER_CLIP, counted=True) as federation:
        before = {name: wire.read() for name, wire in federation.wires.items()}
        time.sleep(IDLE_S)
        idle = [wire.read().since(before[name]) for name, wire in federation.wires.items()]
        before = {name: wire.read() for name, wire in federation.wires.items()}
        start = time.monotonic()
        federation.await_end(federation.run(options(work)), 900)
        seconds = time.monotonic() - start
        carried = [wire.read().since(before[name]) for name, wire in federation.wires.items()]
    record = RunRecord.load(Path(scenario.out))
    up = [e for e in record.ledger if e.destination == "fog"]
    down = [e for e in record.ledger if e.source == "fog"]
    result: dict[str, Any] = {"devices": devices, "rounds": rounds, "seconds": round(seconds, 1)}
    for way, entries in (("up", up), ("down", down)):
        wire, quiet = sum(getattr(t, way) for t in carried), sum(getattr(t, way) for t in idle)
        messages = sum(e.message_bytes for e in entries)
        polling = round(quiet / IDLE_S * seconds)
        result[way] = {
            "socket_bytes": wire,
            "ledger_message_bytes": messages,
            "ledger_payload_bytes": sum(e.payload_bytes for e in entries),
            "idle_bytes_per_device_and_s": round(quiet / IDLE_S / devices, 1),
            "idle_bytes_in_that_time": polling,
            "transport_adds": round((wire - polling) / messages - 1, 4),
        }
    result["connections"] = sum(t.connections for t in carried)
    result["failures"] = [asdict(f) for f in record.failures]
    return result


def measure_faults(work: Path, devices: int, killed: int) -> dict[str, Any]:
    """A run in which devices and the SuperLink are killed, and what its report says."""
    scenario = prepare(work, devices, ROUNDS)
    out = Path(scenario.out)
    victims = [f"camera-{number}" for number in range(1, killed + 1)]
    with Federation(work / "federation", frames_of(work), frames_per_clip=FRAMES_PER_CLIP) as federation:
        start = time.monotonic()
        run = federation.run(options(work))
        encoded = devices * KILL_IN_ROUND
        _await(lambda: len(list(out.glob("payloads/*.rinr"))) >= encoded, 900, f"{encoded} payloads", federation, run)
        for name in victims:
            federation.services[name].kill()
        killed_at = time.monotonic() - start
        _await(lambda: finished(out) >= RESTART_IN_ROUND - 1, 900, "the round before the restart", federation, run)
        federation.services["superlink"].kill()
        restarted_at = time.monotonic() - start
        federation.await_superlink()
        federation.await_end(run, 1800)
        seconds = time.monotonic() - start
        starts = {name: service.starts for name, service in federation.services.items() if service.starts > 1}
    record = RunRecord.load(out)
    return {
        "devices": devices,
        "killed": victims,
        "rounds": ROUNDS,
        "seconds": round(seconds, 1),
        "killed_at_s": round(killed_at, 1),
        "superlink_killed_at_s": round(restarted_at, 1),
        "processes_started_again": starts,
        "failures": [asdict(f) for f in record.failures],
        **verdict(record, victims, [f"camera-{number}" for number in range(1, devices + 1)]),
    }


def verdict(record: RunRecord, victims: Sequence[str], devices: Sequence[str]) -> dict[str, bool]:
    """Check the run's record: True for each property that holds."""
    named = {f.device for f in record.failures if f.round == KILL_IN_ROUND}
    shared = Counter((p.device, p.round) for p in record.payloads)
    survivors = [name for name in devices if name not in victims]
    evaluated = {(a.round, a.device) for a in record.accuracy}
    frames = {name: sum(p.frames for p in record.payloads if p.device == name) for name in devices}
    trained = {a.device: a.trained_frames for a in record.accuracy if a.round == ROUNDS}
    return {
        "report_names_each_killed_device": set(victims) <= named,
        "survivors_are_complete": all(
            shared[name, number] == 1 and (number, name) in evaluated
            for name in survivors
            for number in range(1, ROUNDS + 1)
        ),
        "all_are_back_in_the_last_round": set(trained) == set(devices),
        "returning_devices_have_caught_up": all(trained.get(name) == sum(frames.values()) for name in victims),
    }


def prepare(work: Path, devices: int, rounds: int) -> Scenario:
    """Camera folders and the fog's scenario file under ``work``, which must be new."""
    size = FRAMES_PER_CLIP * (rounds + 1)
    scenario = load_scenario(
        "default",
        {
            **TINY,
            "num_clients": devices,
            "rounds": rounds,
            "data": f"sample:sequences={devices},frames={size},width=128,height=96",
            "frames_per_clip": FRAMES_PER_CLIP,
            "holdout": FRAMES_PER_CLIP,
            "timeout_s": 300,
            "out": str(work / "run"),
        },
    )
    shares = shares_of(scenario)
    for number, share in enumerate(shares, start=1):
        write_camera_folder(work / "cameras" / f"camera-{number}", share)
    named = replace(scenario, classes=list(shares[0].held_back[0].class_names))
    named.save(work / "fog.yaml")
    return named


def frames_of(work: Path) -> dict[str, Path]:
    """Every device's folder of frames, by its name."""
    return {folder.name: folder / FRAMES for folder in sorted((work / "cameras").iterdir())}


def options(work: Path) -> dict[str, str]:
    """The run's configuration."""
    return {"scenario": str(work / "fog.yaml"), "out": str(work / "run")}


def finished(out: Path) -> int:
    """The last round that has ended."""
    return max((int(path.stem) for path in out.glob("rounds/*.json")), default=0)


def _await(done: Callable[[], bool], seconds: float, what: str, federation: Federation, run: str) -> None:
    """Return when ``done``; RuntimeError with the run's log if it ends before or takes longer."""
    end = time.monotonic() + seconds
    asked = time.monotonic()
    while not done():
        if time.monotonic() > asked + ASK_S:
            asked = time.monotonic()
            if federation.status(run).startswith("finished") or asked > end:
                raise RuntimeError(f"{what} did not come:\n{federation.flwr('log', run, 'fog', '--show')}")
        time.sleep(0.2)
