"""Right: what the device draws and learns, against float64 and against the processor."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache, partial
from typing import Any

import numpy as np
import torch

from rinr_flower.codecs import codecs, decode
from rinr_flower.datasets import load
from rinr_flower.decoding import FrameStore
from rinr_flower.decoding.augment import Augmentation
from rinr_flower.errors import ConfigError
from rinr_flower.rendering.kernels import SWITCH

from ..results import Row
from .case import Case, NotHereError
from .float64 import in_float64
from .setting import NETWORKS, Setting

LIMIT = 1 / 255
DATA = "sample:sequences=1,frames=3,width=96,height=64"
FITS: dict[str, dict[str, Any]] = {
    "rapid_inr": {"steps": 60, "batch_points": 512},
    "residual": {
        "background.steps": 60,
        "background.batch_points": 512,
        "steps": 60,
        "batch_points": 128,
        "candidates": 1,
    },
    "nerv": {"steps": 40},
}
SIZE = (23, 37)
# a resize, a rotation with zoom, and a tilt; no pixel falls on the edge of a window, where rounding decides
MATRICES = (
    (((96 / 37, 0, 0), (0, 64 / 23, 0), (0, 0, 1))),
    ((2.5137, 0.2171, -2.0713), (-0.2129, 2.4311, 3.0371), (0, 0, 1)),
    ((2.4713, -0.1037, 3.1173), (0.1591, 2.6319, -1.0719), (0.00101, -0.00063, 1)),
)
MEMORY_SIZE = (360, 640)
MEMORY_BATCHES = (64, 256)  # frames; both are drawn in several chunks
TRAIN_STEPS = 240
TRAIN_DATA = "sample:sequences=2,frames=16"


@cache
def payload(name: str) -> bytes:
    """Three small frames, encoded on the processor; NotHereError if a library is missing."""
    try:
        return codecs.create(name, **FITS.get(name, {})).encode(load(DATA)[0])
    except ConfigError as error:
        raise NotHereError(str(error)) from error


@contextmanager
def plain_torch() -> Iterator[None]:
    """Renderers made inside it are drawn without the fused kernels."""
    before = os.environ.get(SWITCH)
    os.environ[SWITCH] = "0"
    try:
        yield
    finally:
        if before is None:
            del os.environ[SWITCH]
        else:
            os.environ[SWITCH] = before


def quickly(setting: Setting) -> AbstractContextManager[None]:
    """As the device draws; on the processor without the kernels, whose interpreter other cases have had."""
    return nullcontext() if setting.cuda else plain_torch()


def draw(data: bytes, device: torch.device, frames: tuple[int, ...] = (0, 1, 2)) -> torch.Tensor:
    """The frames through MATRICES, frame by frame, on the processor's side."""
    matrix = torch.tensor([MATRICES[f] for f in frames])
    return FrameStore([data], device=device).render(frames, SIZE, matrix=matrix).cpu()


def compared(got: torch.Tensor, expected: torch.Tensor) -> Row:
    """Largest difference in levels of 255, and whether all are within LIMIT."""
    error = (got.double() - expected.double()).abs().max().item()
    return {"max_levels": 255 * error, "ok": error <= LIMIT}


def against_float64(setting: Setting, name: str) -> Row:
    """The device's pictures against the plain computation in float64 on the processor."""
    data = payload(name)
    with plain_torch(), in_float64():
        expected = draw(data, torch.device("cpu"))
    return compared(draw(data, setting.device), expected)


def fused_against_plain(setting: Setting, name: str) -> Row:
    """The fused kernel's pictures against plain torch's on the same device."""
    with plain_torch():
        plain_renderer = codecs.get(name).renderer(setting.device)
    if type(codecs.get(name).renderer(setting.device)) is type(plain_renderer):
        raise NotHereError("the kernel needs CUDA, or Triton with TRITON_INTERPRET=1")
    data = payload(name)
    fused = draw(data, setting.device)
    with plain_torch():
        plain = draw(data, setting.device)
    row = compared(fused, plain)
    return {**row, "ok": row["ok"] and not torch.equal(fused, plain)}  # equal to the last bit, it fell back


def same_bytes(setting: Setting, name: str) -> Row:
    """One payload decoded by the device and by the processor: levels apart, and the labels."""
    with quickly(setting):
        there, here = decode(payload(name), device=setting.device), decode(payload(name))
    apart = np.abs(there.images().astype(int) - here.images().astype(int))
    labels = all(
        np.array_equal(a.boxes, b.boxes) and np.array_equal(a.classes, b.classes)
        for a, b in zip(there.frames, here.frames, strict=True)
    )
    return {
        "max_levels": int(apart.max()),
        "share_equal": float((apart == 0).mean()),
        "ok": apart.max() <= 1 and labels,
    }


def any_batch(setting: Setting, name: str) -> Row:
    """A frame drawn alone, in a batch, and once more."""
    with quickly(setting):
        store = FrameStore([payload(name)], device=setting.device)
    batch, again = store.render((0, 1, 2), SIZE), store.render((0, 1, 2), SIZE)
    alone = torch.cat([store.render((f,), SIZE) for f in range(3)])
    return {
        "repeats_bit_for_bit": torch.equal(batch, again),
        "alone_bit_for_bit": torch.equal(batch, alone),
        **compared(batch.cpu(), alone.cpu()),
    }


def augmentation(setting: Setting, name: str) -> Row:
    """Mosaics with every change of ultralytics' defaults, drawn by the device and by the processor."""
    settings = Augmentation(degrees=5.3, shear=2.1)
    made = []
    for device in (setting.device, torch.device("cpu")):
        with quickly(setting):
            store, generator = FrameStore([payload(name)], device=device), np.random.default_rng(5)
        made.append(settings.batch(store, (0, 1, 2), range(3), (64, 64), store.labels, generator))
    there, here = made
    boxes = all(np.array_equal(a, b) for a, b in zip(there.boxes, here.boxes, strict=True))
    apart = (there.pictures.cpu() - here.pictures).abs()
    # a pixel on a border of two tiles or of a window may fall to either side
    return {
        "max_levels": 255 * float(apart.flatten().quantile(0.999)),
        "share_over": float((apart > LIMIT).float().mean()),
        "ok": boxes and float((apart > LIMIT).float().mean()) < 1e-3,
    }


def memory_bound(setting: Setting, name: str) -> Row:
    """Memory that drawing takes beside its result, for a batch and for one four times as large."""
    if not setting.cuda:
        raise NotHereError("needs CUDA's memory counters")
    store, extra = FrameStore([payload(name)], device=setting.device), []
    for batch in MEMORY_BATCHES:
        store.render([0], MEMORY_SIZE)
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        out = store.render([i % 3 for i in range(batch)], MEMORY_SIZE)
        extra.append(torch.cuda.max_memory_allocated() - before - out.numel() * out.element_size())
        del out
    return {"extra_mib": [e / 2**20 for e in extra], "ok": extra[1] <= 1.2 * extra[0] + 2**24}


def fitted_twice(setting: Setting) -> Row:
    """Two fits with one seed: the same bytes."""
    codec, clip = codecs.create("residual", **FITS["residual"]), load(DATA)[0]
    first, second = (codec.encode(clip, seed=3, device=setting.device) for _ in range(2))
    return {"bytes": len(first), "ok": first == second}


def mixed_precision(setting: Setting) -> Row:
    """Training as it is done on CUDA against the same in float32: loss and mAP on frames held back."""
    from rinr_flower.detection import Yolo

    if not setting.cuda:
        raise NotHereError("mixed precision is used on CUDA only")
    clips = load(TRAIN_DATA)
    payloads = codecs.create("jpeg").encode_many(clips)
    store = FrameStore(payloads, device=setting.device)
    held_back = [i for i in range(len(store)) if i % 16 >= 12]
    trained = [i for i in range(len(store)) if i % 16 < 12]
    row: Row = {}
    for name, mixed in (("mixed", True), ("float32", False)):
        detector = Yolo(clips[0].class_names, device=setting.device, mixed_precision=mixed)
        log = detector.fit(store, trained, steps=TRAIN_STEPS, seed=0)
        found = detector.evaluate(store, held_back)
        row |= {f"{name}_loss": log.losses[-1], f"{name}_map50_95": found.map50_95}
        row[f"{name}_s"] = log.seconds_training
    return {**row, "ok": row["mixed_map50_95"] > row["float32_map50_95"] - 0.1}


def cases(setting: Setting) -> Iterator[Case]:
    """The networks first: a kernel that is wrong is what one wants to know."""
    order = [*NETWORKS, *(n for n in codecs.names() if n not in NETWORKS)]
    for name in order:
        yield Case(f"{name}: against float64", partial(against_float64, setting, name))
    for name in NETWORKS:
        if name != "nerv":
            yield Case(f"{name}: fused against plain torch", partial(fused_against_plain, setting, name))
    for name in NETWORKS:
        yield Case(f"{name}: alone and in a batch", partial(any_batch, setting, name))
        yield Case(f"{name}: augmentation", partial(augmentation, setting, name))
        yield Case(f"{name}: memory", partial(memory_bound, setting, name))
    for name in order:
        yield Case(f"{name}: the same bytes", partial(same_bytes, setting, name))
    yield Case("residual: fitted twice", partial(fitted_twice, setting))
    yield Case("mixed precision", partial(mixed_precision, setting))
