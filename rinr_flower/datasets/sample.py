"""The embedded default data set: sequences generated from real photographs, the same on every machine."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from rinr_flower.datasets.base import Dataset, datasets
from rinr_flower.datasets.scene import Family, Scene
from rinr_flower.datasets.source import Broken, Labels, Shot, Source
from rinr_flower.errors import ConfigError
from rinr_flower.frames import read_image, write_jpeg

MAX_FRAMES = 100_000


@datasets.register("sample")
@dataclass(frozen=True)
class Sample(Dataset):
    """A camera that pans, zooms and shakes over a photograph; a coffee cup moves over it and is labelled.

    Other cut-outs move too and are not labelled; one passes in front of the cup at times. Light, colour, motion blur,
    sensor noise and place differ from sequence to sequence. Frames are JPEG files as from a camera.

    The pictures before compression are computed in whole numbers and are the same everywhere; the JPEG files, and so
    the decoded pixels, are the same for the same libjpeg-turbo (the one that the pinned Pillow brings).

    Attributes
    ----------
    sequences : how many clips.
    frames : frames of each clip; a longer clip begins with the same frames.
    width, height : frame size in px; the scene is the same at every size.
    first : number of the first sequence; sequence k is the same whatever ``first`` and ``sequences`` are.
    family : ``devices`` or ``factory``: the second has other photographs, other distractors and other motion, and
        shares no frame with the first. It pre-trains a detector that has not seen the devices' scenes.
    quality : of the JPEG files, 1..95.
    """

    sequences: int = 10
    frames: int = 48
    width: int = 320
    height: int = 180
    first: int = 0
    family: Family = "devices"
    quality: int = 90

    def __post_init__(self) -> None:
        limits = {
            "sequences": (1, 10_000),
            "frames": (1, MAX_FRAMES),
            "width": (64, 4096),
            "height": (48, 4096),
            "first": (0, 1_000_000),
            "quality": (1, 95),
        }
        for field, (low, high) in limits.items():
            value = getattr(self, field)
            if not low <= value <= high:
                raise ConfigError(f"sample: {field}={value} is not in {low}..{high}")

    def sources(self, *, seed: int, broken: Broken) -> list[Source]:
        if seed < 0:
            raise ConfigError(f"sample: seed {seed} must not be negative")
        numbers = range(self.first, self.first + self.sequences)
        return [
            Source(f"{self.family}-{n:02d}", [Generated(self, n, seed, i) for i in range(self.frames)], ("cup",))
            for n in numbers
        ]


class Generated(Shot):
    """A frame of the sample; it is rendered each time it is read."""

    def __init__(self, sample: Sample, sequence: int, seed: int, index: int) -> None:
        self.name = f"sample {sequence}, frame {index}"
        self._of = (sample, sequence, seed)
        self._index = index

    @cached_property
    def size(self) -> tuple[int, int]:
        return self._of[0].width, self._of[0].height

    @cached_property
    def labels(self) -> Labels:
        return _labels(_scene(*self._of).render(self._index)[1])

    def picture(self) -> tuple[NDArray[np.uint8], bytes]:
        """Render the frame, and read it back from its JPEG file."""
        picture, extents = _scene(*self._of).render(self._index)
        self.labels = _labels(extents)
        file = write_jpeg(picture, self._of[0].quality)
        return read_image(file, name=self.name), file

    def check(self) -> None:
        """Nothing can be wrong with it."""


def _labels(extents: NDArray[np.float64]) -> Labels:
    return Labels(extents, np.zeros(len(extents), np.int64))


@lru_cache(maxsize=1)  # frames are read sequence after sequence; a scene holds its photographs
def _scene(sample: Sample, number: int, seed: int) -> Scene:
    return Scene(sample.family, number, seed, width=sample.width, height=sample.height, frames=sample.frames)
