"""Speed of decoding, augmentation and training, against JPEG files.

    python benchmarks/speed.py decode
    python benchmarks/speed.py augment
    python benchmarks/speed.py train

Each has its own options (``python benchmarks/speed.py decode --help``) and its own file of results. Wall time: the
machine must be quiet.
"""

import sys

from lib import speed_augment, speed_decode, speed_train

PARTS = {"decode": speed_decode.main, "augment": speed_augment.main, "train": speed_train.main}

if __name__ == "__main__":
    part = sys.argv[1] if len(sys.argv) > 1 else ""
    if part not in PARTS:
        sys.exit(f"{__doc__}\nsay which: {', '.join(PARTS)}")
    PARTS[part](sys.argv[2:])
