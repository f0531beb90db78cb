"""The picture of the README, from a run's own examples."""

from __future__ import annotations

import argparse
from pathlib import Path

from PIL import Image, ImageDraw

from rinr_flower.report import RunRecord

EDGE = 132  # width in pixels of the column with the zoomed object


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of a finished run")
    parser.add_argument("out", type=Path, nargs="?", default=Path("docs/images/examples.png"), help="the picture")
    options = parser.parse_args()
    run, out = options.run, options.out
    examples = RunRecord.load(run).examples[:3]
    width, height = Image.open(run / examples[0].original).size
    sheet = Image.new("RGB", (EDGE + len(examples) * (width + 8), 2 * (height + 26)), "white")
    draw = ImageDraw.Draw(sheet)
    for column, example in enumerate(examples):
        for row, (title, file) in enumerate((("camera JPEG", example.original), ("scene payload", example.decoded))):
            picture = Image.open(run / file).convert("RGB")
            left, top = EDGE + column * (width + 8), row * (height + 26) + 2
            sheet.paste(picture, (left, top))
            x1, y1, x2, y2 = example.box
            draw.rectangle((left + x1, top + y1, left + x2, top + y2), outline=(255, 60, 60))
            if column == 0:
                crop = picture.crop((int(x1), int(y1), int(x2) + 1, int(y2) + 1))
                scale = 120 / max(crop.size)
                crop = crop.resize((int(crop.width * scale), int(crop.height * scale)), Image.Resampling.NEAREST)
                draw.text((4, top + 4), title, fill="black")
                sheet.paste(crop, (4, top + 26))
    out.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(out)


if __name__ == "__main__":
    main()
