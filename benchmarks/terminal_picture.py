"""The terminal's picture in the README: what a finished run printed at its end, as SVG."""

from __future__ import annotations

import argparse
import io
import re
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from rinr_flower.report import RunRecord
from rinr_flower.simulations.ending import ending
from rinr_flower.simulations.result_table import show_result

COLUMNS = 100
COMMAND = "flower-simulation --num-clients 10"
FONTS = re.compile(r"@font-face \{.*?\}\n", re.DOTALL)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of a finished run")
    parser.add_argument("out", type=Path, nargs="?", default=Path("docs/images/terminal.svg"), help="the picture")
    options = parser.parse_args()
    run, out = options.run, options.out
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    record = replace(RunRecord.load(run), folder=Path("runs") / run.name)
    console.print(f"[bold]$ {COMMAND}[/bold]", highlight=False)
    for line in ending(record):
        console.print(line, highlight=False, markup=False)
    show_result(record, console)
    svg = console.export_svg(title="rinr_flower", unique_id="terminal")
    # without fonts from elsewhere: the lengths of all texts are in the picture, so any monospaced font will do
    svg = FONTS.sub("", svg).replace(
        "Fira Code, monospace", "ui-monospace, DejaVu Sans Mono, Menlo, Consolas, monospace"
    )
    out.write_text("\n".join(line.rstrip() for line in svg.splitlines()) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
