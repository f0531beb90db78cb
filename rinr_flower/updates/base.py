"""The update compressor interface: base and new state -> bytes -> new state, and the registry of compressors."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from rinr_flower.bitstream.stream import ByteReader, ByteWriter
from rinr_flower.errors import ConfigError, DataError, PayloadError
from rinr_flower.registry import Registry
from rinr_flower.updates.envelope import MAX_SEED, Envelope
from rinr_flower.updates.exact import (
    MAX_VECTOR_BITS,
    RAW_BITS,
    read_flags,
    read_integers,
    read_vectors,
    write_flags,
    write_integers,
    write_vectors,
)
from rinr_flower.updates.layout import Layout, State, add_delta, check_pair, delta_matrix, fingerprint, matrix_shape
from rinr_flower.updates.memory import Memory

Matrices = Mapping[str, NDArray[np.float32]]
"""Weight names, in sorted order, to float32 matrices (see :func:`rinr_flower.updates.layout.matrix_shape`)."""


@dataclass(frozen=True, kw_only=True)
class UpdateCompressor(ABC):
    """How the change of a model becomes bytes and bytes become the changed model.

    A compressor is a frozen dataclass: its fields are its options, its registered ``name`` is stored in every update.
    Subclasses give :meth:`encode` and :meth:`decode` for the weights (see :class:`Layout`); everything the decoding
    side needs must be in the bytes, because it decodes from the class alone. Vectors and integer buffers are sent here,
    alike for all compressors, and tensors that did not change cost one bit.

    Attributes
    ----------
    vector_bits : 32 sends biases, normalisation parameters and running statistics raw, in their own dtype; 2 to 14
        sends their change in levels of that many bits.
    """

    name: ClassVar[str]
    lossless: ClassVar[bool] = False
    """True sends weights as vectors, raw, and leaves nothing to :meth:`encode`."""
    feedback: ClassVar[bool] = True
    """False for unbiased methods whose variance would make error feedback diverge; they leave a memory alone."""
    vector_bits: int = RAW_BITS

    def __post_init__(self) -> None:
        if self.vector_bits != RAW_BITS and not 2 <= self.vector_bits <= MAX_VECTOR_BITS:
            raise ConfigError(f"{self.name} vector_bits {self.vector_bits} is neither 32 nor in 2..{MAX_VECTOR_BITS}")

    @abstractmethod
    def encode(self, deltas: Matrices, *, seed: int, memory: Memory | None) -> bytes:
        """The bytes of the wanted change of every weight that changes.

        ``memory`` is for state of the method itself (a basis); error feedback is already in ``deltas``. The same seed
        on the same machine gives the same bytes.
        """

    @classmethod
    @abstractmethod
    def decode(cls, data: bytes, shapes: Mapping[str, tuple[int, int]], *, seed: int) -> dict[str, NDArray[np.float32]]:
        """The change that ``data`` carries, the same bits on every machine. Raises PayloadError on bad bytes."""

    def compress(self, base: State, new: State, *, memory: Memory | None = None, seed: int = 0) -> bytes:
        """The update that takes ``base`` (nearly) to ``new``.

        Parameters
        ----------
        base : the state that the receiver holds, bit for bit.
        new : the state that it should hold; same names, shapes and dtypes.
        memory : error feedback; what it still owes is added, and it is left owing what this update could not carry.
        seed : of random masks, rotations and rounding, 0..2^63 - 1. Give every round another one.

        Returns
        -------
        The payload. What the receiver will hold is ``apply_update(base, payload)``: the sender should go on from that.

        Raises
        ------
        DataError
            If the states do not match or hold NaN or infinity.
        """
        if not 0 <= seed <= MAX_SEED:
            raise ConfigError(f"update seed {seed} is not in 0..{MAX_SEED}")
        check_pair(base, new)
        memory = memory if self.feedback else None
        layout = Layout.of(base, weights_raw=self.lossless)
        wanted = {}
        for name in layout.weights:
            delta = delta_matrix(base[name], new[name])
            wanted[name] = memory.owed(name, delta) if memory else delta
            if not np.isfinite(wanted[name]).all():
                raise DataError(f"the change of tensor {name!r} exceeds what float32 holds")
        changed = {name: delta for name, delta in wanted.items() if delta.any()}
        body = self.encode(changed, seed=seed, memory=memory)
        data = self.assemble(base, new, list(changed), body, seed=seed)
        if memory is not None:
            shapes = {n: d.shape for n, d in changed.items()}
            memory.store(wanted, self.decode(body, shapes, seed=seed))
        return data

    def assemble(self, base: State, new: State, changed: list[str], body: bytes, *, seed: int) -> bytes:
        """The payload around ``body``, the coded change of the weights named in ``changed`` (sorted)."""
        layout = Layout.of(base, weights_raw=self.lossless)
        vectors = [n for n in layout.vectors if not torch.equal(base[n].cpu(), new[n].cpu())]
        integers = [n for n in layout.integers if not torch.equal(base[n].cpu(), new[n].cpu())]
        content = ByteWriter()
        sent = {*changed, *vectors, *integers}
        write_flags(content, [n in sent for n in (*layout.weights, *layout.vectors, *layout.integers)])
        write_integers(content, base, new, integers)
        write_vectors(content, base, new, vectors, self.vector_bits)
        content.raw(body)
        return Envelope(self.name, fingerprint(base), seed, content.getvalue()).to_bytes()

    @staticmethod
    def apply(base: State, data: bytes) -> dict[str, torch.Tensor]:
        """See :func:`apply_update`."""
        return apply_update(base, data)


updates: Registry[UpdateCompressor] = Registry("update compressor", "rinr_flower.updates")


def apply_update(base: State, data: bytes) -> dict[str, torch.Tensor]:
    """The state that ``data`` makes of ``base``: new tensors on base's devices, in base's order; base is not touched.

    The result is the same, bit for bit, in every process on every machine.

    Raises
    ------
    PayloadError
        If the update is for another base, truncated, altered, of another version, by an unknown compressor, or would
        put NaN or infinity into a tensor.
    """
    envelope = Envelope.from_bytes(data)
    if envelope.compressor not in updates.names():
        known = ", ".join(updates.names())
        raise PayloadError(f"update is by the unknown compressor {envelope.compressor!r}; known: {known}")
    if envelope.base != fingerprint(base):
        raise PayloadError(
            f"update is for the base {envelope.base.hex()}, this model is {fingerprint(base).hex()}; "
            "ask for the full model, or for an update to the model that is held"
        )
    cls = updates.get(envelope.compressor)
    layout = Layout.of(base, weights_raw=cls.lossless)
    reader = ByteReader(envelope.content, f"{envelope.compressor} update")
    names = (*layout.weights, *layout.vectors, *layout.integers)
    sent = {n for n, flag in zip(names, read_flags(reader, len(names)), strict=True) if flag}
    result = read_integers(reader, base, [n for n in layout.integers if n in sent])
    result |= read_vectors(reader, base, [n for n in layout.vectors if n in sent])
    shapes = {n: matrix_shape(base[n].shape) for n in layout.weights if n in sent}
    with np.errstate(over="ignore", invalid="ignore"):
        deltas = cls.decode(reader.raw(reader.left), shapes, seed=envelope.seed)
        for name in shapes:
            result[name] = add_delta(base[name], deltas.pop(name))
    for name, tensor in result.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise PayloadError(f"update would put NaN or infinity into tensor {name!r}")
    return {n: result[n].to(t.device) if n in result else t.detach().clone() for n, t in base.items()}
