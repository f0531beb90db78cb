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

from scene_clips import crafted, texture, with_heads
from test_codec_contract import CLIP, NAMES, payload  # type: ignore[import-not-found]

from rinr_flower.bitstream.container import VERSION
from rinr_flower.codecs import Scene, codecs, decode
from rinr_flower.frames import Clip

HERE = Path(__file__).parent


def keyed() -> bytes:
    """A still scene, so that its coarse frames borrow from the key frame."""
    still = (replace(frame, image=np.roll(CLIP.frames[0].image, k, axis=1)) for k, frame in enumerate(CLIP.frames))
    return codecs.create("roi_jpeg", key_every=4).encode(replace(CLIP, frames=tuple(still)), seed=3)


def panned(*, grey: bool = False) -> Clip:
    """A scene that a camera pans over while a lamp goes on and off; one object moves against it, with CLIP's boxes."""
    height, width = CLIP.height, CLIP.width
    scene, thing = texture(height, width + 20, seed=2), texture(16, 16, seed=3, cell=5)
    y, x = np.mgrid[0:height, 0:width]
    lamp = 25 * np.exp(-((x - 52) ** 2 + (y - 40) ** 2) / 100)[..., None]
    frames = []
    for t, frame in enumerate(CLIP.frames):
        image = scene[:, 2 * t : 2 * t + width] + lamp * np.cos(2 * np.pi * t / 5)
        image[20:36, 10 + 3 * t : 26 + 3 * t] = thing
        if grey:
            image = np.repeat(image.mean(axis=2, keepdims=True), 3, axis=2)
        frames.append(replace(frame, image=image.clip(0, 255).astype(np.uint8)))
    return replace(CLIP, frames=tuple(frames))


def main() -> None:
    scene = Scene(preset="fast")
    makers = {name: partial(payload, name) for name in NAMES}
    makers |= {"roi_jpeg-keys": keyed, "scene-heads": lambda: with_heads(payload("scene"))}
    # qualities and seed at which no value lies within 5e-5 of a half before it is rounded: no machine's sums round it
    # the other way
    makers |= {
        "scene-panned": lambda: replace(scene, quality=70).encode(panned()),
        "scene-grey": lambda: replace(scene, quality=80).encode(panned(grey=True)),
        "scene-wide": lambda: replace(scene, quality=75, max_width=48).encode(panned()),
        "scene-crafted": lambda: crafted(CLIP, (42, 54), [4, 1], seed=119),
    }
    for name, make in makers.items():
        file = HERE / f"v{VERSION}-{name}.rinr"
        if not file.exists():
            data = make()
            file.write_bytes(data)
            np.savez_compressed(file.with_suffix(".npz"), images=decode(data).images())


if __name__ == "__main__":
    main()
