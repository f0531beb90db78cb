"""How the tensors of a ``state_dict`` are sorted for an update, and how they turn into matrices.

Names, shapes and dtypes are implied by the base, which both ends hold; an update never carries them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from rinr_flower.errors import DataError, PayloadError

State = Mapping[str, torch.Tensor]
"""What ``torch.nn.Module.state_dict()`` returns: tensor names to tensors."""

HASH_BYTES = 8
EXTRA_STATE = "_extra_state"
"""Torch's name for what a module saves besides tensors. It is no part of an update: every end keeps its own."""
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

        Raises DataError on an entry that is no dense tensor with elements in memory, or of another dtype.
        """
        weights, vectors, integers = [], [], []
        for name in sorted(tensors(state)):
            tensor = state[name]
            check_tensor(name, tensor)
            if tensor.dtype in _INTEGERS:
                integers.append(name)
            elif tensor.ndim >= 2 and tensor.numel() > 0 and not weights_raw:
                weights.append(name)
            else:
                vectors.append(name)
        return cls(tuple(weights), tuple(vectors), tuple(integers))


@dataclass(frozen=True, eq=False)
class Part:
    """The rows of a weight's matrix (see :func:`matrix_shape`) that an update changes.

    Attributes
    ----------
    rows : their indices, increasing.
    height : rows of the whole matrix.
    columns : of the matrix.
    """

    rows: NDArray[np.int64]
    height: int
    columns: int

    @property
    def shape(self) -> tuple[int, int]:
        """Rows that change, and columns."""
        return len(self.rows), self.columns

    @property
    def size(self) -> int:
        """Elements of the rows that change."""
        return len(self.rows) * self.columns

    @classmethod
    def changed(cls, delta: NDArray[np.float32]) -> Part:
        """The rows of a matrix that hold anything but zeros."""
        return cls(np.flatnonzero(delta.any(axis=1)), len(delta), delta.shape[1])

    def whole(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """The whole matrix, zero but for ``rows``."""
        if len(self.rows) == self.height:
            return rows
        matrix = np.zeros((self.height, self.columns), np.float32)
        matrix[self.rows] = rows
        return matrix


def tensors(state: Mapping[str, Any]) -> dict[str, Any]:
    """The entries of a ``state_dict`` without modules' extra state."""
    return {name: value for name, value in state.items() if name.split(".")[-1] != EXTRA_STATE}


def check_tensor(name: str, tensor: object) -> None:
    """Raise DataError unless ``tensor`` is a dense tensor of a known dtype with its elements in memory."""
    if not isinstance(tensor, torch.Tensor):
        raise DataError(f"state entry {name!r} is a {type(tensor).__name__}; updates take tensors, leave it out")
    if tensor.is_meta:
        raise DataError(f"tensor {name!r} is on the device 'meta' and has no elements; load the model's weights first")
    if tensor.layout != torch.strided:
        raise DataError(f"tensor {name!r} has the layout {tensor.layout}; updates take dense ones, see to_dense()")
    if tensor.dtype not in _FLOATS + _INTEGERS:
        known = ", ".join(str(d).removeprefix("torch.") for d in (*_FLOATS, *_INTEGERS))
        raise DataError(f"tensor {name!r} has dtype {tensor.dtype}; updates take {known}: cast it with .to()")


def matrix_shape(shape: Iterable[int]) -> tuple[int, int]:
    """The matrix that a weight is reshaped to: the first dimension by all others, leading ones of size 1 left out.

    A convolution (out, in / groups, kh, kw) becomes out x (in / groups * kh * kw). That covers grouped convolutions and
    depthwise ones, where it is out x (kh * kw), because each row holds the one filter that makes one output channel. A
    table of positions (1, tokens, width) becomes tokens x width.
    """
    rows, *rest = shape
    while rows == 1 and len(rest) > 1:
        rows, *rest = rest
    return rows, int(np.prod(rest))


def delta_matrix(base: torch.Tensor, new: torch.Tensor) -> NDArray[np.float32]:
    """``new - base`` as a float32 matrix (see :func:`matrix_shape`); a vector is a matrix of one row."""
    delta = (new.detach().cpu().double() - base.detach().cpu().double()).float()
    return delta.reshape(matrix_shape(base.shape) if base.ndim >= 2 else (1, base.numel())).numpy()


def add_delta(base: torch.Tensor, delta: NDArray[np.float32]) -> torch.Tensor:
    """``base + delta`` on the CPU in base's shape and dtype; element by element, so the same on every machine."""
    step = torch.from_numpy(np.ascontiguousarray(delta)).reshape(base.shape)
    if base.dtype == torch.float64:
        return base.detach().cpu() + step.double()
    return (base.detach().cpu().float() + step).to(base.dtype)


def raw_bytes(tensor: torch.Tensor) -> bytes:
    """The tensor's elements in its own dtype, little-endian, row by row."""
    return _bytes(tensor).tobytes()


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


def same_bits(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Whether two tensors of one shape and dtype hold the same bits; NaN and infinity count as any others."""
    if a.is_floating_point() or a.is_complex():
        a, b = (t.detach().contiguous().reshape(-1).view(torch.uint8) for t in (a, b))
    return torch.equal(a.cpu(), b.cpu())


def digests(state: State) -> dict[str, bytes]:
    """SHA-256 of every tensor's dtype, shape and elements, by name in sorted order."""
    found = {}
    for name in sorted(tensors(state)):
        tensor = state[name]
        digest = hashlib.sha256(f"{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        digest.update(_bytes(tensor).data)
        found[name] = digest.digest()
    return found


def fingerprint(state: State) -> bytes:
    """The first 8 bytes of SHA-256 over names and :func:`digests`: which base an update is for."""
    return fingerprint_of(digests(state))


def fingerprint_of(digests: Mapping[str, bytes]) -> bytes:
    """:func:`fingerprint` from the digests of a state."""
    whole = hashlib.sha256()
    for name in sorted(digests):
        whole.update(name.encode() + b"\0" + digests[name])
    return whole.digest()[:HASH_BYTES]


def check_pair(base: State, new: State) -> None:
    """Raise DataError unless ``new`` has base's names, shapes and dtypes and what changed is finite in both."""
    for state in (base, new):
        for name, value in tensors(state).items():
            check_tensor(name, value)
    before, after = tensors(base), tensors(new)
    missing, extra = sorted(set(before) - set(after)), sorted(set(after) - set(before))
    if missing or extra:
        name, where = (missing[0], "missing from") if missing else (extra[0], "not in the base but in")
        raise DataError(f"tensor {name!r} is {where} the new state; both must come from the same model")
    for name, tensor in before.items():
        other = after[name]
        if other.shape != tensor.shape or other.dtype != tensor.dtype:
            raise DataError(
                f"tensor {name!r} is {tuple(other.shape)} {other.dtype} in the new state and "
                f"{tuple(tensor.shape)} {tensor.dtype} in the base; both must come from the same model"
            )
        if not tensor.is_floating_point() or same_bits(tensor, other):
            continue
        for which, value in (("base", tensor), ("new state", other)):
            if not bool(torch.isfinite(value).all()):
                raise DataError(f"tensor {name!r} of the {which} holds NaN or infinity; an update needs finite weights")


def _bytes(tensor: torch.Tensor) -> NDArray[np.uint8]:
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy() if flat.numel() else np.zeros(0, np.uint8)
