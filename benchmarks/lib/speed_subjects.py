"""Subjects of the decoding benchmark: every registered codec in a FrameStore, and JPEG files decoded by libraries."""

from __future__ import annotations

import importlib
import io
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode

from rinr_flower.codecs import codecs
from rinr_flower.decoding import FrameStore
from rinr_flower.decoding.cache import holds_pictures
from rinr_flower.frames import Clip, write_jpeg

from .code_hash import code_of

Size = tuple[int, int]
Draw = Callable[[Sequence[int], Size], torch.Tensor]
"""Frame numbers and (height, width) to pictures float32 (batch, 3, height, width), RGB 0..1, on the device."""

SHORT_FITS: Mapping[str, Mapping[str, Any]] = {
    "rapid_inr": {"hidden": 28, "layers": 10, "steps": 5},
    "residual": {"background.hidden": 28, "background.layers": 10, "background.steps": 5, "steps": 5, "candidates": 1},
    "nerv": {"steps": 5},
}
"""The published shapes. Fits are cut short: how long a network takes to draw depends on its shape alone."""


@dataclass
class Subject:
    """One way to get pictures.

    Attributes
    ----------
    name : as it stands in the results.
    payload_bytes : of the whole clip.
    arrive : from bytes to something that draws; None where every picture is decoded anew.
    draw : what a warm subject draws with.
    code : modules of ``rinr_flower`` that its speed depends on.
    flops : multiply-adds times two of one frame of a size in matrix products and convolutions.
    resident_bytes_per_frame : all bytes of the payloads on the device, over their frames.
    """

    name: str
    payload_bytes: int
    draw: Draw
    arrive: Callable[[], Draw] | None = None
    code: Sequence[str] = ("rinr_flower.frames",)
    flops: dict[Size, int] = field(default_factory=dict)
    resident_bytes_per_frame: float = 0.0


def store_subjects(name: str, clip: Clip, device: torch.device, sizes: Sequence[Size]) -> list[Subject]:
    """A codec's payload of ``clip``, drawn anew each time and, where that makes a difference, kept decoded."""
    codec = codecs.create(name, **SHORT_FITS.get(name, {}))
    payload, code = codec.encode(clip), [*code_of(codec), "rinr_flower.decoding.store"]

    def arrive() -> Draw:
        return FrameStore([payload], device=device).render

    subject = Subject(name, len(payload), arrive(), arrive, code)
    if holds_pictures(name, device):
        return [subject]
    counted = FrameStore([payload])  # plain torch, whose products the counter sees
    for size in sizes:
        with FlopCounterMode(display=False) as counter:
            counted.render([0], size)
        subject.flops[size] = counter.get_total_flops()
    kept = FrameStore([payload], device=device, cache_bytes=3 * clip.width * clip.height * len(clip))
    return [subject, Subject(f"{name}, kept decoded", len(payload), kept.render, code=code)]


def jpeg_subjects(clip: Clip, device: torch.device, threads: int) -> tuple[list[Subject], dict[str, str]]:
    """The libraries that can decode JPEG files here, ``threads`` files at a time, and why others cannot."""
    files = [write_jpeg(frame.image, 95) for frame in clip.frames]  # as the codec jpeg does
    pool = ThreadPoolExecutor(threads)

    def pillow(number: int, size: Size) -> torch.Tensor:
        picture = Image.open(io.BytesIO(files[number])).convert("RGB").resize(size[::-1], Image.Resampling.BILINEAR)
        return torch.from_numpy(np.array(picture))

    def opencv(number: int, size: Size) -> torch.Tensor:
        picture = cv2.imdecode(np.frombuffer(files[number], np.uint8), cv2.IMREAD_COLOR)
        picture = cv2.resize(picture, size[::-1], interpolation=cv2.INTER_LINEAR)
        return torch.from_numpy(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB))

    def batched(one: Callable[[int, Size], torch.Tensor]) -> Draw:
        def draw(numbers: Sequence[int], size: Size) -> torch.Tensor:
            several = pool.map if len(numbers) > 1 else map
            pictures = torch.stack(list(several(lambda n: one(n, size), numbers)))
            return pictures.to(device).permute(0, 3, 1, 2).float().div_(255)

        return draw

    total = sum(map(len, files))
    found = [Subject("JPEG, Pillow", total, batched(pillow)), Subject("JPEG, OpenCV", total, batched(opencv))]
    absent = {}
    try:
        decode: Any = importlib.import_module("torchvision.io").decode_jpeg
    except (ImportError, RuntimeError) as error:
        absent["JPEG, torchvision"] = absent["JPEG, nvJPEG"] = f"torchvision cannot be imported: {error}"
        return found, absent
    raw = [torch.frombuffer(bytearray(f), dtype=torch.uint8) for f in files]

    def torchvision(number: int, size: Size) -> torch.Tensor:
        picture = decode(raw[number])[None].float()
        return F.interpolate(picture, size, mode="bilinear", antialias=True)[0].permute(1, 2, 0)

    def nvjpeg(numbers: Sequence[int], size: Size) -> torch.Tensor:
        pictures = torch.stack(decode([raw[n] for n in numbers], device=device)).float()
        return F.interpolate(pictures, size, mode="bilinear", antialias=True).div_(255)

    found.append(Subject("JPEG, torchvision", total, batched(torchvision)))
    if device.type == "cuda":
        found.append(Subject("JPEG, nvJPEG", total, nvjpeg))
    else:
        absent["JPEG, nvJPEG"] = "needs CUDA"
    return found, absent
