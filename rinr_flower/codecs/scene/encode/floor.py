"""The floor of quality: frames come back no worse than from JPEG files of a low quality."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from rinr_flower.codecs.scene.decode.resident import OpenScene
from rinr_flower.codecs.scene.decode.sampling import centres, to_rgb
from rinr_flower.codecs.scene.encode.analysis import Analysis, scaled
from rinr_flower.codecs.scene.encode.effort import Effort
from rinr_flower.codecs.scene.encode.encoder import Encoded, encode, encode_background
from rinr_flower.codecs.scene.format.code import STEPS_PER_OCTAVE
from rinr_flower.frames import Clip, read_image, write_jpeg

_STRIDE = 4  # frames that are compared
_TRIES = 4
_MOST_FINER = 4 * STEPS_PER_OCTAVE
_DB_PER_OCTAVE = 2.5  # of the step, until a second try shows it
_BELIEVED = (1.0, 6.0)  # dB an octave
_MARGIN_DB = 0.08  # a quick try, of one pass of quantisation, is a little better than what is coded in the end
_CLOSE_DB = 0.25


def encode_above_floor(
    clip: Clip, found: Analysis, step_code: int, object_step_code: int, effort: Effort, jpeg_quality: int
) -> Encoded:
    """Code ``found``, which is of ``clip``, at the given steps, or at finer ones, which reach the floor.

    The floor is the mean squared error of the clip's frames as JPEG files of ``jpeg_quality``, at the size of the
    working pictures.
    """
    wanted = _db(_jpeg_error(clip, found, jpeg_quality))
    done = encode(found, step_code, object_step_code, effort)
    missing = wanted - _db(_error(found, done.scene))
    if missing <= 0:
        return done
    quick = replace(effort, quantise_rounds=1)
    over, under, slope = (step_code, missing), None, _DB_PER_OCTAVE
    for _ in range(_TRIES):
        if under is None:
            code = over[0] - math.ceil(over[1] / slope * STEPS_PER_OCTAVE)
        else:
            code = math.floor(over[0] - over[1] / (over[1] - under[1]) * (over[0] - under[0]))
        code = max(code, step_code - _MOST_FINER, 0)
        if code in (over[0], under and under[0]):
            break
        scene = encode_background(found, code, object_step_code, quick).scene
        scene.layers, scene.layers_of = done.scene.layers, done.scene.layers_of
        missing = wanted + _MARGIN_DB - _db(_error(found, scene))
        if -_CLOSE_DB < missing <= 0:
            under = code, missing
            break
        if missing > 0:
            shown = (over[1] - missing) / (over[0] - code) * STEPS_PER_OCTAVE
            slope = min(max(shown, _BELIEVED[0]), _BELIEVED[1])
            over = code, missing
        else:
            under = code, missing
    code = (
        under[0] if under else max(over[0] - math.ceil(over[1] / slope * STEPS_PER_OCTAVE), step_code - _MOST_FINER, 0)
    )
    return encode(found, code, max(object_step_code - (step_code - code), 0), effort)


def _db(error: float) -> float:
    return -10 * math.log10(error + 1e-9)


def _jpeg_error(clip: Clip, found: Analysis, quality: int) -> float:
    errors = []
    for frame, image in list(zip(clip.frames, found.images, strict=True))[::_STRIDE]:
        file = read_image(write_jpeg(frame.image, quality), name="a JPEG file")
        errors.append(((scaled(file, found.size).astype(np.float32) - image) ** 2).mean())
    return float(np.mean(errors))


def _error(found: Analysis, scene: OpenScene) -> float:
    height, width = found.size
    points, errors = centres(height, width), []
    for frame in range(0, len(found.images), _STRIDE):
        picture = scene.at(frame, points)
        drawn = (picture[0] + 128).clamp(0, 255).expand(3, -1) if found.grey else to_rgb(picture[0], picture[1:]) * 255
        image = found.images[frame].reshape(-1, 3).T
        errors.append(((drawn.numpy() - image) ** 2).mean())
    return float(np.mean(errors))
