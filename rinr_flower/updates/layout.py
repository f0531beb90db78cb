"""How the tensors of a ``state_dict`` are sorted for an update, and how they turn into matrices.

Names, shapes and dtypes are implied by the base, which both ends hold; an update never carries them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from rinr_flower.errors import DataError, PayloadError

State = Mapping[str, torch.Tensor]
"""What ``torch.nn.Module.state_dict()`` returns: tensor names to tensors."""

HASH_BYTES = 8
_FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
_INTEGERS = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool)


@dataclass(frozen=True)
class Layout:
    """The tensors of a state, by how an update sends them; names in each group are sorted.

    Attributes
    ----------
    weights : floating tensors of two or more dimensions: what a compressor works on.
    vectors : floating tensors of at most one dimension: biases, normalisation parameters, running statistics.
    integers : counters, masks and other integer buffers; always exact.
    """

    weights: tuple[str, ...]
    vectors: tuple[str, ...]
    integers: tuple[str, ...]

    @classmethod
    def of(cls, state: State, *, weights_raw: bool = False) -> Layout:
        """Sort the tensors of ``state``; ``weights_raw`` counts weights among the vectors.

        Raises DataError on an entry that is no tensor or of another dtype.
        """
        weights, vectors, integers = [], [], []
        for name in sorted(state):
            tensor = state[name]
            if not isinstance(tensor, torch.Tensor) or tensor.layout != torch.strided:
                raise DataError(f"state entry {name!r} is no dense tensor; updates take tensors only")
            if tensor.dtype in _INTEGERS:
                integers.append(name)
            elif tensor.dtype not in _FLOATS:
                known = ", ".join(str(d) for d in (*_FLOATS, *_INTEGERS))
                raise DataError(f"tensor {name!r} has dtype {tensor.dtype}; updates take {known}")
            elif tensor.ndim >= 2 and tensor.numel() > 0 and not weights_raw:
                weights.append(name)
            else:
                vectors.append(name)
        return cls(tuple(weights), tuple(vectors), tuple(integers))


def matrix_shape(shape: Iterable[int]) -> tuple[int, int]:
    """The matrix that a weight is reshaped to: the first dimension by all others.

    A convolution (out, in / groups, kh, kw) becomes out x (in / groups * kh * kw). That covers grouped convolutions and
    depthwise ones, where it is out x (kh * kw), because each row holds the one filter that makes one output channel.
    """
    rows, *rest = shape
    return rows, int(np.prod(rest))


def delta_matrix(base: torch.Tensor, new: torch.Tensor) -> NDArray[np.float32]:
    """``new - base`` as a float32 matrix (see :func:`matrix_shape`)."""
    delta = (new.detach().cpu().double() - base.detach().cpu().double()).float()
    return delta.reshape(matrix_shape(base.shape)).numpy()


def add_delta(base: torch.Tensor, delta: NDArray[np.float32]) -> torch.Tensor:
    """``base + delta`` on the CPU in base's shape and dtype; element by element, so the same on every machine."""
    step = torch.from_numpy(np.ascontiguousarray(delta)).reshape(base.shape)
    if base.dtype == torch.float64:
        return base.detach().cpu() + step.double()
    return (base.detach().cpu().float() + step).to(base.dtype)


def raw_bytes(tensor: torch.Tensor) -> bytes:
    """The tensor's elements in its own dtype, little-endian, row by row."""
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b""


def from_raw_bytes(data: bytes, like: torch.Tensor) -> torch.Tensor:
    """A CPU tensor of ``like``'s shape and dtype from :func:`raw_bytes`. Raises PayloadError on a wrong length."""
    if len(data) != like.numel() * like.element_size():
        raise PayloadError(
            f"a raw tensor has {len(data):,} bytes; shape {tuple(like.shape)} needs "
            f"{like.numel() * like.element_size():,}"
        )
    if not data:
        return torch.zeros(like.shape, dtype=like.dtype)
    flat = torch.frombuffer(bytearray(data), dtype=torch.uint8)
    if like.dtype == torch.bool and int(flat.max()) > 1:
        raise PayloadError("a raw boolean tensor holds values other than 0 and 1")
    return flat.view(like.dtype).reshape(like.shape)


def fingerprint(state: State) -> bytes:
    """The first 8 bytes of SHA-256 over names, dtypes, shapes and elements: which base an update is for."""
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name]
        digest.update(f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        if flat.numel():
            digest.update(flat.view(torch.uint8).numpy().data)
    return digest.digest()[:HASH_BYTES]


def check_pair(base: State, new: State) -> None:
    """DataError unless ``new`` has base's names, shapes and dtypes and both are finite throughout."""
    missing, extra = sorted(set(base) - set(new)), sorted(set(new) - set(base))
    if missing or extra:
        name, where = (missing[0], "missing from") if missing else (extra[0], "not in the base but in")
        raise DataError(f"tensor {name!r} is {where} the new state; both must come from the same model")
    for name, tensor in base.items():
        other = new[name]
        if other.shape != tensor.shape or other.dtype != tensor.dtype:
            raise DataError(
                f"tensor {name!r} is {tuple(other.shape)} {other.dtype} in the new state and "
                f"{tuple(tensor.shape)} {tensor.dtype} in the base; both must come from the same model"
            )
        for which, value in (("base", tensor), ("new state", other)):
            if value.is_floating_point() and not bool(torch.isfinite(value).all()):
                raise DataError(f"tensor {name!r} of the {which} holds NaN or infinity; an update needs finite weights")
