"""Faulty devices, load, growth over many rounds, and what durability and signatures cost.

    python benchmarks/reliability.py --part faults --part load --part growth --part overhead

Fog node, ClientApp and devices are the real ones. Except for ``load``, which runs ``flower-simulation`` on Ray, their
messages pass through Flower's wire format within this process, so that every byte can be weighed.

- **faults**: in every round each of six faults strikes 30 % of the devices: the work raises, the answer is lost, is
  garbage, has other keys than the others', is signed in another device's name, or is that of the round before.
  Messages are signed. Checked: the run ends, every fault is a row of the right kind, nothing of a spoilt answer is
  shared, after one round without faults
  every device has every payload of the others, and the ledger has every byte of the wire.
- **load**: 200 devices of 16 frames in one round: peak memory, seconds, and how steadily clips were encoded.
- **growth**: 24 rounds in a row: memory and open files after each.
- **overhead**: seconds in signatures, checksums and durable writes, on both ends, as a share of the rounds.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from typing import Any

import psutil
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid
from in_process_grid import App, InProcessGrid, round_of
from tiny_scenario import JPEG, TINY, options_of

from rinr_flower.bitstream.container import Payload
from rinr_flower.clients import EdgeDevice, Training, client_app
from rinr_flower.clients.device_folder import DeviceFolder
from rinr_flower.clients.device_state import BUDGET, JobState
from rinr_flower.messages.identity import DeviceIdentity, FogIdentity
from rinr_flower.simulations.aggregation import aggregation
from rinr_flower.simulations.fleet import equip, shares_of
from rinr_flower.simulations.run_folder import RunFolder
from rinr_flower.simulations.scenario import load_scenario
from rinr_flower.simulations.task_identity import take_server_identity
from rinr_flower.strategies import FogNode

KINDS = {
    "raise": "error",
    "time-out": "timeout",
    "garbage": "malformed",
    "odd": "malformed",
    "wrong sender": "forged",
    "replay": "forged",
}
SHARE = 0.3
TIMEOUT_S = 1.0  # answers in this process come at once, or never


@dataclass
class Faults:
    """A plan of faults by round and device, drawn with a seed, and a list of those that have struck."""

    names: list[str]
    rounds: int
    seed: int
    struck: list[tuple[int, str, str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        draw = random.Random(self.seed)
        self._plan: dict[tuple[int, str, str], str] = {}
        for number in range(1, self.rounds + 1):
            for fault in KINDS:
                for name in draw.sample(self.names, round(SHARE * len(self.names))):
                    self._plan.setdefault((number, name, draw.choice(("query", "train", "evaluate"))), fault)

    def of(self, number: int, name: str, kind: str) -> str | None:
        return self._plan.get((number, name, kind))


class FaultyDevice:
    """The real ClientApp of a device whose answers are spoilt now and then."""

    def __init__(self, app: ClientApp, identity: DeviceIdentity, thief: DeviceIdentity, faults: Faults) -> None:
        self.app, self.identity, self.thief, self.faults = app, identity, thief, faults
        self._before: dict[str, RecordDict] = {}

    def __call__(self, message: Message, context: Context) -> Message | None:
        number, kind = round_of(message), message.metadata.message_type
        fault = self.faults.of(number, self.identity.name, kind)
        if fault == "replay" and kind not in self._before:
            fault = None
        if fault is not None:
            self.faults.struck.append((number, self.identity.name, kind, fault))
        if fault == "raise":
            raise RuntimeError("the lens cap is on")
        reply = self.app(message, context)
        true, earlier = reply.content, self._before.get(kind)
        self._before[kind] = true
        if fault == "time-out":
            return None
        if fault == "garbage":
            captures = ConfigRecord({"device": self.identity.name, "clips": ["x"], "payloads": [b"garbage", b""]})
            garbage = RecordDict({"captures": captures, "metrics": MetricRecord({"num-examples": -1})})
            reply.content = self.identity.seal(garbage, question=message.content)
        elif fault == "odd":
            reply.content = self.identity.seal(_odd(true), question=message.content)
        elif fault == "wrong sender":
            content = RecordDict({name: record for name, record in true.items() if name != "signature"})
            reply.content = self.thief.seal(content, question=message.content)
        elif fault == "replay":
            assert earlier is not None
            reply.content = earlier
        return reply


def _odd(content: RecordDict) -> RecordDict:
    """The answer with a metric more than other devices', or with a clip's name more than there are clips."""
    changed = {name: record for name, record in content.items() if name != "signature"}
    if "metrics" in changed:
        changed["metrics"] = MetricRecord({**changed["metrics"], "extra": [1.0, 2.0]})
    else:
        changed["captures"] = ConfigRecord({**changed["captures"], "clips": ["another"] * 3})
    return RecordDict(changed)


@dataclass
class Fleet:
    """Real devices in this process, with keys, and a fog node that keeps everything in a run's folder."""

    folder: RunFolder
    devices: list[DeviceFolder]
    identities: list[DeviceIdentity]
    thieves: list[DeviceIdentity]
    strategy: FogNode
    config: ConfigRecord

    @classmethod
    def make(cls, work: Path, devices: int, rounds: int, **changes: Any) -> Fleet:
        """``changes`` are scenario keys."""
        take_server_identity()
        frames = 2 * rounds + 2
        scenario = load_scenario(
            "default",
            {
                **TINY,
                "num_clients": devices,
                "rounds": rounds,
                "codec": JPEG,
                "data": f"sample:sequences={devices},frames={frames},width=128,height=96",
                "out": str(work / "run"),
                **changes,
            },
        )
        folder = RunFolder.create(scenario.out)
        folders = equip(shares_of(scenario), folder.devices)
        fog, keys = Ed25519PrivateKey.generate(), [Ed25519PrivateKey.generate() for _ in folders]
        names = [device.name for device in folders]
        classes = Payload.from_bytes(folders[0].held_back()[0].data).class_names
        training = Training(
            class_names=classes,
            detector=scenario.detector,
            image_size=scenario.image_size,
            steps=scenario.steps,
            batch=scenario.batch,
            learning_rate=scenario.learning_rate,
        )
        strategy = FogNode(
            scenario.codec,
            inner=aggregation(scenario.aggregation),
            keep=folder,
            identity=FogIdentity(fog, {name: key.public_key() for name, key in zip(names, keys, strict=True)}),
        )
        return cls(
            folder,
            folders,
            [DeviceIdentity(name, key, fog.public_key()) for name, key in zip(names, keys, strict=True)],
            [DeviceIdentity(names[i - 1], key, fog.public_key()) for i, key in enumerate(keys)],
            strategy,
            ConfigRecord(training.to_config()),
        )

    def apps(self, faults: Faults | None = None) -> dict[int, App]:
        made: dict[int, App] = {}
        for number, (folder, own, thief) in enumerate(zip(self.devices, self.identities, self.thieves, strict=True)):
            device = EdgeDevice(folder, identity=own)
            app = client_app(lambda context, device=device: device, threads=1)
            made[100 + number] = app if faults is None else FaultyDevice(app, own, thief, faults)
        return made

    def go(self, grid: Grid, rounds: int, after: Callable[[int], None] = lambda number: None) -> None:
        """All rounds up to ``rounds``; ``after`` is called after each."""
        start = ArrayRecord()

        def evaluate(number: int, arrays: ArrayRecord) -> None:
            after(number)

        self.strategy.start(grid, start, rounds, TIMEOUT_S, self.config, self.config, evaluate)


def measure_faults(
    work: Path, devices: int = 10, rounds: int = 6, seed: int = 0, inner: str = "none"
) -> dict[str, Any]:
    """``rounds`` rounds with faults and one without; ``inner`` is the strategy that averages models."""
    fleet = Fleet.make(work, devices, rounds + 1, aggregation=inner)
    names = [device.name for device in fleet.devices]
    faults = Faults(names, rounds, seed)
    grid = InProcessGrid(fleet.apps(faults))
    fleet.go(grid, rounds + 1)
    strategy = fleet.strategy
    expected = Counter((number, KINDS[fault]) for number, _, _, fault in faults.struck)
    found = Counter((failure.round, failure.kind) for failure in strategy.failures)
    spoilt = {(number, name) for number, name, kind, _ in faults.struck if kind == "query"}
    lacking = 0
    for device in fleet.devices:
        held = JobState(device.path / "state" / fleet.folder.job, BUDGET).before(10**6, "query")
        wanted = {item.payload.name for item in strategy.shared if item.device != device.name}
        lacking += len(wanted - set([] if held is None else held.names))
    return {
        "inner": inner,
        "devices": devices,
        "rounds_with_faults": rounds,
        "seed": seed,
        "faults": dict(Counter(fault for *_, fault in faults.struck)),
        "rows": dict(Counter(failure.kind for failure in strategy.failures)),
        "rounds_done": strategy.memory.rounds,
        "every_fault_is_a_row": expected == found,
        "spoilt_captures_shared": sum((item.round, item.device) in spoilt for item in strategy.shared),
        "payloads_shared": len(strategy.shared),
        "payloads_lacking_at_the_end": lacking,
        "bytes_on_the_wire": grid.bytes,
        "bytes_in_the_ledger": strategy.ledger.message_bytes,
        "unaccounted_share": abs(grid.bytes - strategy.ledger.message_bytes) / grid.bytes,
    }


def measure_growth(work: Path, devices: int = 3, rounds: int = 24) -> dict[str, Any]:
    """Memory and open files after every round; the first quarter warms caches up."""
    fleet, process = Fleet.make(work, devices, rounds), psutil.Process()
    rows: list[dict[str, float]] = []

    def after(number: int) -> None:
        rows.append(
            {"round": number, "rss_mib": process.memory_info().rss / 2**20, "open_files": float(process.num_fds())}
        )

    fleet.go(InProcessGrid(fleet.apps()), rounds, after)
    settled = rows[rounds // 4 :]
    return {
        "devices": devices,
        "rounds": rounds,
        "rss_growth_mib": settled[-1]["rss_mib"] - settled[0]["rss_mib"],
        "open_files_growth": settled[-1]["open_files"] - settled[0]["open_files"],
        "after_each_round": rows,
    }


def measure_overhead(work: Path, devices: int = 4, rounds: int = 2, steps: int = 40) -> dict[str, Any]:
    """Seconds in what makes a run durable and its messages believable, beside the seconds of the rounds."""
    fleet = Fleet.make(work, devices, rounds, steps=steps, image_size=160, codec="scene")
    spent: Counter[str] = Counter()

    def timed(owner: Any, name: str, what: str) -> None:
        function = getattr(owner, name)

        @wraps(function)
        def measured(*args: Any, **kwargs: Any) -> Any:
            start = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                spent[what] += time.perf_counter() - start

        setattr(owner, name, measured)

    for end in (fleet.strategy.exchange.identity, *fleet.identities):
        timed(end, "seal", "signatures")
        timed(end, "open", "signatures")
    for name in ("put", "note_encoded", "save_round"):
        timed(fleet.folder, name, "fog's files")
    timed(fleet.strategy.ledger, "flush", "ledger")
    finish = JobState.finish
    timed(JobState, "finish", "devices' files")
    try:
        start = time.perf_counter()
        fleet.go(InProcessGrid(fleet.apps()), rounds)
        total = time.perf_counter() - start
    finally:
        JobState.finish = finish  # type: ignore[method-assign]
    return {
        "devices": devices,
        "rounds": rounds,
        "steps": steps,
        "seconds": total,
        "seconds_in": dict(spent),
        "share": sum(spent.values()) / total,
    }


def measure_load(work: Path, devices: int = 200, frames: int = 16, encoders: int = 2) -> dict[str, Any]:
    """The command on Ray: one round, memory of all its processes, and clips encoded by time."""
    out = work / "run"
    scenario = {
        **TINY,
        "num_clients": devices,
        "rounds": 1,
        "data": f"sample:sequences={devices},frames={frames + 2},width=160,height=96",
        "frames_per_clip": frames,
        "encoders": encoders,
    }
    command = [str(Path(sys.executable).with_name("flower-simulation")), f"--out={out}", *options_of(scenario)]
    start, peak, clips = time.monotonic(), 0, []
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    family = psutil.Process(process.pid)
    while process.poll() is None:
        peak = max(peak, _memory(family))
        index = out / "encoded.jsonl"
        done = index.read_bytes().count(b"\n") if index.exists() else 0
        if done and (not clips or clips[-1][1] != done):
            clips.append((time.monotonic() - start, done))
        time.sleep(1)
    rows = json.loads((out / "run.json").read_text(encoding="utf-8"))
    return {
        "devices": devices,
        "frames_per_device": frames,
        "encoders": encoders,
        "exit_code": process.returncode,
        "seconds": time.monotonic() - start,
        "peak_memory_gib": peak / 2**30,
        "payloads": len(rows["payloads"]),
        "failures": dict(Counter(row["kind"] for row in rows["failures"])),
        "clips_by_second": clips,
    }


def _memory(process: psutil.Process) -> int:
    """Bytes of a process and all its children; what they share counts once."""
    total = 0
    for member in (process, *process.children(recursive=True)):
        try:
            total += member.memory_full_info().pss
        except psutil.Error:
            continue
    return total
