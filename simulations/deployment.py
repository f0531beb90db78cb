"""The main job on real machines: the fog does not see its devices' disks, and each device knows only its own.

``examples/deployment`` is the Flower app that calls this; docs/deployment.md is the guide.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from flwr.app import Context
from flwr.serverapp import Grid

from rinr_flower.clients import DeviceState, EdgeDevice, FrameFolder
from rinr_flower.clients.device_state import BUDGET
from rinr_flower.devices import pick_device
from rinr_flower.errors import ConfigError
from rinr_flower.messages.identity import DeviceIdentity, FogIdentity
from rinr_flower.registry import build_dataclass
from rinr_flower.report import RunRecord
from rinr_flower.simulations.flower_run import logged_progress, open_run
from rinr_flower.simulations.main_job import main_job
from rinr_flower.simulations.stopping import StopSignals

log = logging.getLogger("flwr.rinr_flower")


@dataclass(frozen=True)
class NodeConfig:
    """What ``--node-config`` says of a device. Keys are written with hyphens: ``fog-key="/etc/rinr-flower/fog.pub"``.

    Attributes
    ----------
    name : the device's, unique in its federation; with keys, the comment of its public key.
    frames : the camera's folder, see :class:`FrameFolder`, which explains the next three.
    held_back, frames_per_clip, clips_per_round : what of it is for evaluation, and how much is a round's capture.
    state : the folder in which the device keeps what must outlast a restart.
    budget_mib : what that may take, in MiB.
    key : file of the device's own Ed25519 key; empty: nothing is signed or checked.
    fog_key : file of the fog's public key.
    device : ``auto``, ``cpu``, ``cuda``, ``cuda:1``, ``mps``: where it computes.
    """

    name: str
    frames: str
    state: str
    held_back: int = 0
    frames_per_clip: int = 16
    clips_per_round: int = 1
    budget_mib: int = BUDGET >> 20
    key: str = ""
    fog_key: str = ""
    device: str = "auto"

    def __post_init__(self) -> None:
        if bool(self.key) != bool(self.fog_key):
            raise ConfigError("--node-config has one of 'key' and 'fog-key'; signatures need both, or leave both out")


def fog(grid: Grid, context: Context) -> RunRecord:
    """The fog's side of a run, as the run's configuration describes it.

    ``scenario``, ``set``, ``out`` and ``resume`` are as under ``flwr run simulations/app``; ``fog-key`` and
    ``device-keys`` are files with the fog's own key and the devices' public ones, both empty where nothing is signed.
    ``live`` (PORT or HOST:PORT, loopback if there is no host) serves a page of the run; empty or left out: none.
    Raises RinrError on bad input.
    """
    key, devices = (str(context.run_config[name]) for name in ("fog-key", "device-keys"))
    if bool(key) != bool(devices):
        raise ConfigError("the run's configuration has one of 'fog-key' and 'device-keys'; signatures need both")
    identity = FogIdentity.load(Path(key), Path(devices)) if key else None
    with open_run(context) as (scenario, run), StopSignals() as stop:
        live = str(context.run_config.get("live", ""))
        record = main_job(grid, scenario, run, None, logged_progress(), identity=identity, stop=stop, live=live)
    log.info("report: %s", run.path / "report.html")
    return record


def open_device(context: Context) -> EdgeDevice:
    """This machine's device, as its ``--node-config`` describes it. Raises RinrError on bad input."""
    given = {key.replace("-", "_"): value for key, value in context.node_config.items()}
    missing = [key for key in ("name", "frames", "state") if key not in given]
    if missing:
        raise ConfigError(f"--node-config lacks {', '.join(missing)}; see docs/deployment.md")
    config = build_dataclass(NodeConfig, given, where="--node-config")
    frames = FrameFolder(
        Path(config.frames),
        config.name,
        held_back=config.held_back,
        frames_per_clip=config.frames_per_clip,
        clips_per_round=config.clips_per_round,
    )
    identity = DeviceIdentity.load(config.name, Path(config.key), Path(config.fog_key)) if config.key else None
    state = DeviceState(Path(config.state), config.budget_mib << 20)
    return EdgeDevice(frames, pick_device(config.device), state=state, identity=identity)
