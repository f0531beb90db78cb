"""The device's end of the model that fog and devices hold in common."""

from __future__ import annotations

import zlib

import numpy as np
import torch
from flwr.app import ArrayRecord, RecordDict
from numpy.typing import NDArray

from rinr_flower.array_file import Arrays
from rinr_flower.errors import DataError
from rinr_flower.messages.coded_model import open_model
from rinr_flower.messages.common_model import catch_up
from rinr_flower.messages.protocol import ARRAYS, check_numbers, numbers_of, read_updates, updates_record
from rinr_flower.updates import Memory, UpdateCompressor
from rinr_flower.updates.layout import fingerprint


def take_common_model(content: RecordDict, held: Arrays | None) -> Arrays | None:
    """The model in common where the message wants it; None if the message is not about one.

    Parameters
    ----------
    content : of the message.
    held : the model in common that the device holds; None if it has none.

    Raises
    ------
    PayloadError
        If an update is for another model, truncated, altered or holds NaN; the device keeps what it has.
    DataError
        If the device has no model in common and the message brings none, or if a model has exploded.
    """
    found = read_updates(content)
    if found is None:
        return None
    brought = content.array_records.get(ARRAYS)
    before = {name: numbers_of(name, array) for name, array in open_model(brought).items()} if brought else held
    if not before:
        raise DataError("the message brings updates, but this device holds no model in common; send it the whole model")
    after = {name: tensor.numpy() for name, tensor in catch_up(_tensors(before), *found).items()}
    for name, numbers in after.items() if not brought else ():
        check_numbers(name, numbers, before[name])
    return after


def holding(common: Arrays) -> ArrayRecord:
    """The record that tells the fog which model this device holds."""
    return updates_record((), fingerprint(_tensors(common)))


def update_of(
    common: Arrays,
    trained: Arrays,
    compressor: UpdateCompressor,
    memory: Memory,
    *,
    source: str,
) -> ArrayRecord:
    """The record with what training changed in the model in common; what it still owes stays in ``memory``.

    ``source`` names device and round: random parts of an update follow from it.
    """
    base = _tensors(common)
    data = compressor.compress(base, _tensors(trained), memory=memory, seed=zlib.crc32(source.encode()))
    return updates_record([data], fingerprint(base))


def memory_of(residual: Arrays, basis: Arrays) -> Memory:
    """A compressor's memory from what the device kept of it."""
    memory = Memory("base")
    memory.residual, memory.basis = _matrices(residual), _matrices(basis)
    return memory


def _matrices(arrays: Arrays) -> dict[str, NDArray[np.float32]]:
    return {name: np.array(array, np.float32) for name, array in arrays.items()}


def _tensors(arrays: Arrays) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(np.array(array)) for name, array in arrays.items()}
