"""A detector's weights are checked before they are used, and files of weights hold data only."""

from pathlib import Path

import numpy as np
import pytest

from rinr_flower.detection.state import check_state, read_state, write_state
from rinr_flower.errors import DataError

SHAPES = {"a.weight": (2, 3), "a.bias": (2,)}


def state() -> dict[str, np.ndarray]:
    return {"a.weight": np.ones((2, 3), np.float32), "a.bias": np.zeros(2, np.float32)}


def test_order_and_type_are_the_models() -> None:
    given = {"a.bias": np.zeros(2, np.float64), "a.weight": np.ones((2, 3), np.float16)}
    checked = check_state(given, SHAPES, where="x")
    assert list(checked) == list(SHAPES)
    assert {a.dtype for a in checked.values()} == {np.dtype(np.float32)}


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"a.bias": None}, "lacks 'a.bias'"),
        ({"b": np.zeros(1)}, "unknown 'b'"),
        ({"a.bias": np.zeros(3)}, r"'a.bias' has the shape \(3,\)"),
        ({"a.weight": np.full((2, 3), np.nan)}, "'a.weight'.*finite"),
        ({"a.weight": np.full((2, 3), np.inf)}, "'a.weight'.*finite"),
        ({"a.bias": np.array(["x", "y"])}, "'a.bias'.*finite"),
        ({"a.bias": np.zeros(2, object)}, "'a.bias'.*finite"),
    ],
)
def test_what_does_not_fit_is_named(change: dict[str, np.ndarray | None], text: str) -> None:
    given = {name: array for name, array in {**state(), **change}.items() if array is not None}
    with pytest.raises(DataError, match=text):
        check_state(given, SHAPES, where="the state")


def test_file_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "deeper" / "weights.npz"
    write_state(path, state())
    back = read_state(path)
    assert list(back) == list(state())
    for name, array in state().items():
        np.testing.assert_array_equal(back[name], array)
    assert [p.name for p in path.parent.iterdir()] == ["weights.npz"]


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x03\x04broken"])
def test_a_broken_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "weights.npz"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"weights\.npz"):
        read_state(path)


def test_a_file_with_pickled_objects_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.npz"
    np.savez(path, a=np.array([print], object), allow_pickle=True)
    with pytest.raises(DataError, match="pickle"):
        read_state(path)


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.npz"
    write_state(path, state())
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(DataError, match=r"weights\.npz"):
        read_state(path)
