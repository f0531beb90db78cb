"""Encode: INR fits on the device and ``scene``, in seconds a frame, bytes and dB."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch

from rinr_flower.codecs import Codec, codecs, decode
from rinr_flower.frames import Clip
from rinr_flower.quality import measure

from ..results import Row
from ..speed_decode import seconds
from .case import Case, NotHereError
from .setting import Setting

FITTED = ("rapid_inr", "residual", "nerv")
PROCESSOR_THREADS = 2
PROCESSOR_STEPS = (2, 6)
"""Two short fits on the processor: their difference is what a step costs."""

NERV_STEPS = 600  # of 2,000: enough for what a step costs and for a rough picture


def options_of(name: str, steps: int | None) -> dict[str, Any]:
    """A codec's options with ``steps`` of fitting; None leaves its own number."""
    if name == "nerv" and steps is None:
        steps = NERV_STEPS
    if steps is None:
        return {}
    return {"background.steps": steps, "steps": steps} if name == "residual" else {"steps": steps}


def clips_of(setting: Setting, clips: int) -> list[Clip]:
    """That many clips, each cut to the frames that are encoded."""
    found = setting.clips()
    return [found[i % len(found)][: setting.scale.encode_frames] for i in range(clips)]


def fitted(setting: Setting, name: str, clips: int) -> Row:
    """A codec of networks, fitted on the device, ``clips`` clips at once."""
    codec = codecs.create(name, **options_of(name, setting.scale.fit_steps))
    return encoded(codec, clips_of(setting, clips), setting.device)


def encoded(codec: Codec, clips: list[Clip], device: torch.device) -> Row:
    """Seconds a frame, bytes a frame and quality of ``clips`` encoded at once."""
    made: list[bytes] = []
    took = seconds(lambda: made.extend(codec.encode_many(clips, device=device)), device)
    frames = sum(map(len, clips))
    quality = measure(clips[0], decode(made[0], device=device))
    return {
        "seconds_per_frame": took / frames,
        "bytes_per_frame": sum(map(len, made)) / frames,
        "frame_db": quality.frame_db,
        "object_db": quality.object_db,
    }


def on_the_processor(setting: Setting, name: str) -> Row:
    """Seconds a frame on two threads, projected from what a step costs there."""
    clip, steps = clips_of(setting, 1), PROCESSOR_STEPS
    if (os.cpu_count() or 1) < PROCESSOR_THREADS:
        raise NotHereError(f"needs {PROCESSOR_THREADS} processors")
    before = torch.get_num_threads()
    torch.set_num_threads(PROCESSOR_THREADS)
    took = []
    try:
        for count in steps:
            codec = codecs.create(name, **options_of(name, count))
            start = time.perf_counter()
            codec.encode_many(clip)
            took.append(time.perf_counter() - start)
    finally:
        torch.set_num_threads(before)
    full = options_of(name, setting.scale.fit_steps).get("steps", getattr(codecs.create(name), "steps", 0))
    per_step = (took[1] - took[0]) / (steps[1] - steps[0])
    return {
        "seconds_per_frame": max(took[0], took[0] + (full - steps[0]) * per_step) / len(clip[0]),
        "projected_from_steps": steps[1],
    }


def cases(setting: Setting) -> Iterator[Case]:
    """Each codec on the device, then on two threads of the processor."""
    for name in FITTED[:2]:
        yield Case(f"{name}, one clip", partial(fitted, setting, name, 1))
        yield Case(f"{name}, two threads", partial(on_the_processor, setting, name))
        yield Case(f"{name}, many clips", partial(fitted, setting, name, 2 if setting.quick else 8))
    scene = codecs.create("scene")
    yield Case("scene", lambda: encoded(scene, clips_of(setting, 1), setting.device))
    yield Case("nerv, one clip", partial(fitted, setting, "nerv", 1))
    yield Case("nerv, two threads", partial(on_the_processor, setting, "nerv"))
