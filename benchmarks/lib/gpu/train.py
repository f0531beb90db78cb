"""Train: an epoch from payloads against ultralytics' own JPEG loader."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path

import torch
import yaml

from rinr_flower.detection import RinrTrainer
from rinr_flower.detection.engine import ultralytics

from ..results import Row
from ..speed_train import Stage, run, write_jpegs
from .case import Case, NotHereError
from .setting import Setting

_HELD = tempfile.TemporaryDirectory(prefix="gpu-train-")


@cache
def folder() -> Path:
    """A folder of this process, removed when it ends."""
    return Path(_HELD.name)


@cache
def jpegs(setting: Setting) -> tuple[Path, int]:
    """The clips as JPEG files with a data set YAML that validates on one image, and the files' bytes."""
    root = folder() / "jpegs"
    total = write_jpegs(setting.clips() * setting.scale.train_copies, root)
    (root / "few.txt").write_text(f"{next((root / 'images').iterdir())}\n")
    described = yaml.safe_load((root / "data.yaml").read_text())
    (root / "data.yaml").write_text(yaml.safe_dump({**described, "val": "few.txt"}))
    return root / "data.yaml", total


@cache
def payloads(setting: Setting, codec: str) -> tuple[Path, int]:
    """The clips as payload files, and their bytes."""
    root, found = folder() / codec, setting.payloads(codec) * setting.scale.train_copies
    for part, chosen in (("train", found), ("val", found[:1])):
        (root / part).mkdir(parents=True)
        for number, data in enumerate(chosen):
            (root / part / f"{number:04d}.rinr").write_bytes(data)
    return root, sum(map(len, found))


@cache
def offline() -> None:
    """Keep ultralytics from asking the network for a font and for the model that it checks mixed precision with."""
    font = ultralytics("utils").USER_CONFIG_DIR / "Arial.ttf"
    font.parent.mkdir(parents=True, exist_ok=True)
    font.touch()
    ultralytics("engine.trainer").check_amp = lambda model: model.parameters().__next__().device.type == "cuda"


def epoch(setting: Setting, model: str, source: str, workers: int, cache_as: bool | str) -> Row:
    """Train two epochs and time the second; ``source`` is a codec, or ``jpeg`` for ultralytics' loader."""
    if workers > (most := torch.multiprocessing.cpu_count()):
        raise NotHereError(f"ultralytics starts no more workers than there are processors, {most}")
    offline()
    path, size = jpegs(setting) if source == "jpeg" else payloads(setting, source)
    trainer = ultralytics("models.yolo.detect").DetectionTrainer if source == "jpeg" else RinrTrainer
    stage = Stage(f"{model}, {source}", trainer, str(path), cache_as, workers, size)
    scale = setting.scale
    options = argparse.Namespace(
        model=model, size=scale.train_size, batch=scale.train_batch, device="0" if setting.cuda else "cpu"
    )
    frames = scale.train_copies * sum(map(len, setting.clips()))
    row = run(stage, options, folder() / "runs")
    if setting.cuda:
        torch.cuda.empty_cache()
    return {**row, "frames_per_s": frames / row["seconds"], "data_bytes": size}


def cases(setting: Setting) -> Iterator[Case]:
    """What the bars compare first; the slow loaders last."""
    most = max(setting.scale.workers)
    few = min(w for w in setting.scale.workers if w)
    first: list[tuple[str, int, bool | str]] = [("scene", 0, False), ("jpeg", few, False), ("jpeg", most, "ram")]
    rest: list[tuple[str, int, bool | str]] = [("scene", 0, True), ("residual", 0, False)]
    rest += [("jpeg", w, c) for w in reversed(setting.scale.workers) for c in ("ram", False)]
    chosen = [(model, way) for model in setting.scale.models for way in first]
    chosen += [(setting.scale.models[0], way) for way in rest if way not in first]
    for model, (source, workers, cache_as) in chosen:
        shown = f"JPEG, {workers} workers" if source == "jpeg" else f"payloads of {source}"
        name = f"{Path(model).stem}, {shown}, cache {cache_as or 'off'}"
        yield Case(name, partial(epoch, setting, model, source, workers, cache_as))
