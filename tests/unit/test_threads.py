"""Threads of BLAS: limited inside, and put back by whoever leaves last."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from threadpoolctl import OpenBLASController, ThreadpoolController, threadpool_info

from rinr_flower.threads import one_blas_thread


def blas_threads() -> set[int]:
    """Of numpy's BLAS: that of scipy may have been loaded by another test, after the first call of what is tested."""
    return {p["num_threads"] for p in threadpool_info() if p["user_api"] == "blas" and "numpy" in p["filepath"]}


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    """Set without a ``with``, which would keep the right to set the pool for this thread."""
    assert np.ones((2, 2)).sum() == 4  # numpy has loaded its BLAS
    limit = ThreadpoolController().limit(limits=2, user_api="blas")
    OpenBLASController.clear_controlling_thread(force=True)
    if blas_threads() != {2}:
        pytest.skip("numpy has no BLAS whose threads threadpoolctl can set")
    yield
    limit.restore_original_limits()
    OpenBLASController.clear_controlling_thread(force=True)


def test_blas_has_one_thread_inside_and_its_own_after_an_error() -> None:
    def fail() -> None:
        with one_blas_thread():
            assert blas_threads() == {1}
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert blas_threads() == {2}


def test_the_first_to_leave_does_not_lift_the_limit_and_the_last_does() -> None:
    entered, leave = threading.Event(), threading.Event()

    def stay() -> None:
        with one_blas_thread():
            entered.set()
            leave.wait(10)

    other = threading.Thread(target=stay)
    with one_blas_thread():
        other.start()
        assert entered.wait(10)
    assert blas_threads() == {1}
    leave.set()
    other.join(10)
    assert blas_threads() == {2}


def test_threads_that_come_and_go_leave_no_limit_behind() -> None:
    @one_blas_thread()
    def work(number: int) -> int:
        assert blas_threads() == {1}
        return number

    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(work, range(60))) == list(range(60))
    assert blas_threads() == {2}
