"""Runs code that is written for float32 in float64: an independent reference for any renderer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

_LOW = (torch.float32, torch.float16, torch.bfloat16)


@contextmanager
def in_float64() -> Iterator[None]:
    """Compute every operation in float64, whatever type the code asks for. Integers stay as they are."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with _Raised():
            yield
    finally:
        torch.set_default_dtype(before)


class _Raised(TorchDispatchMode):
    """Raises tensors and types of lower precision to float64 before every operation."""

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        return func(*tree_map(_raised, args), **tree_map(_raised, kwargs or {}))


def _raised(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.double() if value.dtype in _LOW else value
    return torch.float64 if isinstance(value, torch.dtype) and value in _LOW else value
