"""The five configurations of Residual-INR's evaluation, over Rapid-INR and over NeRV.

BS: one large background network alone. BE: a small one alone. DE: the small background and object networks that code
the pixels directly. RE: the same with residuals. QRE: RE quantised to 8 bits (background) and 16 bits (objects).
"""

from __future__ import annotations

from typing import Any

from rinr_flower.codecs.base import Codec, codecs
from rinr_flower.codecs.object_sizes import PAPER_SIZES
from rinr_flower.codecs.residual import Residual
from rinr_flower.errors import ConfigError

# 45 KB of float32 alone, or 24 KB with objects of about 6 KB: the figures of the paper's talk
_BACKGROUNDS: dict[str, dict[str, dict[str, Any]]] = {
    "rapid_inr": {"large": {"hidden": 34}, "small": {"hidden": 25}},
    "nerv": {"large": {"width": 24}, "small": {"width": 16}},
}
VARIANTS = ("BS", "BE", "DE", "RE", "QRE")


def paper_variant(background: str, variant: str, **schedule: Any) -> Codec:
    """One of the variants over ``rapid_inr`` or ``nerv``; ``schedule`` goes to the background (``steps`` ...)."""
    if background not in _BACKGROUNDS or variant not in VARIANTS:
        known = ", ".join(f"{b}:{v}" for b in _BACKGROUNDS for v in VARIANTS)
        raise ConfigError(f"no paper variant {background}:{variant}; known: {known}")
    size = _BACKGROUNDS[background]["large" if variant == "BS" else "small"]
    bits = 8 if variant == "QRE" else 32
    base = codecs.create(background, bits=bits, **size, **schedule)
    if variant in ("BS", "BE"):
        return base
    mode: Any = "direct" if variant == "DE" else "residual"
    return Residual(background=base, mode=mode, sizes=PAPER_SIZES, bits=16 if variant == "QRE" else 32)
