"""Make a COCO data set of generated pictures of many sizes, as people's collections have them.

python benchmarks/coco_like.py OUT --pictures 500
flower-simulation --data coco:OUT/annotations/instances_train.json --set frames_per_clip=16 --set holdout=16
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from rinr_flower.datasets import sources

SIZES = [(640, 480), (480, 640), (640, 427), (427, 640), (640, 426), (500, 375), (375, 500), (612, 612), (640, 360)]


def main() -> None:
    """Write images/*.jpg and annotations/instances_train.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--pictures", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    generator = np.random.default_rng(options.seed)
    (options.out / "images").mkdir(parents=True)
    (options.out / "annotations").mkdir()
    images, annotations = [], []
    for number in range(options.pictures):
        width, height = SIZES[int(generator.integers(len(SIZES)))]
        if generator.random() < 0.4:  # the tail of sizes that occur once or twice
            width, height = width - int(generator.integers(1, 90)), height - int(generator.integers(1, 90))
        (source,) = sources(f"sample:sequences=1,frames=1,first={number},width={width},height={height}")
        frame, _ = source.shots[0].frame()
        (options.out / f"images/{number:06d}.jpg").write_bytes(frame.file)
        images.append({"id": number, "file_name": f"{number:06d}.jpg", "width": width, "height": height})
        for x1, y1, x2, y2 in frame.boxes.astype(float).tolist():
            row = {"id": len(annotations), "image_id": number, "category_id": 1, "iscrowd": 0}
            annotations.append({**row, "bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1)})
    content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "cup"}]}
    (options.out / "annotations/instances_train.json").write_text(json.dumps(content))


if __name__ == "__main__":
    main()
