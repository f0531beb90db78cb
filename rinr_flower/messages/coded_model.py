"""A whole model in a fifth of its bytes: weights in fine quantisation steps, everything else exact.

The coded model is an ArrayRecord of one Array of stype ``rinr.model``: the envelope of
:mod:`rinr_flower.bitstream.envelope` (``RMOD``, version 1) around a table, bytes and an update. The table is a blob,
JSON compressed by zlib, with ``[name, type, shape, form]`` of every array. The forms:

- a whole number: weights, floats of two or more dimensions; the update, by :class:`Quantised` from zeros, carries them
  as float32 values about 1, times 2 to that number;
- null: the update carries the array as it is, floats flattened;
- ``"bytes"``: floats among which there is an infinity, as in a causal mask. The bytes of all these, one after the other
  and compressed by zlib, are the second blob.
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, cast

import numpy as np
import torch
from flwr.app import Array, ArrayRecord
from numpy.typing import NDArray

from rinr_flower.bitstream.envelope import unwrap, wrap
from rinr_flower.bitstream.stream import ByteWriter
from rinr_flower.errors import DataError, PayloadError
from rinr_flower.messages.records import arrays_of_record, record_of, size_of
from rinr_flower.updates import Quantised, apply_update

CODED = "rinr.model"  # stype of the Array
KEY = "model"  # its name in the record
MAGIC, VERSION = b"RMOD", 1
STEP = 0.01  # in root mean squares of a weight; docs/updates.md has what coarser ones cost
MAX_PEAK = 100.0  # root mean squares; a weight with a larger value goes exactly
MAX_TABLE_BYTES, MAX_MODEL_BYTES = 1 << 24, 1 << 31
MAX_GROWTH = 1024  # a model of more bytes for those it came in is refused, and sent as it is
BYTES: Literal["bytes"] = "bytes"
_FLOATS = ("float16", "float32", "float64")
_TYPES = (*_FLOATS, "int8", "int16", "int32", "int64", "uint8", "bool")

Arrays = Mapping[str, NDArray[np.generic]]


@dataclass(frozen=True, eq=False)
class StartModel:
    """A model that all ends begin with; without arrays, none yet.

    Attributes
    ----------
    arrays : the model that every end holds, bit for bit.
    sent : the record that a device gets for it: coded, or ``arrays`` itself where coding does not make it smaller.
    """

    arrays: ArrayRecord = field(default_factory=ArrayRecord)
    sent: ArrayRecord = field(default_factory=ArrayRecord)

    @classmethod
    def of(cls, arrays: ArrayRecord, *, step: float = STEP) -> StartModel:
        """Round a model to what its coded form holds; one with NaN, say, stays as it is.

        ``step`` is that of the weights, in root mean squares.
        """
        try:
            sent = record_around(_coded(arrays_of_record(arrays), step))
            if size_of(sent) < size_of(arrays):
                return cls(open_model(sent), sent)
        except (DataError, PayloadError):
            pass
        return cls(arrays, arrays)

    @classmethod
    def restored(cls, arrays: ArrayRecord, coded: bytes | None) -> StartModel:
        """The model with these arrays and the bytes that :attr:`coded` gave."""
        return cls(arrays, arrays if coded is None else record_around(coded))

    def carried_by(self, record: object) -> bool:
        """Whether a record is this model's, coded or not; identity is asked, since ``==`` compares all numbers."""
        return record is self.arrays or record is self.sent

    @property
    def coded(self) -> bytes | None:
        """The bytes of the coded model; None if it is sent as it is."""
        return self.sent[KEY].data if is_coded(self.sent) else None


def is_coded(record: ArrayRecord) -> bool:
    """Tell whether a model's record holds its coded form."""
    return list(record) == [KEY] and record[KEY].stype == CODED


def open_model(record: ArrayRecord) -> ArrayRecord:
    """The model in a message's record, decoded if it is coded. PayloadError on bytes that hold no model."""
    if not is_coded(record):
        return record
    reader = unwrap(record[KEY].data, MAGIC, VERSION, "coded model")
    table = _read_table(reader.blob(), MAX_GROWTH * len(record[KEY].data))
    plain = _read_bytes(reader.blob(), table)
    found = apply_update(_zeros(table), reader.raw(reader.left))
    arrays: dict[str, NDArray[np.generic]] = {}
    for name, (kind, shape, form) in table.items():
        numbers = plain[name] if form == BYTES else found[name].numpy()
        if isinstance(form, int):
            with np.errstate(over="ignore", under="ignore"):
                numbers = np.ldexp(numbers.astype(np.float64), form).astype(kind)
            if not np.isfinite(numbers).all():
                raise PayloadError(f"coded model puts infinity into array {name[:80]!r}")
        arrays[name] = numbers.reshape(shape)
    return record_of(arrays)


Form = int | Literal["bytes"] | None
Entry = tuple[str, tuple[int, ...], Form]
"""Type, shape and form of an array."""


def _coded(arrays: Arrays, step: float) -> bytes:
    """DataError if an array is of another type or holds NaN."""
    table = {name: (str(a.dtype), a.shape, _form(a)) for name, a in arrays.items()}
    if odd := [kind for kind, *_ in table.values() if kind not in _TYPES]:
        raise DataError(f"an array of type {odd[0]} is not coded")
    new, plain = {}, []
    for name, (kind, _, form) in table.items():
        numbers = arrays[name]
        if form == BYTES:
            plain.append(numbers.tobytes())
            continue
        if form is not None:
            numbers = np.ldexp(numbers.astype(np.float64), -form).astype(np.float32)
        elif kind in _FLOATS:
            numbers = numbers.reshape(-1)
        new[name] = torch.from_numpy(np.array(numbers))
    writer = ByteWriter()
    writer.blob(zlib.compress(json.dumps([[name, *entry] for name, entry in table.items()]).encode(), 9))
    writer.blob(zlib.compress(b"".join(plain), 9))
    writer.raw(Quantised(step=step).compress(_zeros(table), new))
    return wrap(MAGIC, VERSION, writer.getvalue())


def _form(array: NDArray[np.generic]) -> Form:
    """The power of two next to a weight's root mean square; None for what is sent as it is; BYTES with infinities."""
    if str(array.dtype) not in _FLOATS:
        return None
    if np.isnan(array).any():
        raise DataError("an array that holds NaN is not coded")
    if not np.isfinite(array).all():
        return BYTES
    if array.ndim < 2 or not array.any():
        return None
    numbers = array.astype(np.float64)
    rms, peak = float(np.sqrt(np.square(numbers).mean())), float(np.abs(numbers).max())
    return round(math.log2(rms)) if 0 < rms < math.inf and peak <= MAX_PEAK * rms else None


def _zeros(table: Mapping[str, Entry]) -> dict[str, torch.Tensor]:
    """Zeros that the update of a coded model starts from."""
    zeros = {}
    for name, (kind, shape, form) in table.items():
        if form == BYTES:
            continue
        flat = form is None and kind in _FLOATS
        zeros[name] = torch.from_numpy(
            np.zeros(math.prod(shape) if flat else shape, kind if form is None else "float32")
        )
    return zeros


def _read_table(data: bytes, limit: int) -> dict[str, Entry]:
    """PayloadError unless it names arrays of known types that take at most ``limit`` and MAX_MODEL_BYTES bytes."""
    try:
        text = _inflated(data, MAX_TABLE_BYTES)
        table = {name: _entry(name, *entry) for name, *entry in json.loads(text)}
    except (zlib.error, ValueError, TypeError, RecursionError) as error:
        raise PayloadError(f"coded model has no readable table of arrays: {error}") from error
    size = sum(math.prod(shape) * np.dtype(kind).itemsize for kind, shape, _ in table.values())
    if size > (limit := min(limit, MAX_MODEL_BYTES)):
        raise PayloadError(f"coded model declares {size:,} bytes of arrays; at most {limit:,} are allowed")
    return table


def _read_bytes(data: bytes, table: Mapping[str, Entry]) -> Arrays:
    """The arrays of form BYTES, flat. PayloadError on NaN, and unless the bytes are as many as the table says."""
    entries = [(name, kind, math.prod(shape)) for name, (kind, shape, form) in table.items() if form == BYTES]
    size = sum(count * np.dtype(kind).itemsize for _, kind, count in entries)
    try:
        plain = _inflated(data, size + 1)
    except (zlib.error, ValueError) as error:
        raise PayloadError(f"coded model has no readable arrays: {error}") from error
    if len(plain) != size:
        raise PayloadError(f"coded model has other than the {size:,} bytes that its table declares for arrays")
    arrays, start = {}, 0
    for name, kind, count in entries:
        arrays[name] = np.frombuffer(plain, kind, count, start).copy()
        if np.isnan(arrays[name]).any():
            raise PayloadError(f"coded model puts NaN into array {name[:80]!r}")
        start += arrays[name].nbytes
    return arrays


def _inflated(data: bytes, limit: int) -> bytes:
    """Decompress ``data`` by zlib. Raises ValueError or zlib.error unless it ends within ``limit`` bytes."""
    unpacker = zlib.decompressobj()
    plain = unpacker.decompress(data, limit)
    if not unpacker.eof:
        raise ValueError(f"it is truncated or longer than {limit:,} bytes")
    return plain


def _entry(name: object, kind: object, shape: object, form: object) -> Entry:
    """Raises ValueError on anything that :func:`_coded` does not write."""
    if not isinstance(name, str) or kind not in _TYPES or not isinstance(shape, list) or len(shape) > 32:
        raise ValueError(f"{str([name, kind, shape])[:80]} is no array")
    if any(type(side) is not int or not 0 <= side <= MAX_MODEL_BYTES for side in shape):
        raise ValueError(f"array {name[:80]!r} has the shape {str(shape)[:80]}")
    scaled = type(form) is int and abs(form) <= 1_100 and len(shape) >= 2
    if form is not None and not (kind in _FLOATS and (scaled or form == BYTES)):
        raise ValueError(f"array {name[:80]!r} has the form {str(form)[:40]}")
    return str(kind), tuple(shape), cast(Form, form)


def record_around(coded: bytes) -> ArrayRecord:
    """The record that carries a coded model."""
    record = ArrayRecord()
    record[KEY] = Array("uint8", (len(coded),), CODED, coded)  # set: the constructor copies
    return record
