"""Codecs: clip -> payload bytes -> frames. ``codecs.create("jpeg", quality=50).encode(clip)``, ``decode(payload)``."""

from rinr_flower.codecs.base import Codec, codecs, decode
from rinr_flower.codecs.classical import Jpeg

__all__ = ["Codec", "Jpeg", "codecs", "decode"]
