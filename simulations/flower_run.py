"""What the Flower app does under ``flwr run``: the same main job, told by the run's configuration.

Fog and simulated devices find each other's files through the run's folder, which both know from the configuration or
from the run's id.
"""

from __future__ import annotations

import logging
import math
import os
import shlex
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from flwr.app import Context
from flwr.serverapp import Grid

from rinr_flower.clients import EdgeDevice
from rinr_flower.errors import ConfigError
from rinr_flower.report import RunRecord
from rinr_flower.simulations.fleet import equipped_in, simulated_device
from rinr_flower.simulations.main_job import main_job
from rinr_flower.simulations.run_folder import RunFolder, held
from rinr_flower.simulations.scenario import Scenario, begun_scenario, load_scenario
from rinr_flower.simulations.stopping import StopSignals
from rinr_flower.terminal import parse_yaml_settings

log = logging.getLogger("flwr.rinr_flower")


def run_fog(grid: Grid, context: Context) -> RunRecord:
    """The fog's side of a run over all nodes that are connected."""
    with open_run(context, lambda: {"num_clients": _settled(grid)}) as (scenario, run):
        if ":" in scenario.device:
            raise ConfigError(
                f"scenario key 'device' is {scenario.device!r}, but under 'flwr run' Ray deals out the GPUs; give "
                "'cuda', and each device a share with --federation-config 'client-resources-num-gpus=0.5'"
            )
        folders = equipped_in(run, scenario)
        with StopSignals() as stop:
            turns = math.ceil(scenario.num_clients / (os.cpu_count() or 1))
            record = main_job(grid, scenario, run, folders, logged_progress(), turns=turns, stop=stop)
    log.info("report: %s", run.path / "report.html")
    return record


@contextmanager
def open_run(
    context: Context, overrides: Callable[[], dict[str, int]] = dict[str, int]
) -> Iterator[tuple[Scenario, RunFolder]]:
    """The scenario and the folder that a run's configuration asks for: a new one, or that of ``resume``.

    The folder is held until the block ends. ``overrides`` gives further scenario values for a new run. Raises
    ConfigError if the folder to go on with was begun with other settings, or another process works in it.
    """
    resumed = bool(context.run_config.get("resume"))
    scenario = scenario_of(context, None if resumed else overrides())
    with held(Path(scenario.out)):
        run = RunFolder(Path(scenario.out)) if resumed else RunFolder.create(scenario.out)
        if not resumed:
            scenario.save(run.scenario)
        yield scenario, run


def open_device(context: Context) -> EdgeDevice:
    """The device that a simulated node plays."""
    scenario = scenario_of(context, {"num_clients": int(context.node_config["num-partitions"])})  # as the fog counts
    check_gpu_share(scenario.device)
    return simulated_device(context, Path(scenario.out) / "devices", scenario.device)


def check_gpu_share(device: str) -> None:
    """ConfigError in a Ray worker that should compute on a GPU and has no share of one, though there are GPUs."""
    import ray

    if not ray.is_initialized() or device not in ("auto", "cuda") or ray.get_gpu_ids():
        return
    if count := ray.cluster_resources().get("GPU", 0):
        raise ConfigError(
            f"there are {count:g} GPUs, but Ray gave this device no share of one; add client-resources-num-gpus=0.5 to "
            "--federation-config (a half for each device), or compute on the CPU with the scenario key device=cpu"
        )


PLAIN_KEYS = {
    "num-server-rounds": "rounds",
    "strategy": "strategy",
    "codec": "codec",
    "upload": "upload",
    "aggregation": "aggregation",
    "detector": "detector",
    "local-steps": "steps",
    "batch-size": "batch",
    "learning-rate": "learning_rate",
    "image-size": "image_size",
    "data": "data",
}
"""Keys of the run's configuration, as Flower's apps have them, and what they are called in a scenario."""


def scenario_of(context: Context, overrides: dict[str, int] | None = None) -> Scenario:
    """The scenario of a run, from its configuration: ``scenario``, ``set`` and ``out``, or ``resume`` alone.

    Of PLAIN_KEYS those count that are not empty and not 0; ``set`` has precedence over them. It is split at
    blanks; a setting with blanks stands in quotes, as a whole.
    """
    config = context.run_config
    plain = {name: config[key] for key, name in PLAIN_KEYS.items() if config.get(key)}
    try:
        given = shlex.split(str(config["set"]), posix=False)  # quotes inside a setting stay
        values = {**plain, **parse_yaml_settings([_unquoted(item) for item in given])}
    except ValueError as error:
        reason = str(error).removeprefix("--set ")
        raise ConfigError(f"the run's configuration 'set' is {config['set']!r}: {reason}") from error
    if resume := str(config.get("resume", "")):
        return begun_scenario(Path(resume), None, values)
    out = str(config["out"]) or str(Path.home() / "rinr-runs" / str(context.run_id))
    return load_scenario(str(config["scenario"]), {**values, "out": out, **(overrides or {})})


def _unquoted(item: str) -> str:
    return item[1:-1] if len(item) > 1 and item[0] == item[-1] and item[0] in "'\"" else item


def _settled(grid: Grid, seconds: float = 2.0) -> int:
    """The number of connected nodes once it has not changed for a while: nodes register one after the other."""
    count, since = 0, time.monotonic()
    while count == 0 or time.monotonic() - since < seconds:
        now = len(list(grid.get_node_ids()))
        if now != count:
            count, since = now, time.monotonic()
        time.sleep(0.1)
    return count


def logged_progress() -> Callable[[str, float], None]:
    """Progress as log lines: where a run has no terminal, one at the start and one at the end of each piece of work."""
    running: set[str] = set()

    def report(what: str, done: float) -> None:
        if what not in running or done >= 1:
            running.add(what)
            log.info("%s: %d %%", what, 100 * done)

    return report
