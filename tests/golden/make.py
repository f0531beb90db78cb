"""Write a golden payload and its pictures for every registered codec that has none yet in this format version."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "contract"))

from test_codec_contract import NAMES, payload  # type: ignore[import-not-found]

from rinr_flower.bitstream.container import VERSION
from rinr_flower.codecs import decode

HERE = Path(__file__).parent


def main() -> None:
    for name in NAMES:
        file = HERE / f"v{VERSION}-{name}.rinr"
        if not file.exists():
            file.write_bytes(payload(name))
            np.savez_compressed(file.with_suffix(".npz"), images=decode(payload(name)).images())


if __name__ == "__main__":
    main()
