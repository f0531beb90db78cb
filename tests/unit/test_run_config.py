"""The keys of the Flower app's run configuration become a scenario."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from flwr.app import Context, RecordDict
from small_clips import small_clip

from rinr_flower.clients import DeviceFolder
from rinr_flower.errors import ConfigError
from rinr_flower.simulations.flower_run import PLAIN_KEYS, open_device, open_run, scenario_of
from rinr_flower.simulations.run_folder import held
from rinr_flower.simulations.scenario import load_scenario

APP = Path(load_scenario.__code__.co_filename).parent / "app" / "pyproject.toml"


def context(**changes: Any) -> Context:
    """The app's own configuration and what ``--run-config`` changes in it; Flower refuses other keys and types."""
    config = tomllib.loads(APP.read_text())["tool"]["flwr"]["app"]["config"]
    for key, value in changes.items():
        assert isinstance(value, type(config[key.replace("_", "-")]))
        config[key.replace("_", "-")] = value
    return Context(1, 1, {}, RecordDict(), config)


def test_empty_keys_leave_the_scenario_as_it_is() -> None:
    assert scenario_of(context(out="/x")) == load_scenario("default", {"out": "/x"})


def test_plain_keys_stand_beside_the_scenario_and_set_goes_before_them() -> None:
    made = scenario_of(
        context(num_server_rounds=5, codec="avif", learning_rate=0.01, local_steps=7, out="/x", set="steps=9 batch=2")
    )
    assert (made.rounds, made.codec, made.learning_rate, made.steps, made.batch) == (5, "avif", 0.01, 9, 2)


def test_a_setting_with_blanks_stands_in_quotes() -> None:
    made = scenario_of(context(out="/x", set="rounds=1 'codec={name: jpeg, quality: 30}' \"data=folder:o'brien's b\""))
    assert (made.rounds, made.codec, made.data) == (1, {"name": "jpeg", "quality": 30}, "folder:o'brien's b")
    made = scenario_of(context(out="/x", set='codec={"name":"jpeg","quality":30} data=folder:o\'brien'))
    assert (made.codec, made.data) == ({"name": "jpeg", "quality": 30}, "folder:o'brien")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("rounds", "'rounds' is not key=value"),
        ("'data=a", "No closing quotation"),
        ("codec={", "the value is not YAML"),
    ],
)
def test_a_set_that_cannot_be_read_is_named(text: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=f"^the run's configuration 'set' is .*{reason}"):
        scenario_of(context(out="/x", set=text))


def test_every_plain_key_is_in_the_app_and_names_a_key_of_a_scenario() -> None:
    config = tomllib.loads(APP.read_text())["tool"]["flwr"]["app"]["config"]
    assert set(PLAIN_KEYS) <= set(config)
    assert set(PLAIN_KEYS.values()) <= set(load_scenario("default").to_mapping())


@pytest.mark.parametrize("setting", ["min_devices=12", "aggregation.name=FedAvg aggregation.min_available_nodes=12"])
def test_a_device_knows_how_many_devices_there_are_as_the_fog_does(setting: str, tmp_path: Path) -> None:
    clip = small_clip("street", 0)
    DeviceFolder.write(tmp_path / "devices" / "007", "device-07", [[clip]], [clip])
    asked = context(out=str(tmp_path), set=f"{setting} device=cpu")
    with pytest.raises(ConfigError, match=r"12.* 10"):
        scenario_of(asked)
    node = Context(1, 1, {"partition-id": 7, "num-partitions": 12}, RecordDict(), asked.run_config)
    assert open_device(node).name == "device-07"


def test_one_process_at_a_time_works_in_the_folder_of_a_run(tmp_path: Path) -> None:
    new = context(out=str(tmp_path / "run"))
    with open_run(new) as (scenario, run), pytest.raises(ConfigError, match="another process is working in"):
        open_run(context(resume=str(run.path))).__enter__()
    with open_run(context(resume=str(run.path))) as (again, resumed):
        assert (resumed.job, again) == (run.job, scenario)
    with held(run.path), pytest.raises(ConfigError, match="another process"):
        open_run(new).__enter__()
