"""Cost of augmentation in coordinate space over the plain render.

    python benchmarks/speed.py augment [--data SPEC] [--batch 8] [--size 320] [--repeats 5] [--device cpu]

A batch of frames of 640x360 is rendered at ``size`` x ``size``: stretched (the plain render), letterboxed, through a
rotation with scale and shift, as mosaics of four frames, and with everything that ultralytics' defaults change, colour
too. The ways take turns, ``--repeats`` times, each repeat with its own random numbers, the same for all codecs;
medians are written. One CPU thread. Networks are fitted for five steps only: their speed depends on their shape alone.

``agreement_db``: PSNR of each augmented picture drawn straight from ``scene`` against the same one drawn from frames
that were decoded first; all pictures of all repeats.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table

from rinr_flower.codecs import codecs
from rinr_flower.datasets import load
from rinr_flower.decoding import FrameStore
from rinr_flower.decoding.augment import Augmentation
from rinr_flower.detection.batches import letterbox
from rinr_flower.quality import psnr_db

from .code_hash import code_of
from .results import FOLDER, write_result
from .speed_decode import HEIGHT, WIDTH, seconds
from .speed_subjects import SHORT_FITS

WAYS = {
    "affine": Augmentation(0, 0, 0, degrees=10, translate=0.1, scale=0.5, fliplr=0.5, mosaic=0),
    "mosaic": Augmentation(0, 0, 0, translate=0.1, scale=0.5, fliplr=0.5, mosaic=1),
    "everything": Augmentation(),
}
CACHED = ("residual", "scene")


def stores(payloads: dict[str, list[bytes]], device: torch.device, cache_bytes: int) -> dict[str, FrameStore]:
    """Every codec, and those of networks also with frames kept decoded."""
    found = {name: FrameStore(data, device=device) for name, data in payloads.items()}
    kept = {name: FrameStore(payloads[name], device=device, cache_bytes=cache_bytes) for name in CACHED}
    return found | {f"{name}, kept decoded": store for name, store in kept.items()}


def ways(store: FrameStore, frames: list[int], side: int, seed: int) -> dict[str, Callable[[], Any]]:
    """Each way to draw ``frames``, by its name."""
    size = (side, side)
    matrix = torch.tensor(np.stack([letterbox(store.frame_size(i), size) for i in frames]), dtype=torch.float32)

    def augmented(settings: Augmentation) -> Callable[[], Any]:
        generator = np.random.default_rng(seed)
        return lambda: settings.batch(store, frames, range(len(store)), size, store.labels, generator)

    return {
        "stretch": lambda: store.render(frames, size),
        "letterbox": lambda: store.render(frames, size, matrix=matrix),
        **{name: augmented(settings) for name, settings in WAYS.items()},
    }


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(
        "speed.py augment", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default=f"sample:sequences=2,frames=8,width={WIDTH},height={HEIGHT}")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--size", type=int, default=320)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, default=FOLDER / "speed_augment.json")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    device = torch.device(options.device)
    clips = load(options.data)
    made = {name: codecs.create(name, **SHORT_FITS.get(name, {})) for name in ("residual", "scene", "jpeg")}
    payloads = {name: [codec.encode(clip) for clip in clips] for name, codec in made.items()}
    found = stores(payloads, device, 3 * sum(len(c) * c.width * c.height for c in clips))
    times: dict[str, dict[str, list[float]]] = {name: {} for name in found}
    for store in found.values():  # fills the caches
        store.render(range(len(store)), (options.size, options.size))
    agreement: list[float] = []
    for repeat in track(range(-1, options.repeats), description="rendering"):  # the first warms up
        frames = np.random.default_rng(repeat + 1).integers(0, len(found["jpeg"]), options.batch).tolist()
        drawn = {name: ways(store, frames, options.size, repeat + 1) for name, store in found.items()}
        for way in WAYS:
            pairs = zip(drawn["scene"][way]().pictures, drawn["scene, kept decoded"][way]().pictures, strict=True)
            agreement += [psnr_db(float(((a - b) * 255).square().mean())) for a, b in pairs]
        for name, by_way in drawn.items():
            for way, draw in by_way.items():
                took = seconds(draw, device)
                if repeat >= 0:
                    times[name].setdefault(way, []).append(took)
    rows = []
    for name, by_way in times.items():
        medians = {way: 1_000 * statistics.median(took) for way, took in by_way.items()}
        rows.append({"codec": name, "ms": medians, "over_stretch": max(medians.values()) / medians["stretch"]})
    agreed = {"median": statistics.median(agreement), "least": min(agreement), "pictures": len(agreement)}
    settings = {key: str(getattr(options, key)) for key in ("data", "batch", "size", "repeats", "device")}
    write_result(
        options.out,
        command="python benchmarks/speed.py augment",
        code=[*dict.fromkeys(m for codec in made.values() for m in code_of(codec)), "rinr_flower.decoding.augment"],
        settings=settings,
        rows=rows,
        summary={"agreement_db": agreed},
    )
    table = Table("", *rows[0]["ms"], "most over stretch", title="ms a batch")
    for row in rows:
        table.add_row(row["codec"], *(f"{ms:.0f}" for ms in row["ms"].values()), f"{row['over_stretch']:.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()
