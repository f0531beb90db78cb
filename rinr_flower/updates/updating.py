"""Training a model so that its change can be sent: the same call for every compressor."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field

import torch
from torch import nn

from rinr_flower.updates.base import UpdateCompressor, apply_update
from rinr_flower.updates.layout import State
from rinr_flower.updates.memory import Memory
from rinr_flower.updates.parametrise import Change, load_tensors, restricted, snapshot, trainable_weights


@dataclass(eq=False)
class Update:
    """The update that :func:`updating` makes.

    Attributes
    ----------
    base : the model's state on entry.
    changes : within the context, the changes that train, by weight name; empty if the weights themselves train.
    payload : the update, on leaving.
    state : what a receiver holds after it, and the model too, on leaving.
    """

    base: dict[str, torch.Tensor]
    changes: dict[str, Change] = field(default_factory=dict)
    payload: bytes = b""
    state: State = field(default_factory=dict)


@contextmanager
def updating(
    model: nn.Module,
    compressor: UpdateCompressor,
    *,
    memory: Memory | None = None,
    seed: int = 0,
    only: Iterable[str] | None = None,
) -> Iterator[Update]:
    """Train the model within the context; on leaving, ``update.payload`` carries what changed.

    A compressor with a space of its own (``factorised``, ``structured_low_rank``, ``random_mask``) trains in it:
    weights are frozen, and a few parameters, biases and normalisation train. Create the optimiser inside the context,
    over the parameters that require gradients there. With any other compressor the model trains as always and its
    finished change is compressed. On leaving, the model holds exactly what a receiver will hold.

    Parameters
    ----------
    memory : error feedback, see :meth:`UpdateCompressor.compress`.
    seed : of the random parts of the update.
    only : names of the tensors that the update is about, which the receivers hold; None takes all.

    Raises
    ------
    ConfigError
        If a weight is already parametrised.
    DataError
        If training ended in NaN or infinity. The model is left as it was.
    """
    whole = snapshot(model)
    base = whole if only is None else {name: whole[name] for name in only}
    update = Update(base)
    try:
        weights = {name: w for name, w in trainable_weights(model).items() if name in base}
        changes = compressor.space(weights, seed=seed)
        with nullcontext() if changes is None else restricted(model, lambda name, _: changes.get(name)):
            for name, change in (changes or {}).items():
                update.changes |= dict.fromkeys(weights[name].names, change)
            yield update
        state = model.state_dict()
        new = {name: state[name].detach().clone() for name in base}
        if changes is None:
            update.payload = compressor.compress(base, new, memory=memory, seed=seed)
        else:
            update.payload = compressor.compress_trained(base, new, update.changes, memory=memory, seed=seed)
        update.state = apply_update(base, update.payload)
        load_tensors(model, update.state)
    except BaseException:
        load_tensors(model, whole)
        raise
