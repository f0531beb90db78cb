"""The five configurations of Residual-INR's evaluation, over Rapid-INR and over NeRV.

BS: one large background network alone. BE: a small one alone. DE: the small background and object networks that code
the pixels directly. RE: the same with residuals. QRE: RE quantised to 8 bits (background) and 16 bits (objects).
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from rinr_flower.bitstream.container import Payload
from rinr_flower.bitstream.weights import FLOAT_BITS
from rinr_flower.codecs.base import Codec, codecs
from rinr_flower.codecs.nerv import PUBLISHED as PUBLISHED_NERV
from rinr_flower.codecs.nerv import Nerv
from rinr_flower.codecs.object_sizes import PAPER_SIZES
from rinr_flower.codecs.rapid_inr import RapidInr
from rinr_flower.codecs.residual import Residual
from rinr_flower.errors import ConfigError
from rinr_flower.frames import Clip

VARIANTS = ("BS", "BE", "DE", "RE", "QRE")
PUBLISHED_SIREN: Mapping[str, Any] = {"w0": 30, "steps": 10_000, "learning_rate": 2e-4, "batch_points": None}
"""How the published code fits every SIREN, background and object: all pixels a step. One serves one picture."""
LARGE_BITS, SMALL_BITS, QUANTISED_BITS, QUANTISED_OBJECT_BITS = 16, FLOAT_BITS, 8, 16
BACKGROUNDS: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "rapid_inr": {
        "large": {"hidden": 50, "layers": 10, "shared": 1},
        "small": {"hidden": 25, "layers": 10, "shared": 1},
    },
    "nerv": {"large": {**PUBLISHED_NERV}, "small": {**PUBLISHED_NERV, "width": 48}},
}
"""The SIRENs have the bytes that the paper's talk prints: 45 KB at 16 bits alone, 24 KB of float32 under objects of
about 6 KB. The published NeRV has 1,391,155 parameters; the small one is half as wide, because none is printed."""


def paper_variants(
    background: str,
    large: Mapping[str, Any] | None = None,
    small: Mapping[str, Any] | None = None,
    objects: Mapping[str, Any] | None = None,
) -> dict[str, Codec]:
    """Every variant over ``rapid_inr`` or ``nerv``, by its name.

    ``large`` and ``small`` change the options of the two backgrounds (see :data:`BACKGROUNDS`), ``objects`` those of
    the object networks, which have the published sizes.
    """
    if background not in BACKGROUNDS:
        raise ConfigError(f"no paper variants over {background!r}; known: {', '.join(BACKGROUNDS)}")
    sizes = BACKGROUNDS[background]
    options = {"sizes": PAPER_SIZES, "candidates": 1, "shared": 1, **(objects or {})}
    alone = codecs.create(background, **{"bits": LARGE_BITS, **sizes["large"], **(large or {})})
    under = codecs.create(background, **{"bits": SMALL_BITS, **sizes["small"], **(small or {})})
    quantised = codecs.create(background, **{**sizes["small"], **(small or {}), "bits": QUANTISED_BITS})
    return {
        "BS": alone,
        "BE": under,
        "DE": codecs.create("residual", background=under, mode="direct", bits=SMALL_BITS, **options),
        "RE": codecs.create("residual", background=under, bits=SMALL_BITS, **options),
        "QRE": codecs.create("residual", background=quantised, bits=QUANTISED_OBJECT_BITS, **options),
    }


@dataclass(frozen=True)
class Encoded:
    """A payload, and the processor seconds that everything in it took to fit."""

    data: bytes
    cpu_seconds: float


def encode_variants(
    variants: Mapping[str, Codec], clip: Clip, *, seed: int = 0, device: torch.device | str = "cpu"
) -> dict[str, Encoded]:
    """``clip`` in every variant, by name. Backgrounds that differ in their bit width only are fitted once, in float32,
    and quantised afterwards, as in the source; objects are fitted over the background as it is decoded."""
    place = torch.device(device)
    fitted: dict[Codec, tuple[Mapping[str, bytes], float]] = {}
    encoded = {}
    for name, codec in variants.items():
        background = codec.background if isinstance(codec, Residual) else codec
        if not isinstance(background, (RapidInr, Nerv)):
            raise ConfigError(f"paper variants have rapid_inr or nerv backgrounds, not {background.name}")
        exact = replace(background, bits=FLOAT_BITS)
        if exact not in fitted:
            start = time.process_time()
            parts = exact.encode_parts([clip], seed=seed, device=place, progress=None)[0]
            fitted[exact] = parts, time.process_time() - start
        exact_parts, seconds = fitted[exact]
        parts = background.requantised(exact_parts, clip)
        if isinstance(codec, Residual):
            start = time.process_time()
            parts = codec.encode_objects([clip], [parts], seed=seed, device=place)[0]
            seconds += time.process_time() - start
        encoded[name] = Encoded(Payload.of_clip(codec.name, clip, parts).to_bytes(), seconds)
    return encoded
