"""Grouping of SIRENs, in drawing and in fitting: many networks as one batched product against one by one.

    python benchmarks/grouping.py [--device cpu] [--repeats 5]

Networks have the published shapes and are drawn over the published areas: whole frames of 640x360, and boxes of each
size class. ``values_at_once`` are the values of one layer that a product makes: the table gives the time of grouped
drawing for sizes around the one that this machine's cache asks for (``chosen``). Fitting is one step of every network.
Times are medians of interleaved repeats; the largest difference between results is written beside them.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from lib.results import FOLDER, write_result
from rich.console import Console
from rich.table import Table

from rinr_flower.bitstream.weights import quantise
from rinr_flower.inr import siren
from rinr_flower.inr.shared_siren import SharedBank
from rinr_flower.inr.siren import ResidentBank, SirenShape, evaluate_grouped, initial_bank

CASES = {
    "backgrounds": (SirenShape(28, 10), 8, 640 * 360),
    "objects of 1,000 px": (SirenShape(10, 3), 32, 1_000),
    "objects of 3,000 px": (SirenShape(15, 3), 32, 3_000),
    "objects of 10,000 px": (SirenShape(17, 5), 32, 10_000),
    "objects of 30,000 px": (SirenShape(24, 5), 16, 30_000),
}
"""Shape, networks, and points of each."""
FITTED_POINTS = 2_048


def seconds(call: Callable[[], Any], device: torch.device) -> float:
    """Processor seconds of the one torch thread, which other work does not lengthen; on CUDA wall time."""
    if device.type != "cuda":
        start = time.process_time()
        call()
        return time.process_time() - start
    torch.cuda.synchronize(device)
    start = time.perf_counter()
    call()
    torch.cuda.synchronize(device)
    return time.perf_counter() - start


def medians(ways: dict[str, Callable[[], Any]], repeats: int, device: torch.device) -> dict[str, float]:
    """Median seconds of each way; the ways take turns."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for call in ways.values():
        call()
    for _ in range(repeats):
        for name, call in ways.items():
            times[name].append(seconds(call, device))
    return {name: statistics.median(t) for name, t in times.items()}


def drawing(shape: SirenShape, networks: int, points: int, device: torch.device, repeats: int) -> dict[str, Any]:
    """Grouped against one by one, and grouped with products of other sizes."""
    start = initial_bank(shape, networks, torch.Generator().manual_seed(0))
    bank = ResidentBank(shape, 8, device)
    bank.add([quantise(t.numpy(), 8, (0,)) for t in start])
    places = [(bank, i) for i in range(networks)]
    coordinates = list((torch.rand(networks, points, 2, device=device) * 2 - 1).unbind(0))
    chosen = siren.values_at_once(device)

    def grouped() -> list[torch.Tensor]:
        return evaluate_grouped(places, coordinates)

    def one_by_one() -> list[torch.Tensor]:
        return [evaluate_grouped([p], [c])[0] for p, c in zip(places, coordinates, strict=True)]

    def sized(values: int) -> Callable[[], Any]:
        def call() -> list[torch.Tensor]:
            with patch.object(siren, "values_at_once", lambda _: values):
                return grouped()

        return call

    worst = max((a - b).abs().max().item() for a, b in zip(grouped(), one_by_one(), strict=True))
    ways: dict[str, Callable[[], Any]] = {"grouped": grouped, "one by one": one_by_one}
    took = medians(ways | {f"2^{k}": sized(2**k) for k in range(14, 25, 2)}, repeats, device)
    return {
        "grouped_s": took["grouped"],
        "one_by_one_s": took["one by one"],
        "times_faster": took["one by one"] / took["grouped"],
        "largest_difference": worst,
        "chosen": chosen,
        "by_values_at_once_s": {name: t for name, t in took.items() if name.startswith("2^")},
    }


def fitting(shape: SirenShape, networks: int, device: torch.device, repeats: int) -> dict[str, Any]:
    """One step's forward and backward pass of all networks, grouped and one by one."""
    start = initial_bank(shape, networks, torch.Generator().manual_seed(0))
    still = torch.eye(2, 3).expand(networks, 1, -1, -1)
    banks = [SharedBank(shape, [t.clone() for t in start], still, device)]
    singles = [SharedBank(shape, [t[i : i + 1].clone() for t in start], still[:1], device) for i in range(networks)]
    points = torch.rand(networks, 1, FITTED_POINTS, 2, device=device) * 2 - 1

    def step(some: list[SharedBank]) -> None:
        size = networks // len(some)
        for number, bank in enumerate(some):
            for tensor in bank.parameters():
                tensor.grad = None
            bank(points[number * size : (number + 1) * size]).square().sum().backward()

    took = medians({"grouped": lambda: step(banks), "one": lambda: step(singles)}, repeats, device)
    alone = [torch.cat([p.grad for p in tensors]) for tensors in zip(*(b.parameters() for b in singles), strict=True)]
    found = [p.grad for p in banks[0].parameters()]
    worst = max(((a - b).abs().max() / b.abs().max()).item() for a, b in zip(found, alone, strict=True))
    return {
        "grouped_s": took["grouped"],
        "one_by_one_s": took["one"],
        "times_faster": took["one"] / took["grouped"],
        "largest_relative_difference_of_gradients": worst,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, default=FOLDER / "grouping.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    device = torch.device(options.device)
    rows = []
    for name, (shape, networks, points) in CASES.items():
        row = {"case": name, "networks": networks, "hidden": shape.hidden, "layers": shape.layers, "points": points}
        row["drawing"] = drawing(shape, networks, points, device, options.repeats)
        row["fitting"] = fitting(shape, networks, device, options.repeats)
        rows.append(row)
    command = f"python benchmarks/grouping.py --device {options.device} --repeats {options.repeats}"
    write_result(options.out, command=command, code=["rinr_flower.inr.siren"], rows=rows)
    table = Table("case", "drawn grouped", "one by one", "times faster", "fitting: times faster", "by values at once")
    for row in rows:
        drawn, sizes = row["drawing"], row["drawing"]["by_values_at_once_s"]
        table.add_row(
            row["case"], f"{1000 * drawn['grouped_s']:.1f} ms", f"{1000 * drawn['one_by_one_s']:.1f} ms",
            f"{drawn['times_faster']:.2f}", f"{row['fitting']['times_faster']:.2f}",
            " ".join(f"{name}: {1000 * t:.1f}" for name, t in sizes.items()),
        )  # fmt: skip
    Console(width=170).print(table)


if __name__ == "__main__":
    main()
