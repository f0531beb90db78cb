"""Take a run of ``bandwidth-report --reproduce`` into the results and its figures into the docs.

    bandwidth-report --reproduce --profile hour --data otb100:DIR/Crossing --data uav123:DIR --out RUN
    python benchmarks/reproduction.py RUN

Do so with the code that the run was made with: its hash is written down now.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path

from lib.code_hash import code_of
from lib.command import command
from lib.results import FOLDER, Row, write_result

from rinr_flower.codecs import codecs
from rinr_flower.errors import DataError
from rinr_flower.report.experiment import BACKGROUNDS, RIVALS

FIGURES = Path(__file__).parents[1] / "docs" / "images" / "reproduction"
TABLES = ("quality", "networks", "claims", "scores", "transmission", "summary")
TRAINED = ("rinr_flower.detection.yolo", "rinr_flower.detection.factory", "rinr_flower.updates")
"""Modules that training and updates depend on."""


def depends_on(row: Row) -> list[str]:
    """Modules that a row's figures depend on: of its codec, and of training."""
    if row["kind"] == "updates":
        return list(TRAINED)
    name, *_ = RIVALS.get(row["row"], ("residual",))
    background = BACKGROUNDS.get(row["row"].rpartition(" ")[0], name)
    modules = [*code_of(codecs.create(background)), *code_of(codecs.create(name))]
    return [*dict.fromkeys(modules), *(TRAINED if row["kind"] == "accuracy" else ())]


@command
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder that the command wrote")
    parser.add_argument("--out", type=Path, default=FOLDER / "reproduction.json")
    parser.add_argument("--figures", type=Path, default=FIGURES, help="folder for the figures")
    options = parser.parse_args()
    try:
        found = json.loads((options.run / "reproduction.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{options.run} is no folder of 'bandwidth-report --reproduce': {error}") from error
    rows = [{"kind": kind, **row} for kind in ("clips", "accuracy", "updates") for row in found[kind]]
    summary = {key: found[key] for key in ("deviations", "detector_bytes", "cpu_seconds", *TABLES)}
    write_result(
        options.out, command=found["command"], code=depends_on, rows=rows, settings=found["experiment"], summary=summary
    )
    options.figures.mkdir(parents=True, exist_ok=True)
    for path in sorted([*options.run.glob("*.png"), *options.run.glob("*.svg")]):
        shutil.copyfile(path, options.figures / path.name)


if __name__ == "__main__":
    sys.exit(main())
