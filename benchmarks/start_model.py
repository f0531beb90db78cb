"""Bytes of the coded start model against accuracy, before training and after two rounds of it.

Writes ``benchmarks/results/start_model.json``: the main job's YOLOv8n, coded in several steps, judged on the frames
that ten devices hold back, for three seeds of the generated data; and, for one seed, what three devices make of it in
two rounds with the camera's files of all ten.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch
from lib.results import FOLDER, write_result

from rinr_flower.array_file import Arrays
from rinr_flower.bitstream.container import Payload
from rinr_flower.clients import DeviceFolder, EdgeDevice, Training
from rinr_flower.files import name_of
from rinr_flower.messages.coded_model import StartModel
from rinr_flower.messages.common_model import tensors_of
from rinr_flower.messages.records import arrays_of_record, record_of, size_of
from rinr_flower.simulations.fleet import equip, shares_of
from rinr_flower.simulations.scenario import Scenario
from rinr_flower.simulations.start_model import start_model
from rinr_flower.updates import Float16, apply_update

CODE = ("rinr_flower.messages.coded_model",)
STEPS = (0.005, 0.01, 0.02, 0.03, 0.04, 0.05, 0.07, 0.1, 0.2, 0.4)
SEEDS = (0, 1, 2)
TRAINED = ("float32", 0.01, 0.02, 0.1)
TRAINERS, ROUNDS = 3, 2


def codings(model: Arrays) -> dict[str | float, tuple[int, Arrays]]:
    """Name or step to bytes and weights."""
    arrays = record_of(model)
    found: dict[str | float, tuple[int, Arrays]] = {"float32": (size_of(arrays), model)}
    state = tensors_of(arrays)
    zeros = {name: torch.zeros_like(tensor) for name, tensor in state.items()}
    halves = Float16().compress(zeros, state)
    found["float16"] = len(halves), {name: tensor.numpy() for name, tensor in apply_update(zeros, halves).items()}
    for step in STEPS:
        start = StartModel.of(arrays, step=step)
        assert start.coded is not None
        found[step] = len(start.coded), arrays_of_record(start.arrays)
    return found


def judged(folders: Sequence[DeviceFolder], models: Sequence[Arrays], training: Training) -> dict[str, float]:
    """Mean mAP of models on the frames that their devices hold back."""
    found = [
        EdgeDevice(folder).evaluate(folder.held_back(), model, training)
        for folder, model in zip(folders, models, strict=True)
    ]
    return {"map50": mean(a.map50 for a in found), "map50_95": mean(a.map50_95 for a in found)}


def trained(folders: Sequence[DeviceFolder], number: int, model: Arrays, training: Training) -> Arrays:
    """The model that a device has after the rounds, with the captures of all."""
    state = model
    for server_round in range(1, ROUNDS + 1):
        others = [clip.data for f in folders if f is not folders[number] for clip in f.captured_until(server_round)]
        received = {name_of(data): data for data in others}
        own = folders[number].captured_until(server_round)
        state = EdgeDevice(folders[number]).train(server_round, own, received, state, training).model
    return state


def measure(seed: int) -> list[dict[str, Any]]:
    """The rows of a seed."""
    scenario = Scenario(seed=seed, num_clients=10, rounds=ROUNDS)
    rows = []
    with tempfile.TemporaryDirectory() as place:
        folders = equip(shares_of(scenario), Path(place))
        names = Payload.from_bytes(folders[0].held_back()[0].data).class_names
        training = Training(
            class_names=names, detector=scenario.detector, image_size=scenario.image_size, steps=scenario.steps,
            batch=scenario.batch, learning_rate=scenario.learning_rate, seed=seed,
        )  # fmt: skip
        for coding, (size, model) in codings(start_model(scenario, names, torch.device("cpu"))).items():
            row = {"seed": seed, "coding": coding, "bytes": size, **judged(folders, [model] * len(folders), training)}
            if seed == SEEDS[0] and coding in TRAINED:
                few = folders[:TRAINERS]
                ends = [trained(folders, number, model, training) for number in range(TRAINERS)]
                row["before"] = judged(few, [model] * TRAINERS, training)
                row["after"] = judged(few, ends, training)
            rows.append(row)
            print(row, flush=True)
    return rows


def summary(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """By coding: bytes, mean mAP, and mean and spread of the difference of mAP50-95 to float32."""
    full = {r["seed"]: r["map50_95"] for r in rows if r["coding"] == "float32"}
    found = {}
    for coding in dict.fromkeys(r["coding"] for r in rows):
        mine = [r for r in rows if r["coding"] == coding]
        differences = [r["map50_95"] - full[r["seed"]] for r in mine]
        found[str(coding)] = {
            "bytes": mine[0]["bytes"],
            "map50": mean(r["map50"] for r in mine),
            "map50_95": mean(r["map50_95"] for r in mine),
            "difference": mean(differences),
            "difference_stdev": stdev(differences),
            "worst": min(differences),
            "after": mine[0].get("after"),
            "before": mine[0].get("before"),
        }
    return found


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    torch.set_num_threads(1)
    rows = [row for seed in SEEDS for row in measure(seed)]
    command = "python benchmarks/start_model.py"
    write_result(FOLDER / "start_model.json", command=command, code=CODE, rows=rows, summary=summary(rows))


if __name__ == "__main__":
    main()
