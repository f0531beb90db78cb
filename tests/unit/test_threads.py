"""Threads of BLAS: limited inside, and put back after."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from rinr_flower.threads import one_blas_thread


def blas_threads() -> set[int]:
    return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}


@pytest.fixture(autouse=True)
def two_threads() -> None:
    assert np.ones((2, 2)).sum() == 4  # numpy has loaded its BLAS
    if not blas_threads():
        pytest.skip("numpy has no BLAS that threadpoolctl knows")


def test_blas_has_one_thread_inside_and_its_own_after() -> None:
    with threadpool_limits(2, user_api="blas"):
        with one_blas_thread():
            assert blas_threads() == {1}
        assert blas_threads() == {2}


def test_several_threads_at_once_leave_no_limit_behind() -> None:
    entered, leave = threading.Event(), threading.Event()

    def stay() -> None:
        with one_blas_thread():
            entered.set()
            leave.wait(10)

    with threadpool_limits(2, user_api="blas"):
        other = threading.Thread(target=stay)
        with one_blas_thread():
            other.start()
            assert entered.wait(10)
        leave.set()
        other.join(10)
        assert blas_threads() == {2}
