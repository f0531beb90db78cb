"""Models in messages: what either end refuses before it uses one."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord

from rinr_flower.errors import DataError
from rinr_flower.messages.protocol import MAX_WEIGHT, check_model, check_numbers, numbers_of

GOOD = np.arange(6, dtype=np.float32).reshape(2, 3)


class Trap:
    """Unpickling this would run code."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return pytest.fail, ("code in a model was run",)


@pytest.mark.parametrize("dtype", ["float32", "float16", "float64", "int64", "uint8", "bool"])
@pytest.mark.parametrize("shape", [(), (0,), (2, 3)])
def test_numbers_of_every_kind_pass(dtype: str, shape: tuple[int, ...]) -> None:
    numbers = np.ones(shape, dtype)
    assert np.array_equal(numbers_of("w", Array(numbers)), numbers)
    assert numbers_of("w", Array(numbers)).dtype == numbers.dtype


def _as_declared(array: np.ndarray, **changes: object) -> Array:
    good = Array(array)
    fields = {"dtype": good.dtype, "shape": good.shape, "stype": good.stype, "data": good.data, **changes}
    return Array(**fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("array", "text"),
    [
        (Array(GOOD * np.float32(np.nan)), "'w' holds nan"),
        (Array(GOOD - np.float32(np.inf)), "'w' holds inf"),
        (Array(GOOD * np.float32(MAX_WEIGHT)), r"'w' holds 5e\+06; a model's numbers are finite and at most 1e\+06"),
        (_as_declared(GOOD, shape=(3, 2)), r"'w' says float32 \(3, 2\) and holds float32 \(2, 3\)"),
        (_as_declared(GOOD, dtype="float64"), "says float64"),
        (_as_declared(GOOD, data=Array(GOOD).data[:-1]), "'w' cannot be read"),
        (_as_declared(GOOD, data=b""), "'w' cannot be read"),
        (_as_declared(GOOD, data=pickle.dumps(Trap())), "'w' cannot be read"),
        (_as_declared(GOOD, stype="torch"), "'w' cannot be read"),
        (Array(np.array(["text"])), "and holds <U4"),
        (Array(GOOD.astype(np.complex64)), "and holds complex64"),
    ],
    ids=["NaN", "infinite", "exploding", "shape", "type", "cut", "empty", "pickle", "stype", "text", "complex"],
)
def test_an_array_that_no_model_has_is_named(array: Array, text: str) -> None:
    with pytest.raises(DataError, match=text):
        check_numbers("w", numbers_of("w", array))
    with pytest.raises(DataError, match="'w'"):
        check_model(ArrayRecord({"w": array}), ArrayRecord({"w": Array(GOOD)}))


def test_what_training_did_not_change_and_large_numbers_that_were_there_before_pass() -> None:
    before = np.array([-np.inf, 3e6, 1.0], np.float32)
    check_numbers("mask", before.copy(), before)
    check_numbers("mask", np.array([-np.inf, 4e6, 2.0], np.float32), before)
    for bad in (np.inf, np.nan, 4e9):
        with pytest.raises(DataError, match="'mask' holds"):
            check_numbers("mask", np.array([-np.inf, bad, 2.0], np.float32), before)
    with pytest.raises(DataError, match="'mask' holds inf"):
        check_numbers("mask", -before, before)
