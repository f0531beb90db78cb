"""Write a golden payload and its pictures for every registered codec that has none yet in this format version, and for
every variant that is decoded in another way."""

from __future__ import annotations

import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "contract"))
sys.path.insert(0, str(Path(__file__).parents[1] / "shared"))

from scene_clips import with_heads
from test_codec_contract import CLIP, NAMES, payload  # type: ignore[import-not-found]

from rinr_flower.bitstream.container import VERSION
from rinr_flower.codecs import codecs, decode

HERE = Path(__file__).parent


def keyed() -> bytes:
    """A still scene, so that its coarse frames borrow from the key frame."""
    still = (replace(frame, image=np.roll(CLIP.frames[0].image, k, axis=1)) for k, frame in enumerate(CLIP.frames))
    return codecs.create("roi_jpeg", key_every=4).encode(replace(CLIP, frames=tuple(still)), seed=3)


def main() -> None:
    makers = {name: partial(payload, name) for name in NAMES}
    makers |= {"roi_jpeg-keys": keyed, "scene-heads": lambda: with_heads(payload("scene"))}
    for name, make in makers.items():
        file = HERE / f"v{VERSION}-{name}.rinr"
        if not file.exists():
            data = make()
            file.write_bytes(data)
            np.savez_compressed(file.with_suffix(".npz"), images=decode(data).images())


if __name__ == "__main__":
    main()
