"""The file in which a device keeps arrays."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from rinr_flower.array_file import pack_arrays, unpack_arrays
from rinr_flower.errors import DataError


@pytest.mark.parametrize("kind", ["?", "i1", "<u2", "<i8", "<f2", "<f4", ">f4", "<f8"])
def test_arrays_survive_their_file(kind: str) -> None:
    arrays = {"z": np.arange(6).reshape(2, 3).astype(kind), "a b": np.array(1).astype(kind), "": np.zeros((0, 4), kind)}
    found = unpack_arrays(pack_arrays(arrays))
    assert list(found) == list(arrays)
    for name, array in arrays.items():
        assert found[name].shape == array.shape
        assert found[name].dtype.name == array.dtype.name
        assert np.array_equal(found[name], array)


@pytest.mark.parametrize("spoil", [lambda d: d[:-1], lambda d: d + b"x", lambda d: b"\xff" * 8 + d[8:], lambda d: b""])
def test_a_file_that_holds_no_arrays_is_refused(spoil: Callable[[bytes], bytes]) -> None:
    with pytest.raises(DataError, match="file of arrays"):
        unpack_arrays(spoil(pack_arrays({"w": np.zeros(3, np.float32)})))


def test_objects_are_not_kept() -> None:
    with pytest.raises(DataError, match="'w' is of type object"):
        pack_arrays({"w": np.array([{}])})
