"""Ultralytics' own training runs on payloads: epochs, validation, checkpoints and resuming, for real."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch

from rinr_flower.codecs.classical import Jpeg
from rinr_flower.datasets import load
from rinr_flower.decoding import FrameStore
from rinr_flower.detection import RinrTrainer
from rinr_flower.detection.engine import ultralytics
from rinr_flower.errors import ConfigError, DataError, PayloadError

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def payloads() -> list[bytes]:
    clips = load("sample:sequences=2,frames=10,width=160,height=90")
    return [Jpeg(quality=80).encode(clip) for clip in clips]


@pytest.fixture
def folder(payloads: list[bytes], tmp_path: Path) -> Path:
    folder = tmp_path / "payloads"
    folder.mkdir()
    for i, payload in enumerate(payloads):
        (folder / f"clip-{i}.rinr").write_bytes(payload)
    return folder


def settings(tmp_path: Path, **more: object) -> dict[str, object]:
    return {
        "trainer": RinrTrainer, "imgsz": 64, "batch": 8, "project": str(tmp_path / "runs"), "name": "run",
        "device": "cpu", "exist_ok": True, "val": True, "verbose": False, **more,
    }  # fmt: skip


def yolo(model: str | Path) -> object:
    return ultralytics("models").YOLO(str(model), task="detect")


def epochs_in(run: Path) -> list[int]:
    with (run / "results.csv").open() as file:
        return [int(row["epoch"]) for row in csv.DictReader(file)]


def test_a_folder_trains_is_interrupted_and_resumes(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    model = yolo("yolov8n.yaml")

    def interrupt(trainer: RinrTrainer) -> None:
        if trainer.epoch == 1:
            raise KeyboardInterrupt

    model.add_callback("on_train_epoch_end", interrupt)
    with pytest.raises(KeyboardInterrupt):
        model.train(data=str(folder), epochs=3, close_mosaic=1, plots=True, **settings(tmp_path))
    run = tmp_path / "runs" / "run"
    assert epochs_in(run) == [1]
    assert (run / "labels.jpg").is_file()
    assert (run / "train_batch0.jpg").is_file()

    resumed = yolo(run / "weights" / "last.pt")
    metrics = resumed.train(resume=True, trainer=RinrTrainer)
    assert epochs_in(run) == [1, 2, 3]
    assert 0 <= metrics.box.map50 <= 1
    assert metrics.nt_per_class.sum() > 0
    for name in ("results.png", "val_batch0_labels.jpg", "confusion_matrix.png", "weights/best.pt"):
        assert (run / name).is_file()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["payloads", "runs"]
    assert yolo(run / "weights" / "best.pt").names == {0: "cup"}


def test_a_resumed_training_is_the_uninterrupted_one(folder: Path, tmp_path: Path) -> None:
    """Order and augmentation of an epoch do not depend on where the training began."""
    seen: dict[str, list[float]] = {"whole": [], "late": []}

    def note(key: str, first: int) -> None:
        model = yolo("yolov8n.yaml")

        def start(trainer: RinrTrainer) -> None:
            trainer.start_epoch = first

        def batch(trainer: RinrTrainer) -> None:
            if trainer.epoch == 1:
                seen[key].append(float(trainer.loss_items["cls_loss"]))

        model.add_callback("on_pretrain_routine_end", start)
        model.add_callback("on_train_batch_end", batch)
        model.train(data=str(folder), epochs=2, plots=False, lr0=1e-12, warmup_epochs=0, optimizer="SGD",
                    **settings(tmp_path, name=key))  # fmt: skip

    note("whole", 0)
    note("late", 1)
    assert len(seen["whole"]) == 2
    np.testing.assert_allclose(seen["whole"], seen["late"], rtol=1e-3)


def test_stores_and_cached_frames(payloads: list[bytes], tmp_path: Path) -> None:
    stores = {"train": FrameStore(payloads[:1]), "val": FrameStore(payloads[1:])}
    model = yolo("yolov8n.yaml")
    metrics = model.train(data=stores, epochs=1, plots=False, multi_scale=0.5, **settings(tmp_path))
    assert int(metrics.nt_per_image.sum()) == sum(len(stores["val"].labels(i)[0]) > 0 for i in range(10))


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        ("missing", DataError, "not a folder"),
        ("empty", DataError, "holds no payloads"),
        ("version", PayloadError, r"clip-1\.rinr.*version"),
        ("truncated", PayloadError, r"clip-1\.rinr"),
        ("unlabelled", DataError, "no training frame has a box"),
    ],
)
def test_bad_folders_are_refused_before_training(
    folder: Path, tmp_path: Path, change: str, error: type[Exception], text: str
) -> None:
    second = folder / "clip-1.rinr"
    if change == "version":
        second.write_bytes(second.read_bytes()[:4] + b"\x63" + second.read_bytes()[5:])
    elif change == "truncated":
        second.write_bytes(second.read_bytes()[:-10])
    elif change in ("empty", "unlabelled"):
        for file in folder.iterdir():
            file.unlink()
    if change == "unlabelled":
        clip = load("sample:sequences=1,frames=2,width=96,height=64")[0]
        bare = type(clip)("bare", tuple(type(f)(f.image) for f in clip.frames), clip.class_names)
        (folder / "bare.rinr").write_bytes(Jpeg().encode(bare))
    data = folder / "nowhere" if change == "missing" else folder
    with pytest.raises(error, match=text):
        yolo("yolov8n.yaml").train(data=str(data), epochs=1, **settings(tmp_path))


@pytest.mark.parametrize(("option", "value"), [("mixup", 0.5), ("fraction", 0.5), ("cache", "disk"), ("rect", True)])
def test_what_is_not_available_is_refused(folder: Path, tmp_path: Path, option: str, value: object) -> None:
    with pytest.raises(ConfigError, match=option):
        yolo("yolov8n.yaml").train(data=str(folder), epochs=1, **settings(tmp_path, **{option: value}))


def test_more_frames_than_memory_are_refused(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rinr_flower.detection.payload_folder._free_bytes", lambda device: 1000)
    with pytest.raises(ConfigError, match=r"864,000 bytes .* 1,000 bytes of free memory"):
        yolo("yolov8n.yaml").train(data=str(folder), epochs=1, **settings(tmp_path, cache=True))


def test_importing_the_trainer_keeps_the_thread_count() -> None:
    before = torch.get_num_threads()
    assert issubclass(RinrTrainer, ultralytics("models.yolo.detect").DetectionTrainer)
    assert torch.get_num_threads() == before
