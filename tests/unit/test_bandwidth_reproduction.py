"""Repeating the source's experiments: the journal, the tables, and the command's errors."""

import dataclasses
import json
import subprocess
import sys

import pytest

from rinr_flower.codecs import codecs, decode
from rinr_flower.codecs.presets import VARIANTS
from rinr_flower.datasets import load
from rinr_flower.errors import ConfigError
from rinr_flower.report.reproduction import Experiment, Journal, _encode, payload_file
from rinr_flower.report.reproduction_page import quality_table, reproduction_page, transmission_table

EXPERIMENT = Experiment(data="sample", clips=1, frames=2, held_back=1)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Two codecs really measured on a clip of the sample; without training."""
    folder = tmp_path_factory.mktemp("reproduction")
    clip = load(EXPERIMENT.data, frames=slice(0, 2))[0]
    rows = [
        {"row": label, **_encode(codecs.create("jpeg", **options), clip, payload_file(folder, label, 0), 0)}
        for label, options in (("JPEG", {}), ("JPEG q20", {"quality": 20}))
    ]
    values = {
        "experiment": json.loads(json.dumps(dataclasses.asdict(EXPERIMENT))),
        "clips": rows,
        "accuracy": [],
        "updates": [{"name": "full", "bytes": 12_000_000, "map50": None, "map50_95": None}],
    }
    return folder, clip, values


def test_a_measurement_is_of_the_payload_that_was_kept(results):
    folder, clip, values = results
    for row in values["clips"]:
        data = payload_file(folder, row["row"], 0).read_bytes()
        assert row["payload_bytes"] == len(data)
        assert len(decode(data)) == row["frames"] == len(clip)
        assert row["camera_bytes"] == sum(len(f.file) for f in clip.frames)


def test_tables(results):
    _, clip, values = results
    small = next(r for r in quality_table(values) if r["row"] == "JPEG q20")
    assert small["bytes_per_frame"] == values["clips"][1]["payload_bytes"] / 2
    rows = {r["row"]: r for r in transmission_table(values)}
    camera = clip.file_bytes()
    assert rows["JPEG, device to device"]["bytes"] == pytest.approx(10 * 9 * camera, abs=1)
    expected = 10 * camera + 90 * values["clips"][1]["payload_bytes"]
    assert rows["JPEG q20, via fog"]["bytes"] == pytest.approx(expected, abs=1)
    assert rows["JPEG q20, via fog"]["link_seconds"] == pytest.approx(expected / 2e6)
    assert rows["trained at the fog, full update"]["bytes"] == pytest.approx(10 * camera + 10 * 12_000_000, abs=1)
    page = reproduction_page(values)
    assert "JPEG q20, via fog" in page
    assert "http" not in page.replace("http-equiv", "")


def test_all_variants_of_the_paper_are_rows():
    rows = Experiment().rows()
    for background in ("Rapid-INR", "NeRV"):
        for variant in VARIANTS:
            assert f"{background} {variant}" in rows


def test_the_journal_goes_on_where_it_was(tmp_path):
    journal = Journal(tmp_path, EXPERIMENT)
    assert journal.get(("a", "1"), lambda: {"x": float("inf")}) == {"x": "inf"}
    journal.get(("b", "2"), lambda: {"x": 2})
    with (tmp_path / "results.jsonl").open("a") as file:
        file.write('{"key": ["c", "3"], "val')
    again = Journal(tmp_path, EXPERIMENT)
    never = pytest.fail
    assert again.get(("a", "1"), lambda: never("computed again")) == {"x": "inf"}
    assert again.get(("c", "3"), lambda: {"x": 3}) == {"x": 3}
    assert list(Journal(tmp_path, EXPERIMENT).results) == [("a", "1"), ("b", "2"), ("c", "3")]
    with pytest.raises(ConfigError, match="other settings"):
        Journal(tmp_path, dataclasses.replace(EXPERIMENT, frames=3))


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--reproduce", "--set", "speed=1"], "no option 'speed'"),
        (["--reproduce", "--set", "frames=0"], "frames is 0"),
        (["--reproduce", "run"], "takes no run folders"),
        (["--data", "sample"], "belong to --reproduce"),
        ([], "give the folder of a run"),
    ],
)
def test_bad_commands_are_one_line(arguments, text, tmp_path):
    command = [sys.executable, "-c", "from rinr_flower.report.cli import main; main()", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 2
    assert text in done.stderr
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
