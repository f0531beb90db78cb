"""Trains YOLOv8 with ultralytics on frames rendered from payloads: no Flower, no image files.

python train.py [EPOCHS]
"""

import sys
from pathlib import Path

from ultralytics import YOLO

from rinr_flower.codecs import codecs
from rinr_flower.datasets import load
from rinr_flower.decoding import FrameStore
from rinr_flower.detection import RinrTrainer

SOURCE = "sample:sequences=4"  # or your own: yolo:my/data.yaml, coco:instances.json, folder:photos; see docs/data.md

# What a device would receive: 32 frames of every sequence as one payload each.
clips = load(SOURCE, frames=slice(0, 32))
payloads = codecs.create("scene").encode_many(clips)
files = sum(clip.file_bytes() for clip in clips)
print(f"{sum(map(len, payloads)):,} bytes of payloads in place of {files:,} bytes of JPEG files")

# What it is judged by: later frames as the camera took them (the codec "jpeg" keeps the camera's own files).
later = codecs.create("jpeg").encode_many(load(SOURCE, frames=slice(32, 48)))

YOLO("yolov8n.yaml").train(
    trainer=RinrTrainer,
    data={"train": FrameStore(payloads), "val": FrameStore(later)},
    imgsz=160,
    epochs=int(sys.argv[1]) if len(sys.argv) > 1 else 30,
    project=str(Path("runs").resolve()),  # a relative one would lie in the folder of ultralytics' settings
    name="without_flower",
    exist_ok=True,
)
