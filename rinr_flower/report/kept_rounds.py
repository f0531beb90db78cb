"""Sections of ``run.json`` for a run without one, from the state that the fog node kept after each whole round."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from rinr_flower.bitstream.container import Payload
from rinr_flower.errors import RinrError
from rinr_flower.files import read_record, recall


def kept_values(folder: Path) -> dict[str, Any]:
    """Sections of ``run.json`` from the files of a run's rounds and its payloads; empty if there are none.

    PSNR, decoding time, rivals and accuracy before training are measured at the end of a run only.
    """
    states: list[Mapping[str, Any]] = []
    with suppress(RinrError):  # the round that was going on
        while True:
            states.append(read_record(folder / "rounds" / f"{len(states):03d}.json"))
    if not states:
        return {}
    scenario: Any = {"upload": states[0]["strategy"]["upload"]}
    with suppress(OSError, ValueError, yaml.YAMLError):
        scenario = yaml.safe_load((folder / "scenario.yaml").read_text(encoding="utf-8"))
    payloads = [_payload_row(item, folder) for state in states for item in state["shared"]]
    trained = {(item["round"], item["device"]): item["metrics"] for state in states for item in state["trained"]}
    return {
        "scenario": scenario if isinstance(scenario, Mapping) else {},
        "devices": [
            {
                "name": name,
                "clips": [p["clip"] for p in payloads if p["device"] == name],
                "camera_bytes": sum(p["camera_bytes"] for p in payloads if p["device"] == name),
                "frames": sum(p["frames"] for p in payloads if p["device"] == name),
            }
            for name in sorted(states[-1]["devices"])
        ],
        "payloads": payloads,
        "accuracy": [
            accuracy_row(
                item["round"], item["device"], item["metrics"], trained.get((item["round"], item["device"]), {})
            )
            for state in states
            for item in state["evaluated"]
        ],
        "failures": [item for state in states for item in state["failures"]],
        "stored": [item for state in states for item in state["stored"]],
    }


def accuracy_row(number: int, device: str, evaluated: Mapping[str, Any], trained: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of an AccuracyRecord: what a device measured after round ``number``, and what its training there took.

    NaN where a metric is no number; None for a number of examples that is not whole: a weight, not frames.
    """
    frames = trained.get("num-examples", 0)
    return {
        "round": number,
        "device": device,
        "map50": _number(evaluated, "map50"),
        "map50_95": _number(evaluated, "map50-95"),
        "trained_frames": frames if isinstance(frames, int) else None,
        "render_seconds": _number(trained, "render-seconds"),
        "train_seconds": _number(trained, "train-seconds"),
    }


def _number(metrics: Mapping[str, Any], name: str) -> float:
    value = metrics.get(name)
    return float(value) if isinstance(value, int | float) else math.nan


def _payload_row(item: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Fields of a PayloadRecord; those that the payload's file holds are unknown if it cannot be read."""
    name, size = item["payload"]
    row = {key: item[key] for key in ("round", "device", "clip", "camera_bytes", "encode_seconds")}
    row |= {"upload_bytes": item["upload"][1], "payload_bytes": size}
    row |= {"codec": "unknown", "frames": 0, "width": 0, "height": 0}
    with suppress(RinrError):
        payload = Payload.from_bytes(recall(folder / "payloads", name, ".rinr"))
        row |= {"codec": payload.codec, "frames": len(payload), "width": payload.width, "height": payload.height}
        row["bytes_by_part"] = payload.bytes_by_part()
    return row
