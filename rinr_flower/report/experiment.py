"""Settings of the reproduced experiments: named profiles from one data file, and how they differ from the source's."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

from rinr_flower.codecs import Codec, codecs
from rinr_flower.codecs.presets import paper_variants
from rinr_flower.datasets import load
from rinr_flower.errors import ConfigError, DataError
from rinr_flower.frames import Clip, Frame, write_jpeg
from rinr_flower.registry import build_dataclass
from rinr_flower.updates import updates

_FILE: Mapping[str, Any] = yaml.safe_load(Path(__file__).with_name("reproduction.yaml").read_text(encoding="utf-8"))
SOURCE: Mapping[str, float] = _FILE["source"]
"""Figures that the source prints."""
UNPRINTED: tuple[str, ...] = tuple(_FILE["unprinted"])
"""What stands here where the source prints nothing."""
UNPRINTED_SETTINGS: tuple[str, ...] = tuple(_FILE["unprinted_settings"])
"""Settings whose value in the profile ``published`` is ours."""
PROFILES: tuple[str, ...] = tuple(_FILE["profiles"])
PUBLISHED = "published"

BACKGROUNDS = {"Rapid-INR": "rapid_inr", "NeRV": "nerv"}
"""The background networks by the names of their rows."""
RIVALS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "JPEG": ("jpeg", {}),
    "JPEG q50": ("jpeg", {"quality": 50}),
    "JPEG q20": ("jpeg", {"quality": 20}),
    "AVIF q30": ("avif", {}),
    "ROI-JPEG": ("roi_jpeg", {}),
    "ROI-AVIF": ("roi_avif", {}),
    "H.264": ("x264", {}),
    "AV1": ("av1", {}),
    "ROI-AV1": ("roi_av1", {}),
    "residual (ours)": ("residual", {}),
    "scene (ours)": ("scene", {}),
}
NEEDS_VIDEO = frozenset({"x264", "av1", "roi_av1"})
MAIN_ROWS = (
    "JPEG", "JPEG q20", "Rapid-INR BS", "NeRV BS", "Rapid-INR QRE", "NeRV QRE", "ROI-AV1", "residual (ours)",
    "scene (ours)",
)  # fmt: skip
"""Rows that a detector is trained on where not all are: the source's, our codecs, the strongest rival."""
_CAMERA_QUALITY = 95


@dataclass(frozen=True)
class Experiment:
    """What is repeated, and at which size. Values come from a profile of ``reproduction.yaml``.

    Attributes
    ----------
    data : data set specifications, see :func:`rinr_flower.datasets.load`.
    clips : at most so many clips of each.
    frames, held_back : frames of a clip that are shared, and frames after them that mAP is measured on.
    max_width : frames that are wider are scaled to it before anything else.
    steps, learning_rate, w0, batch_points : of every SIREN, background and object; ``batch_points`` None takes all
        pixels in every step.
    layers, large_hidden, small_hidden : of the background SIRENs.
    nerv_epochs, nerv_stem, nerv_channels, nerv_large_width, nerv_small_width, nerv_rate : of the NeRVs; an epoch is a
        step for every frame.
    detector : model of ultralytics that is trained.
    train_steps, image_size, factory_steps : its fine-tuning on what was decoded, and its training before.
    seeds : the first one fits networks; a detector is trained with each.
    trained_rows : ``all``, or ``main`` for MAIN_ROWS.
    devices : devices in the communication figures, all-to-all.
    updates : update compressors for training at the fog.
    """

    data: tuple[str, ...]
    clips: int
    frames: int
    held_back: int
    max_width: int
    steps: int
    learning_rate: float
    w0: int
    batch_points: int | None
    layers: int
    large_hidden: int
    small_hidden: int
    nerv_epochs: int
    nerv_stem: int
    nerv_channels: int
    nerv_large_width: int
    nerv_small_width: int
    nerv_rate: float
    detector: str
    train_steps: int
    image_size: int
    factory_steps: int
    seeds: tuple[int, ...]
    trained_rows: str
    devices: int
    updates: tuple[str, ...]

    @staticmethod
    def parse_options(options: Mapping[str, Any]) -> Mapping[str, Any]:
        """Accept lists, and text with commas, where a tuple is meant (``data`` as a list or one specification)."""
        plain = dict(options)
        if isinstance(plain["data"], str):
            plain["data"] = (plain["data"],)
        for key in ("seeds", "updates"):
            if isinstance(plain.get(key), (str, int)):
                plain[key] = str(plain[key]).split(",")
        try:
            plain["seeds"] = tuple(int(seed) for seed in plain["seeds"])
        except ValueError:
            raise ConfigError(f"--reproduce: seeds {plain['seeds']} are not whole numbers such as 0,1,2") from None
        return {**plain, "updates": tuple(plain["updates"]), "data": tuple(plain["data"])}

    def __post_init__(self) -> None:
        for name in (
            "clips",
            "frames",
            "held_back",
            "max_width",
            "steps",
            "nerv_epochs",
            "train_steps",
            "factory_steps",
        ):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if self.devices < 2:
            raise ConfigError(f"devices is {self.devices}; it must be at least 2")
        if not self.seeds or not self.data:
            raise ConfigError("give at least one seed and one data set")
        if self.trained_rows not in ("all", "main"):
            raise ConfigError(f"trained_rows {self.trained_rows!r} is neither all nor main")
        if self.image_size < 32 or self.image_size % 32:
            raise ConfigError(f"image_size is {self.image_size}; it must be a multiple of 32")
        for name in self.updates:
            updates.create(name)
        for background in BACKGROUNDS:
            self.variants(background)

    def variants(self, background: str) -> dict[str, Codec]:
        """The source's variants over one of BACKGROUNDS, by the names of their rows."""
        siren: dict[str, Any] = {"w0": self.w0, "steps": self.steps, "learning_rate": self.learning_rate}
        siren["batch_points"] = self.batch_points
        if BACKGROUNDS[background] == "rapid_inr":
            shared: dict[str, Any] = {**siren, "layers": self.layers}
            large, small = {"hidden": self.large_hidden}, {"hidden": self.small_hidden}
        else:
            shared = {"stem": self.nerv_stem, "channels": self.nerv_channels, "learning_rate": self.nerv_rate}
            shared["steps"] = self.nerv_epochs * self.frames
            large, small = {"width": self.nerv_large_width}, {"width": self.nerv_small_width}
        made = paper_variants(BACKGROUNDS[background], {**shared, **large}, {**shared, **small}, siren)
        return {f"{background} {name}": codec for name, codec in made.items()}

    def others(self) -> dict[str, Codec]:
        """Rivals and our codecs, each with its defaults, by the names of their rows."""
        with_video = _has_video()
        return {
            label: codecs.create(name, **options)
            for label, (name, options) in RIVALS.items()
            if with_video or name not in NEEDS_VIDEO
        }

    def rows(self) -> list[str]:
        """Names of all rows, in order."""
        return [*(row for b in BACKGROUNDS for row in self.variants(b)), *self.others()]

    def trained(self) -> list[str]:
        """Names of the rows that a detector is trained on."""
        return [row for row in self.rows() if self.trained_rows == "all" or row in MAIN_ROWS]

    def clips_of_data(self) -> tuple[list[Clip], list[Clip]]:
        """Frames that are shared and the frames after them, of every clip that is long enough and has boxes.

        Raises DataError if a data set has none.
        """
        shared, held_back = [], []
        for spec in self.data:
            whole = load(spec, frames=slice(0, self.frames + self.held_back), seed=self.seeds[0])
            enough = [clip for clip in whole if len(clip) > self.frames and _has_boxes(clip[: self.frames])]
            enough = enough[: self.clips]
            if not enough:
                longest = max(map(len, whole))
                raise DataError(
                    f"{spec}: no clip has {self.frames + 1} frames (the longest has {longest}) and a box in one of the "
                    f"first {self.frames}"
                )
            for clip in enough:
                small = _scaled(clip, self.max_width)
                shared.append(small[: self.frames])
                held_back.append(small[self.frames :])
        return shared, held_back

    def deviations(self) -> list[dict[str, Any]]:
        """Every setting that differs from the published ones: ``setting``, ``published``, ``here``."""
        published = profile(PUBLISHED)
        return [
            {"setting": f.name, "published": getattr(published, f.name), "here": getattr(self, f.name)}
            for f in dataclasses.fields(self)
            if f.name != "data" and getattr(self, f.name) != getattr(published, f.name)
        ]


def _has_boxes(clip: Clip) -> bool:
    return any(len(frame.boxes) for frame in clip.frames)


def profile(name: str, /, **settings: Any) -> Experiment:
    """The experiment of a profile, with some settings changed. ConfigError on unknown names and values."""
    if name not in PROFILES:
        raise ConfigError(f"no profile {name!r}; known: {', '.join(PROFILES)}")
    return build_dataclass(Experiment, {**_FILE["profiles"][name], **settings}, where="--reproduce")


def _has_video() -> bool:
    try:
        import av  # noqa: F401
    except ImportError:
        return False
    return True


def _scaled(clip: Clip, max_width: int) -> Clip:
    """The clip at most ``max_width`` pixels wide, by area means; its camera files are then JPEGs of the result."""
    if clip.width <= max_width:
        return clip
    size = (max_width, round(clip.height * max_width / clip.width))
    ratio = np.array([size[0] / clip.width, size[1] / clip.height] * 2, np.float32)
    frames = []
    for frame in clip.frames:
        image = np.asarray(Image.fromarray(frame.image).resize(size, Image.Resampling.BOX))
        frames.append(Frame(image, frame.boxes * ratio, frame.classes, write_jpeg(image, _CAMERA_QUALITY)))
    return Clip(clip.name, tuple(frames), clip.class_names)
