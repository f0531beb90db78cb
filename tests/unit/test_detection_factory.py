"""The factory model is trained once, kept in the caller's cache, and fits detectors of other classes."""

from pathlib import Path

import numpy as np

from rinr_flower.detection import Factory, Yolo, factory_state
from rinr_flower.detection.state import read_state

TINY = Factory(data="sample:family=factory,sequences=1,frames=3,width=96,height=64", steps=2, batch=2, size=64)


def test_trained_once_and_kept(tmp_path: Path) -> None:
    fractions: list[float] = []
    first = factory_state(TINY, cache=tmp_path, progress=fractions.append)
    assert fractions == [0.5, 1.0]
    (file,) = tmp_path.iterdir()
    again = factory_state(TINY, cache=tmp_path, progress=fractions.append)
    assert len(fractions) == 2  # not trained again
    assert list(again) == list(first)
    assert all(np.array_equal(again[n], first[n]) for n in first)

    file.write_bytes(file.read_bytes()[:1000])  # a damaged file is replaced, by the same model
    mended = factory_state(TINY, cache=tmp_path)
    assert all(np.array_equal(mended[n], first[n]) for n in first)
    assert len(read_state(file)) == len(first)

    detector = Yolo(("a", "b", "c"), weights=first)
    own = detector.state()
    assert sum(np.array_equal(own[n], first[n]) for n in own if own[n].shape == first[n].shape) == len(own) - 6


def test_other_settings_are_another_model(tmp_path: Path) -> None:
    factory_state(TINY, cache=tmp_path)
    factory_state(Factory(data=TINY.data, steps=3, batch=2, size=64), cache=tmp_path)
    assert len(list(tmp_path.iterdir())) == 2
