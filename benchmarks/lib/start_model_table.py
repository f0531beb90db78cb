"""Bytes of a coded start model against its accuracy, as a table."""

from __future__ import annotations

from pathlib import Path

from .markdown import read, table


def start_model(results: Path) -> str:
    """One row a coding; points are differences of mAP50-95 to float32: mean and spread over the seeds, worst."""
    rows = []
    for coding, found in read(results / "start_model.json")["summary"].items():
        after, before = found["after"], found["before"]
        mean, spread, worst = (100 * found[key] for key in ("difference", "difference_stdev", "worst"))
        rows.append(
            (
                coding if coding.startswith("float") else f"steps of {coding}",
                f"{found['bytes']:,}",
                f"{found['map50_95']:.4f}",
                f"{mean:+.2f} ± {spread:.2f}; {worst:+.2f}",
                "-" if after is None else f"{before['map50_95']:.3f} to {after['map50_95']:.3f}",
            )
        )
    head = "", "bytes", "mAP50-95", "points to float32; worst", "three devices, two rounds"
    return table(head, rows)
