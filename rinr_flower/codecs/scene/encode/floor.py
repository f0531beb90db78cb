"""The floor of quality: frames come back no worse than from JPEG files of a low quality."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch

from rinr_flower.codecs.scene.decode.resident import OpenScene
from rinr_flower.codecs.scene.decode.sampling import centres, to_rgb
from rinr_flower.codecs.scene.encode.analysis import Analysis, scaled
from rinr_flower.codecs.scene.encode.effort import Effort
from rinr_flower.codecs.scene.encode.encoder import Encoded, encode, encode_background
from rinr_flower.codecs.scene.format.code import STEPS_PER_OCTAVE
from rinr_flower.frames import Clip, box_mask, read_image, write_jpeg
from rinr_flower.quality import psnr_db

# All set by hand: how fast and how closely the floor is met; codec.py says where it lies. To try others, on clips that
# are below it (Car4, wakeboard10): benchmarks/scene_rate.py --constant encode.floor:NAME=VALUE.
_STRIDE = 4  # frames that are compared first; all of them where these are near the floor or below
_NEAR_DB = 0.6  # above the floor by those frames: the clip is taken to be above it; more looks at all of more clips
_TRIES = 4  # quick ones; more meet the floor more closely, in more time
_MOST_FINER = 4 * STEPS_PER_OCTAVE  # a clip that needs more stays below the floor
_DB_PER_OCTAVE = 2.5  # of the step, until a second try shows it
_BELIEVED = (1.0, 6.0)  # dB an octave that a try may show; beyond, it is cut off
_MARGIN_DB = 0.08  # a quick try, of one pass of quantisation, is a little better than what is coded in the end
_CLOSE_DB = 0.25  # above the floor: near enough to end the tries; less saves bytes, in more time
_FAR_LARGER = 2.5  # times the working width: a clip wider than that is drawn at twice the working size, to save time
_NOTHING = 1.0  # squared grey levels; smaller errors are taken for it


def encode_above_floor(
    clip: Clip, found: Analysis, step_code: int, object_step_code: int, effort: Effort, jpeg_quality: int
) -> Encoded:
    """Code ``found``, which is of ``clip``, at the given steps, or at finer ones, which reach the floor.

    The floor is the mean squared error of the clip's frames as JPEG files of ``jpeg_quality``, at the size of the
    working pictures.
    """
    done = encode(found, step_code, object_step_code, effort)
    some, every = range(0, len(clip), _STRIDE), range(len(clip))
    files = _jpeg_db(clip, found, jpeg_quality, some)
    missing = files - _Error.of(clip, found, done.scene, some).db(0)
    if missing < -_NEAR_DB:
        return done
    wanted = _jpeg_db(clip, found, jpeg_quality, every)
    missing_of_all = wanted - _Error.of(clip, found, done.scene, every).db(0)
    if missing_of_all <= 0:
        return done
    files += missing_of_all - missing  # the tries look at some frames: add what all miss beyond these
    quick = replace(effort, quantise_rounds=1)
    finest = max(step_code - _MOST_FINER, 0)
    over, under, slope = (step_code, missing_of_all), None, _DB_PER_OCTAVE
    for _ in range(_TRIES):
        if under is None:
            code = over[0] - math.ceil(over[1] / slope * STEPS_PER_OCTAVE)
        else:
            code = math.floor(over[0] - over[1] / (over[1] - under[1]) * (over[0] - under[0]))
        code = max(code, finest)
        if code in (over[0], under and under[0]):
            break
        scene = encode_background(found, code, object_step_code, quick).scene
        scene.layers, scene.layers_of = done.scene.layers, done.scene.layers_of
        missing = files + _MARGIN_DB - _Error.of(clip, found, scene, some).db(step_code - code)
        if -_CLOSE_DB < missing <= 0:
            under = code, missing
            break
        if missing > 0:
            shown = (over[1] - missing) / (over[0] - code) * STEPS_PER_OCTAVE
            slope = min(max(shown, _BELIEVED[0]), _BELIEVED[1])
            over = code, missing
        else:
            under = code, missing
    code = under[0] if under else over[0] - math.ceil(over[1] / slope * STEPS_PER_OCTAVE)
    while True:
        code = max(code, finest)
        done = encode(found, code, max(object_step_code - (step_code - code), 0), effort)
        missing = wanted - _Error.of(clip, found, done.scene, every).db(0)
        if missing <= 0 or code == finest:
            return done
        code -= math.ceil(missing / slope * STEPS_PER_OCTAVE)


def _jpeg_db(clip: Clip, found: Analysis, quality: int, frames: range) -> float:
    """PSNR of ``frames`` as JPEG files."""
    errors = []
    for i in frames:
        file = read_image(write_jpeg(clip.frames[i].image, quality), name="a JPEG file")
        errors.append(float(((scaled(file, found.size).astype(np.float32) - found.images[i]) ** 2).mean()))
    return psnr_db(max(float(np.mean(errors)), _NOTHING))


@dataclass(frozen=True)
class _Error:
    """Mean squared error of frames drawn from a scene: of what lies inside their boxes, and outside.

    They add up to the error of the frames.
    """

    inside: float
    outside: float

    @classmethod
    def of(cls, clip: Clip, found: Analysis, scene: OpenScene, frames: range) -> _Error:
        """The error of ``frames``, drawn at the clip's size; at twice the working size if that is far larger."""
        height, width = clip.height, clip.width
        if width > _FAR_LARGER * found.size[1]:
            height, width = 2 * found.size[0], 2 * found.size[1]
        points = centres(height, width) * torch.tensor([found.size[1] / width, found.size[0] / height])
        whole, inside = [], []
        for i in frames:
            picture = scene.at(i, points)
            rgb = ((picture[0] + 128) / 255).expand(3, -1) if found.grey else to_rgb(picture[0], picture[1:])
            drawn = rgb.mul(255).round().clamp(0, 255).to(torch.uint8).T.reshape(height, width, 3).numpy()
            squared = (scaled(drawn, found.size).astype(np.float32) - found.images[i]) ** 2
            whole.append(float(squared.mean()))
            inside.append(float((squared * box_mask(found.boxes[i], *found.size[::-1])[..., None]).mean()))
        return cls(float(np.mean(inside)), float(np.mean(whole) - np.mean(inside)))

    def db(self, finer: int) -> float:
        """PSNR once objects are coded ``finer`` by so many steps of 1/STEPS_PER_OCTAVE octaves."""
        inside = self.inside * 10 ** (-_DB_PER_OCTAVE * finer / STEPS_PER_OCTAVE / 10)
        return psnr_db(max(inside + self.outside, _NOTHING))
