"""Scenarios: files, overrides, and what they refuse."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest
import yaml
from commands import run_here
from flwr.serverapp.strategy import FedAvg, FedProx

from rinr_flower.errors import ConfigError, RinrError
from rinr_flower.simulations.aggregation import aggregation
from rinr_flower.simulations.fleet import shares_of
from rinr_flower.simulations.run_folder import RunFolder
from rinr_flower.simulations.runner import run_scenario
from rinr_flower.simulations.scenario import Scenario, begun_scenario, load_scenario, shipped_scenarios
from rinr_flower.strategies import CompressedFedAvg, CompressedUpdates
from rinr_flower.updates import Factorised, updates


def test_the_default_is_the_main_job() -> None:
    scenario = load_scenario()
    assert (scenario.num_clients, scenario.strategy, scenario.data, scenario.aggregation) == (
        10,
        "fog",
        "sample",
        "none",
    )


@pytest.mark.parametrize("name", shipped_scenarios())
def test_every_shipped_scenario_is_valid_and_survives_saving(name: str, tmp_path: Path) -> None:
    scenario = load_scenario(name)
    scenario.save(tmp_path / "again.yaml")
    assert load_scenario(tmp_path / "again.yaml") == scenario


def test_every_key_of_the_dataclass_can_stand_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "full.yaml"
    file.write_text(yaml.safe_dump(dataclasses.asdict(Scenario())), encoding="utf-8")
    assert load_scenario(file) == Scenario()


def test_overrides_win_and_reach_into_mappings(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("rounds: 5\ncodec: jpeg\nlink: {latency_s: 0.5}\n", encoding="utf-8")
    scenario = load_scenario(file, {"rounds": "3", "codec.quality": 20, "link.rate_bytes_per_s": "1e5"})
    assert scenario.rounds == 3
    assert scenario.codec == {"name": "jpeg", "quality": 20}
    assert scenario.link_model().rate_bytes_per_s == 1e5
    assert scenario.link_model().latency_s == 0.5


def test_a_file_may_hold_keys_of_other_strategies(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("codec: avif\ncompressor: stc\n", encoding="utf-8")
    assert load_scenario(file, {"strategy": "jpeg_relay"}).codec == "avif"
    assert load_scenario(None, {"strategy": "jpeg_serverless", "codec": "jpeg"}).codec == "jpeg"
    assert load_scenario(None, {"strategy": "jpeg_relay", "upload.name": "jpeg", "compressor": {}}).compressor == {}


@pytest.mark.parametrize("value", [2**53 + 1, str(2**53 + 1)])
def test_whole_numbers_above_those_of_a_float_are_kept(value: object) -> None:
    assert load_scenario("default", {"seed": value}).seed == 2**53 + 1


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"round": 3}, r"no option 'round'; known: .*rounds"),
        ({"num_clients": 1}, "num_clients.*at least 2"),
        ({"num_clients": "many"}, "'many' is not a number"),
        ({"rounds": 1.5}, "1.5 is not a whole number"),
        ({"codec": "gif"}, "unknown codec 'gif'; known: .*jpeg"),
        ({"codec": {"name": "jpeg", "speed": 3}}, "no option 'speed'; known: quality"),
        ({"codec": {"name": "jpeg", "quality": 200}}, "quality 200"),
        ({"upload": {"quality": 3}}, "needs a 'name'"),
        ({"rivals": ["gif"]}, "unknown codec 'gif'"),
        ({"rivals": "jpeg"}, "'rivals'.*list"),
        (
            {"strategy": "cloud"},
            "'cloud' is not one of fog, jpeg_serverless, jpeg_relay, fog_training, compressed_fedavg, auto",
        ),
        ({"compressor": "zip"}, "unknown update compressor 'zip'; known: .*factorised"),
        ({"compressor": {"name": "stc", "fraction": 2}}, "fraction 2"),
        (
            {"strategy": "jpeg_relay", "codec": "avif", "upload.name": "roi_jpeg"},
            r"'jpeg_relay' does not use codec \(avif\) and upload \(roi_jpeg\); leave .*: fog, auto$",
        ),
        ({"strategy": "compressed_fedavg", "upload": "webp"}, r"not use upload \(webp\).*: fog, fog_training, auto$"),
        ({"strategy": "fog_training", "codec.quality": 3, "codec.name": "webp"}, r"not use codec \(webp\)"),
        ({"compressor.rank": 4}, r"'fog' does not use compressor \({'rank': 4}\)"),
        ({"strategy": "fog_training", "aggregation": "FedAvg"}, "'fog_training' averages no models"),
        ({"aggregation": "FedBest"}, "unknown aggregation 'FedBest'; known: none, .*FedAvg"),
        (
            {"aggregation": {"name": "FedAvg", "speed": 1}},
            "aggregation FedAvg has no option .speed.; known: .*fraction_train",
        ),
        *(
            (
                {"num_clients": 3, "aggregation.name": "FedAvg", f"aggregation.{option}": 5},
                rf"FedAvg waits for 5 nodes \({option}\), but num_clients is 3; lower aggregation.{option}, or raise",
            )
            for option in ("min_available_nodes", "min_train_nodes", "min_evaluate_nodes")
        ),
        (
            {"aggregation.name": "FedAvg", "aggregation.min_available_nodes": "all"},
            "FedAvg, option 'min_available_nodes': 'all' is not a number",
        ),
        (
            {"aggregation.fraction_train": 0.5},
            "'none' takes no options; got fraction_train; add aggregation.name=FedAvg",
        ),
        ({"seed": 2**63}, "'seed' is 9223372036854775808; it must be below"),
        ({"image_size": 100}, "multiple of 32"),
        ({"holdout": 0}, "'holdout' is 0"),
        ({"learning_rate": 0}, "greater than 0"),
        ({"blur": 2}, "'blur' is 2"),
        ({"timeout_s": float("inf")}, "not a finite number"),
        ({"min_devices": 11}, "only 10 devices"),
        ({"link": {"rate": 1}}, "no option 'rate'; known: .*rate_bytes_per_s"),
        ({"link": "fast"}, "'link'.*keys and values"),
        ({"link.rate_bytes_per_s": 0}, "rate_bytes_per_s"),
        ({"rounds": 2, "rounds.x": 3}, r"'rounds\.x' cannot be set to 3: 'rounds' is 2"),
        ({"codec.steps": 2, "codec.steps.x": 3}, r"'codec\.steps\.x' cannot be set to 3: 'codec\.steps' is 2"),
        ({"rivals": ["jpeg"], "rivals.quality": 3}, r"'rivals\.quality' .*: 'rivals' is \['jpeg'\]"),
        ({"rounds": 10**400}, "'rounds': 10+ is not a number"),
        *(
            ({key: value}, rf"'{key}' is {re.escape(repr(value))}; it is a name, or a mapping")
            for key in ("codec", "upload", "compressor", "aggregation", "deal", "detector")
            for value in (["scene"], 3, None, True)
        ),
        ({"rivals": [["jpeg"]]}, r"a codec is given by its name.*, not by \['jpeg'\]; known: .*jpeg"),
        ({"rivals": [None]}, "not by None"),
        ({"log": [["wandb"]]}, r"not by \['wandb'\]"),
        ({"log": [3]}, "not by 3"),
        ({"codec": {"name": "jpeg", 1: 2, "x": 3}}, "no option 1"),
    ],
)
def test_bad_values_are_refused_with_the_way_out(values: dict[str, object], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        load_scenario("default", values)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("- 1\n- 2\n", "holds a list"),
        ("a: [1", "cannot be read"),
        ("seed: 2020-99-99", "cannot be read"),
        ("!!python/object:os.system {}", "cannot be read"),
    ],
)
def test_bad_files_are_refused(content: str, text: str, tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(content, encoding="utf-8")
    with pytest.raises(ConfigError, match=text):
        load_scenario(file)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--config", "nowhere.yaml"], "nowhere.yaml"),
        (["--codec", "gif"], "unknown codec 'gif'"),
        (["--set", "speed=3"], "no option 'speed'"),
        (["--set", "speed"], "not key=value"),
        (["--set", "seed=2020-99-99"], "seed=2020-99-99: the value is not YAML"),
        (["--data", "otb100:/nowhere"], "/nowhere"),
        (["--data", "gifs:x"], "unknown data set 'gifs'"),
        (["--device", "abacus"], "abacus"),
        (["--num-clients", "0"], "at least 2"),
        (["--num-clients", "many"], "many"),
    ],
)
def test_misuse_is_one_line_and_exit_code_2(
    arguments: list[str], text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = run_here("flower-simulation", *arguments)
    assert done.returncode == 2
    assert text in done.stderr
    assert "Traceback" not in done.stderr


def test_a_folder_that_holds_something_is_never_written_over(tmp_path: Path) -> None:
    (tmp_path / "results.txt").write_text("precious")
    done = run_here("flower-simulation", "--out", tmp_path)
    assert done.returncode == 2
    assert "not empty" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["results.txt"]


@pytest.fixture
def begun(tmp_path: Path) -> Path:
    """The folder of a run that was broken off before its first round."""
    folder = RunFolder.create(str(tmp_path / "run"))
    load_scenario("quick").save(folder.scenario)
    return folder.path


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--rounds", "9"], "begun with rounds="),
        (["--config", "default"], "the run was begun with"),
        (["--set", "codec.quality=41", "--codec", "jpeg"], "begun with codec="),
        (["--out", "elsewhere"], "give either --resume or --out"),
    ],
)
def test_a_run_goes_on_with_its_own_scenario_only(begun: Path, arguments: list[str], text: str) -> None:
    done = run_here("flower-simulation", "--resume", begun, *arguments)
    assert done.returncode == 2
    assert text in done.stderr


def test_a_run_goes_on_in_its_own_folder(begun: Path) -> None:
    rounds = load_scenario("quick").rounds
    scenario = begun_scenario(begun, None, {"rounds": rounds})
    assert (scenario.out, scenario.rounds) == (str(begun), rounds)
    with pytest.raises(ConfigError, match="holds no run to go on with"):
        begun_scenario(begun.parent, None, {})


def test_classes_are_names() -> None:
    assert load_scenario("default", {"classes": ["car", "person"]}).classes == ["car", "person"]
    with pytest.raises(ConfigError, match="list of names"):
        load_scenario("default", {"classes": "car"})
    with pytest.raises(ConfigError, match="encoders"):
        load_scenario("default", {"encoders": -1})


def test_the_compressor_without_a_name_is_the_strategys_own() -> None:
    made = updates.create(Scenario(strategy="compressed_fedavg").update_compressor)
    assert made == CompressedFedAvg().policy.common.compressor == CompressedUpdates(FedAvg()).common.compressor
    assert Scenario(strategy="auto").update_compressor == {"name": "factorised"}
    given = updates.create(Scenario(strategy="compressed_fedavg", compressor={"rank": 3}).update_compressor)
    assert given == Factorised(rank=3, vector_bits=8)
    assert Scenario(compressor="stc").update_compressor == {"name": "stc"}


@pytest.mark.parametrize(
    ("values", "text"),
    [
        (
            {"codec": {"name": "residual", "background": {"name": "roi_jpeg"}}},
            "^scenario key 'codec': codec 'roi_jpeg' codes objects itself; it cannot be a background; take",
        ),
        (
            {"rivals": ["jpeg", {"name": "residual", "background": "roi_avif"}]},
            r"^scenario key 'rivals\[1\]': codec 'roi_avif' codes objects itself",
        ),
        (
            {"aggregation": {"name": "FedAvg", "fraction_train": "abc"}},
            "^aggregation FedAvg, option 'fraction_train': 'abc' is not a number$",
        ),
        *(
            (
                {"aggregation": {"name": "FedAvg", "fraction_train": value}},
                f"^aggregation FedAvg, option 'fraction_train' is {value}; it must be above 0, and at most 1$",
            )
            for value in (5, 0, -1)
        ),
        ({"aggregation": {"name": "FedAvg", "fraction_evaluate": 1.5}}, "'fraction_evaluate' is 1.5; .* in 0..1"),
        (
            {"aggregation": {"name": "FedAvg", "foo": 1}},
            "FedAvg has no option 'foo'; known: .*, fraction_evaluate, .*weighted_by_key$",
        ),
        ({"aggregation": {"name": "FedAvg", "train_metrics_aggr_fn": "f"}}, "no option 'train_metrics_aggr_fn'"),
        ({"aggregation": {"name": "FedAvg", "arrayrecord_key": "x"}}, "arrayrecord_key='x'.*leave the option out"),
        ({"classes": ["car", "cup", "car"]}, r"'classes' is \['car', 'cup', 'car'\]; give 'car' once"),
        ({"upload": "foo"}, "^scenario key 'upload': unknown codec 'foo'; known: .*jpeg"),
        ({"rivals": ["foo"]}, r"^scenario key 'rivals\[0\]': unknown codec 'foo'"),
        ({"compressor": "foo"}, "^scenario key 'compressor': unknown update compressor 'foo'"),
        ({"deal": "foo"}, "^scenario key 'deal': unknown way to deal 'foo'"),
        ({"detector": {"name": "foo"}}, "^scenario key 'detector': unknown detector 'foo'"),
        ({"log": ["foo"]}, "^scenario key 'log': unknown .*'foo'"),
        ({"learning_rate": -1}, r"^scenario key 'learning_rate' is -1\.0; it must be greater than 0$"),
        ({"timeout_s": 0}, r"^scenario key 'timeout_s' is 0\.0; it must be greater than 0$"),
        ({"link": "lora"}, "^scenario key 'link' is 'lora', a profile; give link.profile=lora$"),
        ({"link": "fast"}, "it holds keys and values; known: .*profile"),
        (
            {"link.foo": 1},
            "^scenario key 'link' has no option 'foo'; known: .*packet_bytes, .*profile, rate_bytes_per_s",
        ),
        ({"link.los": 0.1}, r"no option 'los'; known: .*; did you mean 'loss'\?$"),
        ({"num-clients": 3}, r"no option 'num-clients'; known: aggregation, .*; did you mean 'num_clients'\?$"),
    ],
)
def test_errors_name_the_key_and_what_may_stand_there(values: dict[str, object], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        load_scenario("default", values)


def test_good_options_of_an_aggregation_are_taken() -> None:
    given = {"name": "FedProx", "fraction_train": "5e-1", "fraction_evaluate": 0, "proximal_mu": 1}
    scenario = load_scenario("default", {"aggregation": given})
    strategy = aggregation(scenario.aggregation)
    assert isinstance(strategy, FedProx)
    assert (strategy.fraction_train, strategy.fraction_evaluate, strategy.proximal_mu) == (0.5, 0, 1)


def test_a_background_of_whole_frames_is_taken() -> None:
    codec = {"name": "residual", "background": {"name": "jpeg", "quality": 20}}
    assert load_scenario("default", {"codec": codec}).codec == codec


def test_a_key_that_is_unknown_is_looked_up_with_the_files_name(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("num-clients: 3\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"^scenario file '.*mine\.yaml' has no option 'num-clients'; known: "):
        load_scenario(file)


def test_rates_of_nodes_that_there_are_not_are_refused() -> None:
    data = "sample:sequences=2,frames=8"
    small = {"num_clients": 2, "rounds": 1, "frames_per_clip": 2, "holdout": 2, "data": data}
    names = [share.name for share in shares_of(load_scenario("default", small))]
    good = dict.fromkeys(("fog", *names), 1e5)
    assert len(shares_of(load_scenario("default", {**small, "link": {"node_rates": good}}))) == 2
    with pytest.raises(ConfigError, match=r"'link\.node_rates' has no node 'device-12'; known: device-00.*, fog(;|$)"):
        shares_of(load_scenario("default", {**small, "link": {"node_rates": {**good, "device-12": 1e5}}}))


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"detector": "yolov8z9"}, "detector model 'yolov8z9'"),
        ({"out": "/dev/null/run"}, "/dev/null/run cannot be made: .*; name another with --out"),
        ({"data": "otb100:/nowhere"}, "/nowhere"),
    ],
)
def test_what_cannot_run_is_refused_before_data_are_read_and_leaves_nothing(
    values: dict[str, str], text: str, tmp_path: Path
) -> None:
    told: list[str] = []
    scenario = load_scenario("quick", {"device": "cpu", "out": str(tmp_path / "runs" / "run"), **values})
    with pytest.raises(RinrError, match=text):
        run_scenario(scenario, lambda what, done: told.append(what))
    assert told == []
    assert list(tmp_path.iterdir()) == []
