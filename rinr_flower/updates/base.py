"""The update compressor interface: base and new state -> bytes -> new state, and the registry of compressors."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
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
    read_integers,
    read_vectors,
    write_integers,
    write_vectors,
)
from rinr_flower.updates.layout import (
    Layout,
    Part,
    State,
    add_delta,
    check_pair,
    delta_matrix,
    digests,
    fingerprint,
    fingerprint_of,
    matrix_shape,
    same_bits,
    tensors,
)
from rinr_flower.updates.memory import Memory
from rinr_flower.updates.parametrise import Change, Weight
from rinr_flower.updates.sections import read_flags, read_parts, twins, write_flags, write_parts

Matrices = Mapping[str, NDArray[np.float32]]
"""Weight names, in sorted order, to float32 matrices."""
Parts = Mapping[str, Part]
"""Weight names, in sorted order, to the rows that the matrices stand for."""
Changes = Mapping[str, Change]
"""Weight names to the changes that were trained for them."""
EncodeParts = Callable[[Parts], bytes]


@dataclass(frozen=True, kw_only=True)
class UpdateCompressor(ABC):
    """How the change of a model becomes bytes and bytes become the changed model.

    A compressor is a frozen dataclass: its fields are its options, its registered ``name`` is stored in every update.
    Subclasses give :meth:`encode` and :meth:`decode` for the weights (see :class:`Layout`); everything the decoding
    side needs must be in the bytes, because it decodes from the class alone. Here, alike for all compressors: vectors
    and integer buffers are sent, a tensor that did not change costs one bit, rows that did not change stay as they are,
    and tied weights are sent once.

    Attributes
    ----------
    vector_bits : 32 sends biases, normalisation parameters and running statistics raw, in their own dtype; 2 to 14
        sends their change in levels of that many bits.
    """

    name: ClassVar[str]
    lossless: ClassVar[bool] = False
    """True sends weights as vectors, raw, and leaves nothing to :meth:`encode`."""
    feedback: ClassVar[bool] = True
    """False for unbiased methods, whose variance would make error feedback of the weights diverge."""
    vector_bits: int = RAW_BITS

    def __post_init__(self) -> None:
        if self.vector_bits != RAW_BITS and not 2 <= self.vector_bits <= MAX_VECTOR_BITS:
            raise ConfigError(f"{self.name} vector_bits {self.vector_bits} is neither 32 nor in 2..{MAX_VECTOR_BITS}")

    def space(self, weights: Mapping[str, Weight], *, seed: int) -> dict[str, Change] | None:
        """The changes to train, for a method that has a space of its own; None: the weights themselves train.

        Parameters
        ----------
        weights : those that may change, by name.
        seed : as in :meth:`encode`.
        """
        return None

    def encode_trained(self, changes: Changes, deltas: Matrices, parts: Parts, *, seed: int) -> bytes:
        """The bytes of ``deltas``, for some of which there are trained ``changes``; a method may send those instead."""
        return self.encode(deltas, parts, seed=seed, memory=None)

    @abstractmethod
    def encode(self, deltas: Matrices, parts: Parts, *, seed: int, memory: Memory | None) -> bytes:
        """The bytes of the wanted change of every weight that changes.

        ``deltas`` holds the rows that ``parts`` names. ``memory`` is for state of the method itself (a basis); error
        feedback is already in ``deltas``. The same seed on the same machine gives the same bytes.
        """

    @classmethod
    @abstractmethod
    def decode(cls, data: bytes, parts: Parts, *, seed: int) -> dict[str, NDArray[np.float32]]:
        """The change of the rows of ``parts``, the same bits on every machine. Raises PayloadError on bad bytes."""

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
        The payload. What the receiver will hold is ``apply_update(base, payload)``: the sender should go on from that,
        or have a ``Memory("own")``.

        Raises
        ------
        DataError
            If the states do not match, a change is NaN or infinite or beyond what the method carries, or ``memory``
            belongs to another model.
        """
        wanted = self._wanted(base, new, memory if self.feedback else None)

        def encode(parts: Parts) -> bytes:
            return self.encode(_rows(wanted, parts), parts, seed=seed, memory=memory)

        return self._payload(base, new, wanted, encode, memory=memory, seed=seed)

    def compress_trained(
        self, base: State, new: State, changes: Changes, *, memory: Memory | None = None, seed: int = 0
    ) -> bytes:
        """The update that carries the ``changes``, trained in this method's :meth:`space`, and ``new``'s other tensors.

        Raises DataError as :meth:`compress` does.
        """
        deltas: dict[str, NDArray[np.float32]] = {}
        for name, change in changes.items():
            rows, columns = matrix_shape(base[name].shape)
            deltas[name] = change.masked_delta(base[name].shape).detach().cpu().reshape(rows, columns).numpy()
            if not np.isfinite(deltas[name]).all():
                raise DataError(f"the trained change of {name!r} holds NaN or infinity; lower the learning rate")
        wanted = self._wanted(base, new, None) | deltas

        def encode(parts: Parts) -> bytes:
            mine = {n: changes[n] for n in parts if n in changes}
            return self.encode_trained(mine, _rows(wanted, parts), parts, seed=seed)

        return self._payload(base, new, wanted, encode, memory=memory, seed=seed)

    def _wanted(self, base: State, new: State, memory: Memory | None) -> dict[str, NDArray[np.float32]]:
        """The change of every weight that has one, with what ``memory`` owes."""
        layout = Layout.of(base, weights_raw=self.lossless)
        check_pair(base, new)
        found = {n: _change(n, base[n], new[n], memory) for n in layout.weights}
        return {name: delta for name, delta in found.items() if delta is not None}

    def _payload(
        self, base: State, new: State, wanted: Matrices, encode: EncodeParts, *, memory: Memory | None, seed: int
    ) -> bytes:
        """The payload of the ``wanted`` change of the weights and of ``new``'s other tensors; ``memory`` follows.

        ``encode`` gives the bytes of the weights' change; weights without a wanted change stay as they are.
        """
        if not 0 <= seed <= MAX_SEED:
            raise ConfigError(f"update seed {seed} is not in 0..{MAX_SEED}")
        layout, marks = Layout.of(base, weights_raw=self.lossless), digests(base)
        if memory is not None:
            memory.check(fingerprint_of(marks))
        coded = {}
        for name in layout.vectors if self.vector_bits < RAW_BITS else ():
            delta = _change(name, base[name], new[name], memory)
            if delta is not None:
                coded[name] = delta
        changed = {name: wanted[name] for name in layout.weights if name in wanted and wanted[name].any()}
        pairs = twins(marks, changed)
        tied = {name for name, first in pairs.items() if np.array_equal(changed[name], changed[first])}
        parts = {name: Part.changed(delta) for name, delta in changed.items() if name not in tied}
        vectors = [n for n in layout.vectors if not same_bits(base[n], new[n]) or n in coded]
        integers = [n for n in layout.integers if not same_bits(base[n], new[n])]

        writer, sent = ByteWriter(), {*changed, *vectors, *integers}
        write_flags(writer, [n in sent for n in (*layout.weights, *layout.vectors, *layout.integers)])
        write_flags(writer, [n in tied for n in pairs])
        write_parts(writer, parts.values())
        write_integers(writer, base, new, integers)
        write_vectors(writer, base, new, coded, vectors, self.vector_bits)
        basis = dict(memory.basis) if memory is not None else {}
        try:
            with np.errstate(over="ignore", invalid="ignore"):
                writer.raw(encode(parts))
            data = Envelope(self.name, fingerprint_of(marks), seed, writer.getvalue()).to_bytes()
            result = apply_update(base, data)
        except PayloadError as error:
            if memory is not None:
                memory.basis = basis
            raise DataError(f"the change of this model is beyond what {self.name!r} carries: {error}") from error
        if memory is not None:
            for name, delta in (coded | dict(wanted) if self.feedback else coded).items():
                memory.store(name, delta - delta_matrix(base[name], result[name]))
            memory.state = fingerprint(result)
        return data

    @staticmethod
    def apply(base: State, data: bytes) -> dict[str, torch.Tensor]:
        """See :func:`apply_update`."""
        return apply_update(base, data)


updates: Registry[UpdateCompressor] = Registry("update compressor", "rinr_flower.updates")


def apply_update(base: State, data: bytes) -> dict[str, torch.Tensor]:
    """The state that ``data`` makes of ``base``: new tensors on base's devices, in base's order; base is not touched.

    The result is the same, bit for bit, in every process on every machine. A module's extra state stays as it is.

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
    cls = updates.get(envelope.compressor)
    layout, marks = Layout.of(base, weights_raw=cls.lossless), digests(base)
    if envelope.base != fingerprint_of(marks):
        raise PayloadError(
            f"update is for the base {envelope.base.hex()}, this model is {fingerprint_of(marks).hex()}; "
            "ask for the full model, or for an update to the model that is held"
        )
    reader = ByteReader(envelope.content, f"{envelope.compressor} update")
    names = (*layout.weights, *layout.vectors, *layout.integers)
    sent = {n for n, flag in zip(names, read_flags(reader, len(names)), strict=True) if flag}
    changed = [n for n in layout.weights if n in sent]
    pairs = twins(marks, changed)
    tied = {n: pairs[n] for n, flag in zip(pairs, read_flags(reader, len(pairs)), strict=True) if flag}
    parts = read_parts(reader, {n: matrix_shape(base[n].shape) for n in changed if n not in tied})
    result = read_integers(reader, base, [n for n in layout.integers if n in sent])
    result |= read_vectors(reader, base, [n for n in layout.vectors if n in sent])
    with np.errstate(over="ignore", invalid="ignore"):
        deltas = cls.decode(reader.raw(reader.left), parts, seed=envelope.seed)
        for name, part in parts.items():
            result[name] = add_delta(base[name], part.whole(deltas.pop(name)))
    result |= {name: result[first].clone() for name, first in tied.items()}
    for name, tensor in result.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise PayloadError(f"update would put NaN or infinity into tensor {name!r}")
    kept = tensors(base)
    return {
        name: result[name].to(value.device) if name in result else value.detach().clone() if name in kept else value
        for name, value in base.items()
    }


def _change(name: str, base: torch.Tensor, new: torch.Tensor, memory: Memory | None) -> NDArray[np.float32] | None:
    """The float32 change, with what is owed; None if there is nothing to send. Raises DataError beyond float32."""
    owes = memory is not None and name in memory.residual
    if same_bits(base, new):
        if memory is None or not owes:
            return None
        rows, columns = matrix_shape(base.shape) if base.ndim >= 2 else (1, base.numel())
        return memory.owed(name, np.zeros((rows, columns), np.float32))
    with np.errstate(over="ignore", invalid="ignore"):
        delta = delta_matrix(base, new)
        delta = delta if memory is None else memory.owed(name, delta)
    if not np.isfinite(delta).all():
        raise DataError(f"the change of tensor {name!r} exceeds what float32 holds; use the compressor 'full'")
    return delta


def _rows(deltas: Matrices, parts: Parts) -> dict[str, NDArray[np.float32]]:
    return {name: deltas[name][part.rows] for name, part in parts.items()}
