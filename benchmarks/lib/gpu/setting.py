"""What all parts share: the device, how much is measured, the clips and their payloads."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from multiprocessing import get_context
from pathlib import Path

import torch

from rinr_flower.codecs import codecs
from rinr_flower.datasets import load
from rinr_flower.frames import Clip

from ..accuracy_codecs import PayloadCache, Route
from ..speed_subjects import SHORT_FITS

NETWORKS = ("scene", "rapid_inr", "residual", "nerv")
"""The codecs that draw with networks or canvases; the others decode to pixels once."""


@dataclass(frozen=True)
class Scale:
    """How much is measured.

    Attributes
    ----------
    data : the clips that are decoded, trained on and encoded.
    copies : how many times each clip's payload is resident, so that a batch of 256 shows as many frames.
    sizes, batches, repeats : of decoding; (height, width) in px.
    batch_limit_s : a batch that would take longer is left out.
    train_copies, models, train_size, train_batch : of training.
    workers : of ultralytics' loader.
    fit_steps : of INR fits; None is the codecs' own number.
    encode_frames : of the clip that is encoded.
    clients, client_steps, client_size : of processes that share the device.
    """

    data: str
    copies: int
    sizes: tuple[tuple[int, int], ...]
    batches: tuple[int, ...]
    repeats: int
    batch_limit_s: float
    train_copies: int
    models: tuple[str, ...]
    train_size: int
    train_batch: int
    workers: tuple[int, ...]
    fit_steps: int | None
    encode_frames: int
    clients: int
    client_steps: int
    client_size: int


FULL = Scale(
    data="sample:sequences=4,frames=32,width=640,height=360", copies=2, sizes=((180, 320), (360, 640)),
    batches=(1, 4, 16, 64, 256), repeats=5, batch_limit_s=0.5, train_copies=4, models=("yolov8n.yaml", "yolov8m.yaml"),
    train_size=640, train_batch=16, workers=(0, 2, 4, 8), fit_steps=None, encode_frames=32, clients=10, client_steps=40,
    client_size=320,
)  # fmt: skip
QUICK = Scale(
    data="sample:sequences=2,frames=4,width=96,height=64", copies=1, sizes=((32, 48), (64, 96)),
    batches=(1, 8), repeats=1, batch_limit_s=0.5, train_copies=1, models=("yolov8n.yaml",),
    train_size=64, train_batch=4, workers=(0, 2), fit_steps=4, encode_frames=2, clients=2, client_steps=1,
    client_size=64,
)  # fmt: skip


@dataclass(frozen=True)
class Setting:
    """``work`` is a folder for payloads, which a later run finds again."""

    device: torch.device
    quick: bool
    work: Path

    @property
    def scale(self) -> Scale:
        return QUICK if self.quick else FULL

    @property
    def device_name(self) -> str:
        """The accelerator, or ``cpu``."""
        return torch.cuda.get_device_name(self.device) if self.cuda else "cpu"

    @property
    def cuda(self) -> bool:
        return self.device.type == "cuda"

    def clips(self) -> list[Clip]:
        """The clips that are measured on."""
        return _load(self.scale.data)

    def payloads(self, name: str) -> list[bytes]:
        """Every clip as codec ``name`` has it; networks are fitted for few steps, their speed is that of their shape.

        ``scene`` is encoded by as many processes as there are clips, because it computes on the processor.
        """
        todo = [(self, name, number) for number in range(len(self.clips()))]
        if name != "scene" or self.quick:
            return [_encode(*one) for one in todo]
        with ProcessPoolExecutor(len(todo), mp_context=get_context("spawn")) as pool:
            return list(pool.map(_encode, *zip(*todo, strict=True)))


@cache
def _load(data: str) -> list[Clip]:
    return load(data)


def _encode(setting: Setting, name: str, number: int) -> bytes:
    cache_folder = PayloadCache(setting.work / "payloads", setting.device)
    codec = codecs.create(name, **SHORT_FITS.get(name, {}))
    return cache_folder.send(Route(name, codec, None), setting.clips()[number]).payload
