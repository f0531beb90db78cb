"""Codecs: clip -> payload bytes -> frames. ``codecs.create("jpeg", quality=50).encode(clip)``, ``decode(payload)``."""

from rinr_flower.codecs.base import Codec, codecs, decode
from rinr_flower.codecs.classical import Avif, Jpeg, Webp
from rinr_flower.codecs.nerv import Nerv
from rinr_flower.codecs.rapid_inr import RapidInr
from rinr_flower.codecs.residual import Residual
from rinr_flower.codecs.roi import RoiAvif, RoiJpeg
from rinr_flower.codecs.roi_video import RoiAv1, RoiX264
from rinr_flower.codecs.scene import Scene
from rinr_flower.codecs.video import X264, Av1

__all__ = [
    "X264",
    "Av1",
    "Avif",
    "Codec",
    "Jpeg",
    "Nerv",
    "RapidInr",
    "Residual",
    "RoiAv1",
    "RoiAvif",
    "RoiJpeg",
    "RoiX264",
    "Scene",
    "Webp",
    "codecs",
    "decode",
]
