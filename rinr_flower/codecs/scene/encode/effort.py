"""How much work an encoding is: the presets of the codec ``scene``."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal


@dataclass(frozen=True)
class Effort:
    """Rounds of the encoder's refinements.

    Attributes
    ----------
    align_rounds : passes of aligning an object's appearances to one another; 0 trusts the boxes.
    bend_rounds : passes of fitting what a homography leaves over; 0 leaves it to the residual.
    run_cuts : into how many volumes a run of an object is tried to be cut, as multiples of the least number.
    canvas_rounds : passes of refining a canvas through the renderer that are tried.
    sharpen_rounds : passes of undoing the blur of resampling an object.
    quantise_rounds : passes of rate-distortion quantisation.
    refined : what gradients through the decoder refine: nothing, objects, or all parts together.
    """

    align_rounds: int
    bend_rounds: int
    run_cuts: tuple[int, ...]
    canvas_rounds: tuple[int, ...]
    sharpen_rounds: int
    quantise_rounds: int
    refined: Literal["nothing", "objects", "all"]


# Rounds, set by hand: time against bytes. A preset of more of nearly all of them saved nothing (median +0.5 % of bytes
# on five clips, commit d9c2830). Others are tried by a change here and benchmarks/scene_rate.py --preset.
_BALANCED = Effort(
    align_rounds=3,
    bend_rounds=2,
    run_cuts=(1, 2, 4),
    canvas_rounds=(0, 1, 3),
    sharpen_rounds=3,
    quantise_rounds=3,
    refined="objects",
)
PRESETS = {
    "fast": Effort(
        align_rounds=1,
        bend_rounds=0,
        run_cuts=(1,),
        canvas_rounds=(0, 1),
        sharpen_rounds=2,
        quantise_rounds=1,
        refined="nothing",
    ),
    "balanced": _BALANCED,
    "best": replace(_BALANCED, refined="all"),
}
