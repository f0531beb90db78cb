"""The clips that a benchmark runs over, each under a name that stays the same between runs."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from fnmatch import fnmatch
from pathlib import Path

from rinr_flower.datasets import load
from rinr_flower.errors import ConfigError
from rinr_flower.frames import Clip

from .results import Row

REPEATED = {"dac_sdc/person12": "uav123/person12_1"}
"""Clips that show the same frames as another one at another size. Each is measured, but one recording counts once."""


def default_specs() -> list[str]:
    """All data sets in the folder that RINR_DATA names (otb100, uav123, dac_sdc, permissive), else the sample."""
    root = os.environ.get("RINR_DATA", "")
    if not root:
        return ["sample"]
    specs = [f"{kind}:{root}/{kind}" for kind in ("otb100", "uav123", "dac_sdc") if (Path(root) / kind).is_dir()]
    folders = sorted(p for p in (Path(root) / "permissive").glob("*") if p.is_dir())
    return specs + [f"otb100:{folder}" for folder in folders]


def benchmark_clips(specs: Sequence[str], frames: slice | None, patterns: Sequence[str]) -> Iterator[tuple[str, Clip]]:
    """Clips as (kind/name, clip), those whose name matches one of ``patterns`` (all without patterns).

    A data set is read when its turn comes, so memory holds one at a time. ConfigError at the end if none matches.
    """
    seen: set[str] = set()
    matched = False
    for spec in specs:
        kind = spec.partition(":")[0]
        for clip in load(spec, frames=frames):
            name = f"{kind}/{clip.name}"
            if name in seen:
                raise ConfigError(f"two clips are called {name}; run their data sets one by one with their own --out")
            seen.add(name)
            if not patterns or named(name, patterns):
                matched = True
                yield name, clip
    if patterns and not matched:
        raise ConfigError(f"no clip is called {' or '.join(map(repr, patterns))}; one is {min(seen, default='none')}")


def once(rows: Sequence[Row]) -> list[Row]:
    """``rows`` without those of clips that repeat another clip which ``rows`` have too."""
    present = {r["clip"] for r in rows}
    return [r for r in rows if REPEATED.get(r["clip"]) not in present]


def named(name: str, patterns: Sequence[str]) -> bool:
    """Whether a clip's name as here, kind/name, or without its kind, matches one of ``patterns``."""
    return any(fnmatch(name, p) or fnmatch(clip_name(name), p) for p in patterns)


def clip_name(name: str) -> str:
    """A clip's name without its kind."""
    return name.partition("/")[2]
