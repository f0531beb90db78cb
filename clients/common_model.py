"""The device's end of the model that fog and devices hold in common."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message
from numpy.typing import NDArray

from rinr_flower.detection import State
from rinr_flower.errors import DataError
from rinr_flower.strategies.protocol import ARRAYS, read_updates, updates_record
from rinr_flower.strategies.update_chain import arrays_of, catch_up, tensors_of
from rinr_flower.updates import Memory, updates
from rinr_flower.updates.layout import fingerprint

COMMON = "common-model"  # ArrayRecord in Context.state: the model in common
RESIDUAL = "update-residual"  # ArrayRecord in Context.state: what updates to the fog still owe
BASIS = "update-basis"  # ArrayRecord in Context.state: the compressor's own state


def take_common_model(message: Message, context: Context) -> ArrayRecord | None:
    """Bring the model in common to where the message wants it, and keep it; None if the message is not about one.

    Raises
    ------
    PayloadError
        If an update is for another model, truncated, altered or holds NaN; the device keeps what it has.
    DataError
        If the device has no model in common and the message brings none.
    """
    found = read_updates(message.content)
    if found is None:
        return None
    arrays = message.content.array_records.get(ARRAYS) or context.state.array_records.get(COMMON)
    if not arrays:
        raise DataError("the message brings updates, but this device holds no model in common; send it the whole model")
    before = tensors_of(arrays)
    state = catch_up(before, *found)
    record = arrays if state is before else arrays_of(state)
    context.state[COMMON] = record
    return record


def holding(common: ArrayRecord) -> ConfigRecord:
    """The record that tells the fog which model this device holds."""
    return updates_record((), fingerprint(tensors_of(common)))


def update_of(
    common: ArrayRecord, trained: State, compressor: str | Mapping[str, Any], context: Context, *, source: str
) -> ConfigRecord:
    """The record with what training changed in the model in common; its error feedback stays in ``Context.state``.

    ``source`` names device and round: random parts of an update follow from it.
    """
    base = tensors_of(common)
    memory = Memory()
    memory.residual, memory.basis = _matrices(context, RESIDUAL), _matrices(context, BASIS)
    new = {name: torch.from_numpy(array) for name, array in trained.items()}
    seed = zlib.crc32(source.encode())
    data = updates.create(compressor).compress(base, new, memory=memory, seed=seed)
    for key, matrices in ((RESIDUAL, memory.residual), (BASIS, memory.basis)):
        context.state[key] = ArrayRecord({name: Array(matrix) for name, matrix in matrices.items()})
    return updates_record([data], fingerprint(base))


def _matrices(context: Context, key: str) -> dict[str, NDArray[np.float32]]:
    record = context.state.array_records.get(key, ArrayRecord())
    return {name: np.array(array.numpy(), np.float32) for name, array in record.items()}
