"""Payloads of released formats still decode to the pictures they were released with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scene_clips import code_of

from rinr_flower.bitstream.container import VERSION
from rinr_flower.codecs import codecs, decode
from rinr_flower.codecs.scene.format.code import RESIDUAL_SCALES, SceneCode, flat
from rinr_flower.codecs.scene.format.lattice import Ints, Kind
from rinr_flower.codecs.scene.format.network import shipped

GOLDEN = Path(__file__).parents[1] / "golden"
FILES = sorted(GOLDEN.glob("*.rinr"))


@pytest.mark.parametrize("file", FILES, ids=[f.stem for f in FILES])
def test_golden_payload_decodes_as_released(file: Path) -> None:
    clip = decode(file.read_bytes())
    expected = np.load(file.with_suffix(".npz"))["images"]
    assert np.abs(clip.images().astype(int) - expected.astype(int)).max() <= 1
    assert [len(f.boxes) for f in clip.frames] == [2, 2, 2, 1, 0]
    np.testing.assert_array_equal(clip.frames[3].boxes, [[19, 20, 35, 36]])


def test_every_codec_of_this_version_has_one() -> None:
    assert {f.stem for f in FILES} >= {f"v{VERSION}-{name}" for name in codecs.names()}


def coefficients(code: SceneCode, kind: Kind) -> list[Ints]:
    return [band for layout, pyramids in code.volumes() if layout.kind == kind for band in flat(pyramids)]


def test_golden_scenes_have_all_that_the_format_has() -> None:
    """Payloads that lacked one of these would let it change, and all would still decode as released."""
    panned, grey, wide, crafted = (
        code_of((GOLDEN / f"v{VERSION}-scene-{name}.rinr").read_bytes())
        for name in ("panned", "grey", "wide", "crafted")
    )
    assert (panned.grey, grey.grey) == (False, True)
    assert panned.size == grey.size != wide.size
    for code in (panned, grey, wide):
        (shot,) = code.shots
        assert shot.frames == 5
        assert shot.motion is not None
        assert np.ptp(shot.motion, axis=0).min() > 0
        for kind in (Kind.RESIDUAL, Kind.OBJECT):
            assert any(band[2:].any() for band in coefficients(code, kind))  # the octaves of time after the first two
    assert {code.residual_scale for code in (panned, grey, wide, crafted)} == set(RESIDUAL_SCALES)
    assert panned.object_head is not None
    assert [shot.frames for shot in crafted.shots] == [4, 1]
    assert crafted.parts == [2, 2]
    assert crafted.canvas_head is not None
    for kind in Kind:
        assert max(int(np.abs(band).max(initial=0)) for band in coefficients(crafted, kind)) > shipped().last == 20
