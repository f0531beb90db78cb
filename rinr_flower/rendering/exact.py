"""How precisely pictures are computed on CUDA."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def exact_float32(device: torch.device) -> Iterator[None]:
    """Compute convolutions on a CUDA ``device`` in float32, by an algorithm that repeats bit for bit.

    torch lets cuDNN round the inputs of convolutions to TF32, 10 bits of mantissa, which a picture of 8 bits would
    show. Matrix products stay as the process has them: float32, unless it allowed TF32 itself.
    """
    if device.type != "cuda":
        yield
        return
    with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
        yield
