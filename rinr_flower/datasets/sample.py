"""The embedded default data set: sequences generated from real photographs, the same on every machine."""

from __future__ import annotations

from dataclasses import dataclass

from rinr_flower.datasets.base import Dataset, Progress, cut, datasets
from rinr_flower.datasets.scene import Family, Scene
from rinr_flower.errors import ConfigError
from rinr_flower.frames import Clip, Frame, clean_boxes, read_image, write_jpeg

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

    def clips(self, *, frames: slice, seed: int, progress: Progress | None) -> list[Clip]:
        if seed < 0:
            raise ConfigError(f"sample: seed {seed} must not be negative")
        chosen = cut(self.frames, frames, name="every sample sequence")
        clips = []
        for done, number in enumerate(range(self.first, self.first + self.sequences)):
            scene = Scene(self.family, number, seed, width=self.width, height=self.height, frames=max(chosen) + 1)
            made = []
            for position, index in enumerate(chosen):
                made.append(self._frame(scene, index, f"sample {number}, frame {index}"))
                if progress is not None:
                    progress((done + (position + 1) / len(chosen)) / self.sequences)
            clips.append(Clip(f"{self.family}-{number:02d}", tuple(made), ("cup",)))
        return clips

    def _frame(self, scene: Scene, index: int, name: str) -> Frame:
        picture, extents = scene.render(index)
        file = write_jpeg(picture, self.quality)
        boxes, classes, _ = clean_boxes(extents, [0] * len(extents), self.width, self.height)
        return Frame(read_image(file, name=name), boxes, classes, file)
