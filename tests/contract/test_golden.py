"""Payloads of released formats still decode to the pictures they were released with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rinr_flower.bitstream.container import VERSION
from rinr_flower.codecs import codecs, decode

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
