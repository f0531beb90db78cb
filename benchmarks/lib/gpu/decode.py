"""Decode: frames a second of every network codec, against JPEG decoded by libraries."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from functools import cache, partial
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from rinr_flower.decoding import FrameStore
from rinr_flower.frames import Clip

from ..results import Row
from ..speed_decode import arrive_case, ceilings, draw_case, seconds
from ..speed_subjects import Draw, Size, Subject, jpeg_subjects
from .case import Case
from .right import plain_torch
from .setting import NETWORKS, Setting

OPENED_TOGETHER = 32


@cache
def subjects(setting: Setting) -> tuple[list[Subject], dict[str, str]]:
    """Everything that draws, over the same frames, and what cannot be compared here."""
    found = [subject for name in NETWORKS for subject in of_codec(setting, name)]
    clips = setting.clips()
    together = Clip("all", tuple(f for _ in range(setting.scale.copies) for c in clips for f in c.frames))
    jpegs, absent = jpeg_subjects(together, setting.device, torch.get_num_threads())
    return found + jpegs, absent


def of_codec(setting: Setting, name: str) -> list[Subject]:
    """A codec, and where a fused kernel draws it, the same without the kernel."""
    payloads = setting.payloads(name)

    def arrive() -> Draw:
        return FrameStore(payloads[:1], device=setting.device).render

    def full() -> FrameStore:
        return FrameStore(payloads * setting.scale.copies, device=setting.device)

    store, size = full(), sum(map(len, payloads))
    made = [Subject(name, size, store.render, arrive, resident_bytes_per_frame=store.resident_bytes / len(store))]
    if setting.cuda and name != "nerv":
        with plain_torch():
            made.append(Subject(f"{name}, plain torch", size, full().render))
    with plain_torch():
        counted = FrameStore(payloads[:1])  # on the processor, whose products the counter sees
    for at in setting.scale.sizes:
        with FlopCounterMode(display=False) as counter:
            counted.render([0], at)
        for subject in made:
            subject.flops[at] = counter.get_total_flops()
    return made


def ceilings_of(setting: Setting) -> Row:
    """What the device does at most, and what is not here to compare with."""
    return {**ceilings(setting.device), "absent": subjects(setting)[1]}


def warm(setting: Setting, size: Size, batch: int, expected: dict[str, float], limits: dict[str, Any]) -> list[Row]:
    """Frames a second of one batch size, with the work and the bytes of a frame."""
    options = argparse.Namespace(
        device=setting.device, limit=setting.scale.batch_limit_s, repeats=setting.scale.repeats
    )
    found, _ = subjects(setting)
    frames = setting.scale.copies * sum(map(len, setting.clips()))
    if not limits:
        limits.update(ceilings(setting.device))
    rows = draw_case(found, frames, size, batch, options, expected)
    for row, subject in zip(rows, found, strict=True):
        if "warm_frames_per_s" not in row:
            continue
        row["bytes_per_frame"] = 12 * size[0] * size[1] + subject.resident_bytes_per_frame
        row["multiply_adds_per_frame"] = row.pop("flops") // 2
        rate = row["warm_frames_per_s"]
        row["share_of_copy"] = rate * row["bytes_per_frame"] / limits["bytes_per_s"]
        row["share_of_products"] = 2 * rate * row["multiply_adds_per_frame"] / limits["operations_per_s"]
    return rows


def cold(setting: Setting, size: Size) -> list[Row]:
    """From one payload's bytes to its first picture, and to all of them."""
    options = argparse.Namespace(device=setting.device, repeats=setting.scale.repeats)
    found, _ = subjects(setting)
    return arrive_case(found, len(setting.clips()[0]), size, options)


def together(setting: Setting, name: str) -> Row:
    """Opening many payloads one after the other, and all at once."""
    payloads = setting.payloads(name)
    payloads = [payloads[i % len(payloads)] for i in range(2 * len(payloads) if setting.quick else OPENED_TOGETHER)]

    def one_by_one() -> None:
        store = FrameStore(device=setting.device)
        for data in payloads:
            store.add(data)

    return {
        "payloads": len(payloads),
        "one_by_one_s": seconds(one_by_one, setting.device),
        "at_once_s": seconds(lambda: FrameStore(payloads, device=setting.device), setting.device),
    }


def cases(setting: Setting) -> Iterator[Case]:
    """All sizes and batches, the large ones last: they take longest."""
    yield Case("ceilings", partial(ceilings_of, setting))
    limits: dict[str, Any] = {}
    for size in setting.scale.sizes:
        shown, expected = f"{size[1]}x{size[0]}", dict[str, float]()
        yield Case(f"cold, {shown}", partial(cold, setting, size))
        for batch in setting.scale.batches:
            yield Case(f"batch {batch}, {shown}", partial(warm, setting, size, batch, expected, limits))
    for name in NETWORKS:
        yield Case(f"many payloads of {name}", partial(together, setting, name))
