"""Threads of the libraries below numpy."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Inside, products of numpy's matrices take one thread; torch and OpenCV keep theirs.

    For many small products: the threads of BLAS wait for one another longer than they work, each at a whole core. Where
    BLAS has one pool for the process, the limit holds for all threads until the first that asked for it has left.
    """
    with _controller().limit(limits=1, user_api="blas"):
        yield


@functools.cache
def _controller() -> Any:
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()
