"""Sets of clip numbers as bit masks, beside Python's sets."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rinr_flower.strategies.memory import _mask, _mask_of, _numbers, _ranges


@given(st.sets(st.integers(0, 300)))
def test_masks_are_sets(numbers: set[int]) -> None:
    mask = _mask(numbers)
    assert mask == sum(1 << number for number in numbers)
    assert _numbers(mask) == sorted(numbers)
    assert _mask_of(_ranges(sorted(numbers))) == mask


@given(st.integers(0, 50), st.integers(0, 50))
def test_ranges_are_sets_too(start: int, count: int) -> None:
    assert _numbers(_mask(range(start, start + count))) == list(range(start, start + count))
