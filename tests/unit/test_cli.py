"""The ``rinr`` command as a user runs it, rightly and wrongly."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import subprocess
import sys
import typing
from pathlib import Path

import click
import numpy as np
import pytest
import typer
import yaml
from commands import Done, run_here
from fuzz_inputs import own
from PIL import Image
from pycocotools.coco import COCO
from typer.testing import CliRunner

from rinr_flower import cli
from rinr_flower.bitstream.container import Payload
from rinr_flower.codecs import codecs
from rinr_flower.datasets import Broken, datasets, load
from rinr_flower.detection import engine
from rinr_flower.errors import ConfigError
from rinr_flower.report import cli as bandwidth_cli
from rinr_flower.simulations import cli as simulation_cli


def rinr(*arguments: object) -> Done:
    return run_here("rinr", *arguments)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three frames with YOLO labels."""
    path = tmp_path_factory.mktemp("frames")
    generator = np.random.default_rng(0)
    for i in range(3):
        Image.fromarray(generator.integers(0, 255, (32, 48, 3), dtype=np.uint8)).save(path / f"{i:03d}.jpg")
        (path / f"{i:03d}.txt").write_text("0 0.5 0.5 0.25 0.25\n")
    return path


def test_a_process_of_its_own_says_the_same(folder: Path, tmp_path: Path) -> None:
    for arguments in (
        ["codecs", "jpeg"],
        ["encode", f"folder:{folder}", "-o", str(tmp_path / "x.rinr"), "--codec", "jpeg", "--set", "quality=200"],
    ):
        command = [sys.executable, "-m", "rinr_flower.cli", *arguments]
        process, here = subprocess.run(command, capture_output=True, text=True, check=False), rinr(*arguments)
        assert (process.returncode, process.stdout, process.stderr) == (here.returncode, here.stdout, here.stderr)


def test_encode_inspect_decode(folder: Path, tmp_path: Path) -> None:
    payload, pictures = tmp_path / "clip.rinr", tmp_path / "out"
    done = rinr(
        "encode", f"folder:{folder}", "-o", payload, "--codec", "jpeg", "--set", "quality=60", "--frames", "0:2"
    )
    assert done.returncode == 0, done.stderr
    facts = json.loads(rinr("inspect", payload, "--json").stdout)
    assert facts["codec"] == "jpeg"
    assert (facts["frames"], facts["width"], facts["height"], facts["boxes"]) == (2, 48, 32, 2)
    assert sum(facts["bytes_by_part"].values()) == facts["bytes"] == payload.stat().st_size
    assert rinr("decode", payload, "-o", pictures, "--size", "24x16").returncode == 0
    assert sorted(p.name for p in pictures.iterdir()) == ["000001.png", "000002.png"]
    assert Image.open(pictures / "000001.png").size == (24, 16)
    assert "jpeg" in rinr("inspect", payload).stdout
    assert rinr("encode", f"folder:{folder}", "-o", payload, "--set", "preset=fast").returncode == 0
    assert "canvas (latents, background INR)" in rinr("inspect", payload).stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("inspect", "nowhere.rinr"), "nowhere.rinr cannot be read"),
        (("encode", "folder:FOLDER", "-o", "OUT/x", "--codec", "jpg"), "unknown codec 'jpg'"),
        (("encode", "folder:FOLDER", "-o", "OUT/x", "--codec", "jpeg", "--set", "quality=200"), "quality 200"),
        (("encode", "folder:FOLDER", "-o", "OUT/x", "--codec", "jpeg", "--set", "quality"), "not key=value"),
        (("encode", "folder:FOLDER", "-o", "OUT/x", "--codec", "jpeg", "--frames", "5:2"), "not A:B"),
        (("encode", "typo", "-o", "OUT/x"), "typo: no such folder; give a folder of images"),
        (("encode", "folder:FOLDER", "-o", "/no/dir/x", "--codec", "jpeg"), "no folder /no/dir; make it first"),
        (
            ("encode", "sample:sequences=2,frames=1", "-o", "OUT/x.rinr"),
            "name one of them (sample:sequences=2,frames=1#1)",
        ),
        (
            ("encode", "folder:FOLDER", "-o", "OUT/x", "--codec", "residual", "--set", "background="),
            "option 'background'",
        ),
        (
            ("encode", "folder:FOLDER", "-o", "OUT/x", "--codec", "residual", "--set", "background={name: jpeg"),
            "--set background={name: jpeg: the value is not YAML",
        ),
        (
            ("encode", "folder:FOLDER", "-o", "FOLDER/000.jpg/x.rinr", "--codec", "jpeg"),
            "/000.jpg is a file, not a folder",
        ),
        (("decode", "FOLDER", "-o", "FOLDER/000.jpg/a/b"), "/000.jpg is a file, not a folder"),
        (("data", "folder:FOLDER", "--show", "FOLDER/000.jpg/x.png"), "/000.jpg is a file, not a folder"),
        (("decode", "FOLDER", "-o", "OUT/x"), "holds no payloads (*.rinr)"),
        (("decode", "FOLDER/000.jpg", "-o", "OUT/x", "--format", "voc"), "'voc' is not one of png, yolo, coco"),
        (("codecs", "jpg"), "unknown codec 'jpg'"),
        (("data", "folder:FOLDER", "--show", "/no/dir/x.png"), "no folder /no/dir"),
        (
            ("data", "folder:FOLDER", "--show", "OUT/sheet.foo"),
            "name it .png, .jpg or .webp",
        ),
        (("data", "folder:FOLDER", "--show", "OUT/sheet"), "name it .png, .jpg or .webp"),
        (("encode", "folder:NOWHERE", "-o", "OUT/x", "--codec", "jpeg"), "NOWHERE"),
        (("encode", "folder:FOLDER", "-o", "OUT/x", "--codec", "jpeg", "--device", "tpu"), "device 'tpu'"),
        (("decode", "FOLDER/000.jpg", "-o", "OUT/x"), "000.jpg: this is no payload"),
        (("inspect", "FOLDER/000.jpg"), "000.jpg: this is no payload"),
    ],
)
def test_misuse_is_one_line_and_exit_code_2(
    folder: Path, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    done = rinr(*(a.replace("FOLDER", str(folder)).replace("OUT", str(tmp_path)) for a in arguments))
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("size", ["640", "0x5", "axb", "99999x99999"])
def test_impossible_sizes(size: str) -> None:
    with pytest.raises(ConfigError, match="WxH"):
        cli.parse_size(size)


def write(folder: Path, name: str, size: tuple[int, int], label: str | None = "0 0.5 0.5 0.5 0.5\n") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(len(name)).integers(0, 255, (*size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / name)
    if label is not None:
        (folder / name).with_suffix(".txt").write_text(label)


def test_a_data_set_becomes_a_folder_of_payloads_and_a_data_set_again(tmp_path: Path) -> None:
    for i in range(5):
        write(tmp_path / "p", f"{i}.png", (32, 48) if i % 2 else (40, 40), f"{i % 2} 0.5 0.5 0.5 0.25\n")
    (tmp_path / "p/5.png").write_bytes(b"no picture")
    (tmp_path / "p/classes.txt").write_text("cup\nhat\n")
    failed = rinr("encode", tmp_path / "p", "-o", f"{tmp_path}/out/", "--codec", "webp")
    assert failed.returncode == 2
    assert "5.png: not a readable image" in failed.stderr
    done = rinr("encode", tmp_path / "p", "-o", f"{tmp_path}/out/", "--codec", "webp", "--skip-broken", "--jobs", "2")
    assert done.returncode == 0, done.stderr
    assert "left out: " in done.stderr
    assert "2 payloads, " in done.stdout
    assert "ratio" not in done.stdout, "there are no camera files"
    names = sorted(p.name for p in (tmp_path / "out").iterdir())
    assert names == ["0001-p-000.rinr", "0002-p-001.rinr"]
    for spec in (f"{tmp_path}/p", f"{tmp_path}/p#1"):
        refused = rinr("encode", spec, "-o", tmp_path / "p.rinr", "--codec", "webp", "--skip-broken").stderr
        assert f"collection; give a folder for all (-o {tmp_path}/p/)" in refused
    alone = codecs.create("webp").encode(load(f"{tmp_path}/p", broken=Broken(skip=True))[1])
    assert (tmp_path / "out" / names[1]).read_bytes() == alone, "as if it were encoded alone"
    assert "holds payloads already" in rinr("encode", tmp_path / "p", "-o", tmp_path / "out", "--skip-broken").stderr

    decoded = load(f"{tmp_path}/p", broken=Broken(skip=True))
    for form, opened in (("yolo", "yolo:{}/data.yaml"), ("coco", "coco:{}/annotations/instances_train.json")):
        place = tmp_path / form
        done = rinr("decode", tmp_path / "out", "-o", place, "--format", form)
        assert done.returncode == 0, done.stderr
        again = load(opened.format(place))
        assert [c.class_names for c in again] == [("cup", "hat")] * 2
        for before, after in zip(decoded, again, strict=True):
            for a, b in zip(before.frames, after.frames, strict=True):
                np.testing.assert_allclose(a.boxes, b.boxes, atol=1 / 16)
                assert a.classes.tolist() == b.classes.tolist()
    reference = COCO(str(tmp_path / "coco/annotations/instances_train.json"))
    assert (len(reference.imgs), len(reference.anns), len(reference.cats)) == (5, 5, 2)


def test_parts_of_a_folder_of_payloads_stay_parts(folder: Path, tmp_path: Path) -> None:
    for part in ("train", "val"):
        (tmp_path / "in" / part).mkdir(parents=True)
        payload = codecs.create("jpeg").encode(load(f"folder:{folder}")[0])
        (tmp_path / "in" / part / f"{part}.rinr").write_bytes(payload)
    assert (
        rinr("decode", tmp_path / "in", "-o", tmp_path / "out", "--format", "yolo", "--size", "24x16").returncode == 0
    )
    ultralytics = engine.ultralytics
    data = ultralytics("data.utils").check_det_dataset(str(tmp_path / "out/data.yaml"), autodownload=False)
    for part in ("train", "val"):
        made = ultralytics("data.dataset").YOLODataset(data[part], data=data, task="detect", augment=False, imgsz=32)
        assert [label["shape"] for label in made.labels] == [(16, 24)] * 3
        np.testing.assert_allclose(made.labels[0]["bboxes"], [[0.5, 0.5, 0.25, 0.25]], atol=1e-4)
    assert rinr("decode", tmp_path / "in", "-o", tmp_path / "png").returncode == 0
    assert len(list((tmp_path / "png/train").glob("*.png"))) == 3


@pytest.mark.parametrize(
    ("given", "parts", "told"),
    [
        (["p/train", "p/val"], {"train": "a", "val": "b"}, []),
        (["p/val"], {"val": "b"}, ["nothing is in the part train; it names images/val for it"]),
        (["p/train/a.rinr", "p/val/b.rinr"], {"train": "a", "val": "b"}, []),
        (["q"], {"train": "e", "val": "c", "test": "d"}, []),
        (["p/train"], {"train": "a"}, ["nothing is in the part val; it names images/train for it"]),
    ],
)
def test_the_parts_of_folders_that_are_given(
    given: list[str], parts: dict[str, str], told: list[str], folder: Path, tmp_path: Path
) -> None:
    payload = codecs.create("jpeg").encode(load(f"folder:{folder}")[0])
    for place in ("p/train/a", "p/val/b", "q/valid/deep/c", "q/test/d", "q/e"):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / f"{place}.rinr").write_bytes(payload)
    out = tmp_path / "out"
    done = rinr("decode", *(tmp_path / path for path in given), "-o", out, "--format", "yolo")
    assert done.returncode == 0, done.stderr
    found = {path.name: {file.stem[0] for file in path.iterdir()} for path in (out / "images").iterdir()}
    assert found == {part: {stem} for part, stem in parts.items()}
    content = yaml.safe_load((out / "data.yaml").read_text())
    assert {part: content[part] for part in parts} == {part: f"images/{part}" for part in parts}
    assert {"train", "val"} <= set(content)
    assert [line.partition("data.yaml: ")[2] for line in done.stderr.split("\n") if line] == told
    for form in ("yolo", "coco"):
        again = rinr("decode", tmp_path / given[0], "-o", out, "--format", form)
        assert again.returncode == 2
        assert f"{out} holds a data set already (images, labels, data.yaml); give a new folder" in again.stderr


@pytest.mark.parametrize(
    ("files", "text"),
    [
        ({"0.jpg": 0, "1.jpg": 1}, ", 1/"),
        ({"0.jpg": 1, "1.png": 1}, "no ratio: only 1 of 2 frames have a JPEG file"),
        ({"0.jpg": 0, "1.jpg": 6}, "no ratio: only 1 of 2 frames"),
    ],
)
def test_a_ratio_covers_all_frames_or_is_not_given(files: dict[str, int], text: str, tmp_path: Path) -> None:
    for name, orientation in files.items():
        exif = Image.Exif()
        exif[0x0112] = orientation
        size = (48, 64) if orientation < 5 else (64, 48)
        Image.new("RGB", size).save(tmp_path / name, exif=exif)
    done = rinr("encode", f"folder:{tmp_path}", "-o", tmp_path / "x.rinr", "--codec", "jpeg")
    assert text in done.stdout


def test_a_budget_that_cannot_be_spent_is_told(folder: Path, tmp_path: Path) -> None:
    options = ("--codec", "scene", "--set", "bytes_per_frame=1000000")
    done = rinr("encode", f"folder:{folder}", "-o", tmp_path / "x.rinr", *options)
    assert done.returncode == 0
    assert "bytes_per_frame=1000000 is more than scene can spend here" in done.stderr


def test_data_lists_what_is_there_and_what_is_broken(tmp_path: Path) -> None:
    write(tmp_path / "images", "0.jpg", (32, 48))
    write(tmp_path / "images", "1.jpg", (40, 40), None)
    whole = (tmp_path / "images/1.jpg").read_bytes()
    (tmp_path / "images/2.jpg").write_bytes(whole[:-300])
    (tmp_path / "images/3.jpg").write_bytes(b"[bold]")
    (tmp_path / "images/classes.txt").write_text("cup\n")
    done = rinr("data", tmp_path / "images", "--show", tmp_path / "sheet.png")
    assert done.returncode == 0, done.stderr
    for text in ("images", "collection", "40x40 and 1 more", "cup", "2 broken", "3.jpg: not a readable image"):
        assert text in done.stdout
    assert Image.open(tmp_path / "sheet.png").size == (3 * 240, 240)
    sheet = np.asarray(Image.open(tmp_path / "sheet.png")).astype(int)
    assert (np.abs(sheet - [255, 77, 77]).sum(axis=2) < 9).sum() > 300, "a box is drawn"
    assert "1 broken" in rinr("data", tmp_path / "images").stdout, "only headers are read"
    (tmp_path / "images/0.txt").write_text("0 0.5 0.5 0.5 0.5\n0 0.5 0.5 0.001 0.5\n0 1.005 0.5 0.001 0.5\n")
    write(tmp_path / "cut", "0.jpg", (32, 48))
    (tmp_path / "cut/0.jpg").write_bytes((tmp_path / "cut/0.jpg").read_bytes()[:-300])
    none = rinr("data", tmp_path / "cut", "--check", "--show", tmp_path / "none.png")
    assert (none.returncode, (tmp_path / "none.png").exists()) == (0, False), none.stderr
    assert "1 broken" in none.stdout
    checked = rinr("data", tmp_path / "images", "--check").stdout
    assert "2 broken" in checked
    assert "images: boxes outside the frame or thinner than a pixel, which are dropped: 2" in checked


def test_settings_are_yaml(folder: Path, tmp_path: Path) -> None:
    def payload(*settings: str) -> bytes:
        given = [word for setting in ("steps=2", *settings) for word in ("--set", setting)]
        done = rinr("encode", f"folder:{folder}", "-o", tmp_path / "x.rinr", "--codec", "residual", *given)
        assert done.returncode == 0, done.stderr
        return (tmp_path / "x.rinr").read_bytes()

    whole = payload("background={name: jpeg, quality: 10}")
    assert whole == payload("background=jpeg", "codec.background.quality=10")
    assert len(whole) < len(payload("background={name: jpeg, quality: 60}"))


def test_a_payload_of_a_codec_that_is_not_there(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "z.rinr"
    file.write_bytes(Payload.of_clip("mine", load(f"folder:{folder}")[0], {"background": b"x"}).to_bytes())
    assert "mine" in rinr("inspect", file).stdout
    done = rinr("decode", file, "-o", tmp_path / "z")
    assert (done.returncode, done.stderr.strip().splitlines()[-1]) == (
        2,
        f"error: {file}: made with codec 'mine', which is not installed here; install the package that registers it",
    )
    monkeypatch.setitem(codecs.broken, "mine", "codec 'mine' of my-package 1.0 cannot be loaded: it is ill")
    assert f"error: {file}: codec 'mine' of my-package 1.0 cannot be loaded: it is ill" in (
        rinr("decode", file, "-o", tmp_path / "z").stderr
    )


@pytest.mark.parametrize("name", own(codecs))
def test_every_option_of_a_codec_has_its_meaning(name: str) -> None:
    shown = rinr("codecs", name).stdout
    for option in dataclasses.fields(codecs.get(name)):  # type: ignore[arg-type]
        assert re.search(rf"^│ {option.name} +│[^│]+│ [^ │]", shown, re.MULTILINE), option.name
    assert "`" not in shown + rinr("codecs").stdout


def test_what_options_have_in_common_is_said_once() -> None:
    shown = " ".join(rinr("codecs", "nerv").stdout.replace("│", " ").split())
    assert shown.count("a step sees batch_frames frames in a random order") == 1
    assert "learning_rate 0.006 see steps" in shown
    assert "preset published starts from" in shown, "no field, but parse_options takes it"
    assert "preset" in rinr("codecs").stdout.partition("nerv")[2].partition("rapid_inr")[0]


def test_registered_components_are_listed() -> None:
    listed = rinr("codecs").stdout
    assert all(name in listed for name in codecs.names())
    one = rinr("codecs", "scene").stdout
    assert "object_weight" in one
    assert "11.0" in one
    assert "how many times an error inside a box" in " ".join(one.split())
    listed = rinr("datasets").stdout
    assert all(name in listed for name in datasets.names())
    assert "clip_length" in rinr("datasets", "dac_sdc").stdout


def test_help_and_version() -> None:
    assert rinr("--version").stdout.startswith("rinr_flower ")
    for arguments in (("-h",), ("encode", "-h"), ("decode", "--help")):
        assert "Usage" in rinr(*arguments).stdout
    assert "[default: scene]" in rinr("encode", "-h").stdout


@pytest.mark.parametrize("app", [cli.app, bandwidth_cli.app, simulation_cli.app])
def test_help_holds_the_text_of_every_argument_and_option(app: typer.Typer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("typer.rich_utils.MAX_WIDTH", 300)
    top = typer.main.get_command(app)
    names = sorted(getattr(top, "commands", {})) or [""]
    callbacks = {info.callback.__name__: info.callback for info in app.registered_commands if info.callback}
    for name in names:
        command = top.commands[name] if isinstance(top, click.Group) else top
        shown = " ".join(CliRunner().invoke(app, [*([name] if name else []), "-h"]).output.split())
        callback = callbacks[name] if name else next(iter(callbacks.values()))
        hints = typing.get_type_hints(callback, include_extras=True)
        texts = [hint.__metadata__[0] for hint in hints.values() if typing.get_origin(hint) is typing.Annotated]
        assert len(texts) == len(command.params)
        for parameter in texts:
            assert parameter.help
            assert parameter.help in shown, f"{name}: {parameter.help}"
            if isinstance(parameter.show_default, str):
                assert f"[default: ({parameter.show_default})]" in shown


def test_a_pipe_or_device_is_not_replaced_by_a_file(folder: Path, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.png"
    os.mkfifo(pipe)
    for arguments in (
        ("encode", f"folder:{folder}", "-o", pipe, "--codec", "jpeg"),
        ("decode", folder, "-o", pipe),
        ("data", f"folder:{folder}", "--show", pipe),
        ("model", folder, "-o", pipe),
    ):
        done = rinr(*arguments)
        assert done.returncode == 2
        assert f"{pipe} is a device, pipe or socket" in done.stderr
        assert pipe.is_fifo()


def test_a_detector_is_written_only_into_a_folder_that_is_there(tmp_path: Path) -> None:
    done = rinr("model", tmp_path, "-o", tmp_path / "no" / "x.npz")
    assert done.returncode == 2
    assert f"there is no folder {tmp_path / 'no'}; make it first" in done.stderr
    assert list(tmp_path.iterdir()) == []
