"""Names of the parts of a payload in the words of the papers and of docs/scene.md: for people, in reports."""

from __future__ import annotations

from collections.abc import Mapping

PART_NAMES: Mapping[str, Mapping[str, str]] = {
    "scene": {
        "canvas": "latents, background INR",
        "background": "residual latents, background INR",
        "object": "latents, object residual INRs",
        "heads": "network, the synthesis",
        "motion": "of camera and objects",
    },
    "rapid_inr": {"background": "network, background INR"},
    "nerv": {"background": "network, background INR"},
    "residual": {"object": "network, object residual INRs"},
}


def part_name(codec: str, part: str) -> str:
    """The name of a payload's part with what it is, if that is known: ``canvas (latents, background INR)``."""
    what = PART_NAMES.get(codec, {}).get(part)
    return f"{part} ({what})" if what else part
