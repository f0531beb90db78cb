"""Tensors that are no matrices: integer buffers, and biases, normalisation parameters and running statistics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from rinr_flower.bitstream.entropy import decode_ints, encode_ints
from rinr_flower.bitstream.stream import ByteReader, ByteWriter
from rinr_flower.errors import PayloadError
from rinr_flower.updates.layout import State, add_delta, from_raw_bytes, raw_bytes
from rinr_flower.updates.levels import read_levels, write_levels
from rinr_flower.updates.sections import read_flags, write_flags
from rinr_flower.updates.steps import MAX_LEVEL, MAX_QP, MIN_QP, dequantise, qp_for_bits, quantise

RAW_BITS = 32
MAX_VECTOR_BITS = int(MAX_LEVEL).bit_length() + 1


def write_integers(writer: ByteWriter, base: State, new: State, names: Sequence[str]) -> None:
    """Integer tensors: entropy-coded differences where all fit in 32 bits, else as they are."""
    if not names:
        return
    before, after = (
        np.concatenate([s[n].cpu().reshape(-1).to(torch.int64).numpy() for n in names]) for s in (base, new)
    )
    small = all(v.size == 0 or (int(v.min()) >= -(2**61) and int(v.max()) < 2**61) for v in (before, after))
    differences = after - before if small else after
    if small and (differences.size == 0 or int(np.abs(differences).max()) < 2**31):
        writer.u8(1)
        writer.blob(encode_ints(differences))
        return
    writer.u8(0)
    writer.raw(after.astype("<i8").tobytes())


def read_integers(reader: ByteReader, base: State, names: Sequence[str]) -> dict[str, torch.Tensor]:
    """The tensors that :func:`write_integers` wrote; PayloadError if a value does not fit in its dtype."""
    if not names:
        return {}
    before = np.concatenate([base[n].cpu().reshape(-1).to(torch.int64).numpy() for n in names])
    if reader.u8() == 1:
        values = before + decode_ints(reader.blob(), before.size, "integer buffers")
    else:
        values = np.frombuffer(reader.raw(8 * before.size), "<i8").astype(np.int64)
    result, start = {}, 0
    for name in names:
        like = base[name]
        part = torch.from_numpy(values[start : start + like.numel()].copy()).reshape(like.shape)
        start += like.numel()
        result[name] = part.to(like.dtype)
        if not torch.equal(result[name].to(torch.int64), part):
            raise PayloadError(f"update puts a value into {name!r} that does not fit in {like.dtype}")
    return result


def write_vectors(
    writer: ByteWriter,
    base: State,
    new: State,
    wanted: Mapping[str, NDArray[np.float32]],
    names: Sequence[str],
    bits: int,
) -> None:
    """Floating vectors: the ``wanted`` change in levels of at most ``bits`` bits, or, without one, ``new`` raw.

    A vector of positive values (variances, gains) of which one would arrive off by more than a factor of two takes 14
    bits, and if that is not enough goes raw: a variance that is small by orders of magnitude divides.
    """
    coded = {n: _quantised(base[n], new[n], wanted[n][0], bits) if n in wanted else None for n in names}
    write_flags(writer, [c is None for c in coded.values()])
    for name, vector in coded.items():
        if vector is None:
            writer.raw(raw_bytes(new[name]))
    pairs = [c for c in coded.values() if c is not None]
    writer.blob(encode_ints(np.diff(np.array([qp for qp, _ in pairs], np.int64), prepend=0)))
    write_levels(writer, [levels for _, levels in pairs])


def read_vectors(reader: ByteReader, base: State, names: Sequence[str]) -> dict[str, torch.Tensor]:
    """The tensors that :func:`write_vectors` wrote."""
    flags: Mapping[str, bool] = dict(zip(names, read_flags(reader, len(names)).tolist(), strict=True))
    result = {}
    for name in (n for n in names if flags[n]):
        like = base[name]
        result[name] = from_raw_bytes(reader.raw(like.numel() * like.element_size()), like)
    coded = [n for n in names if not flags[n]]
    qps = read_qps(reader, len(coded))
    arrays = read_levels(reader, [base[n].numel() for n in coded], "vector levels")
    for name, qp, level in zip(coded, qps, arrays, strict=True):
        result[name] = add_delta(base[name], dequantise(level, qp))
    return result


def read_qps(reader: ByteReader, count: int) -> list[int]:
    """``count`` quantisation parameters written as a blob of differences; PayloadError out of range."""
    qps = np.cumsum(decode_ints(reader.blob(), count, "quantisation parameters"))
    if count and (qps.min() < MIN_QP or qps.max() > MAX_QP):
        raise PayloadError(f"update holds a quantisation parameter out of {MIN_QP}..{MAX_QP}")
    return [int(q) for q in qps]


def _quantised(
    base: torch.Tensor, new: torch.Tensor, wanted: NDArray[np.float32], bits: int
) -> tuple[int, NDArray[np.int32]] | None:
    """Step and levels of a vector's change, or None if it has to go raw."""
    for trial in (bits, MAX_VECTOR_BITS):
        qp = qp_for_bits(float(np.abs(wanted).max()), trial)
        levels = quantise(wanted, qp)
        if qp < MAX_QP and _is_faithful(base, new, add_delta(base, dequantise(levels, qp))):
            return qp, levels
    return None


def _is_faithful(base: torch.Tensor, new: torch.Tensor, decoded: torch.Tensor) -> bool:
    wanted = new.detach().cpu()
    if not bool((wanted > 0).all()) or not bool((base > 0).all()):
        return True
    return bool(((decoded >= wanted / 2) & (decoded <= wanted * 2)).all())
