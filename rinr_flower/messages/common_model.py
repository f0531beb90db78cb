"""The model that fog and devices hold in common: in messages, as tensors, and brought up to date by updates."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from flwr.app import Array, ArrayRecord

from rinr_flower.errors import PayloadError
from rinr_flower.updates import Factorised, UpdateCompressor, apply_update
from rinr_flower.updates.envelope import Envelope
from rinr_flower.updates.layout import State, fingerprint

FEDERATED: UpdateCompressor = Factorised(rank=8, vector_bits=8)
"""Compressor of a federation's updates, both ways, where none is named: see docs/updates.md, "In a federation"."""


def options_of(component: Any) -> dict[str, Any]:
    """A registered dataclass, such as a compressor or an architecture, as a mapping with ``name`` and options."""
    return {"name": component.name, **dataclasses.asdict(component)}


def tensors_of(arrays: ArrayRecord) -> dict[str, torch.Tensor]:
    """The model in a message's record, as tensors of its own."""
    return {name: torch.from_numpy(np.array(array.numpy())) for name, array in arrays.items()}


def arrays_of(state: State) -> ArrayRecord:
    """A model for a message's record."""
    return ArrayRecord({name: Array(tensor.detach().cpu().contiguous().numpy()) for name, tensor in state.items()})


def catch_up(state: State, updates: Sequence[bytes], model: bytes) -> State:
    """``state`` after those of ``updates``, in their order, that it does not contain yet.

    The first to apply is the one whose base is ``state``. ``model`` is the fingerprint that must come out.

    Raises
    ------
    PayloadError
        If no update is for ``state``, one is truncated or altered, or another model comes out; ``state`` is untouched.
    """
    held = fingerprint(state)
    if held == model:
        return state
    bases = [Envelope.from_bytes(data).base for data in updates]
    if held not in bases:
        raise PayloadError(
            f"the message makes the model {model.hex()} with {len(updates)} updates, none of them for the model "
            f"{held.hex()} that this device holds; send it the whole model"
        )
    for data in updates[bases.index(held) :]:
        state = apply_update(state, data)
    if fingerprint(state) != model:
        raise PayloadError(f"the updates end in the model {fingerprint(state).hex()}; the fog's is {model.hex()}")
    return state
