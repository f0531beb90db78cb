"""Training a model through a restricted change of its weights, with torch's own parametrisations.

Inside :func:`restricted` every trainable weight of two or more dimensions is frozen and becomes ``base + change``, the
change being computed from a few trainable parameters. Any training loop that takes ``model.parameters()`` works.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.utils import parametrize

from rinr_flower.errors import ConfigError
from rinr_flower.updates.layout import State, matrix_shape, tensors


@dataclass(frozen=True, eq=False)
class Weight:
    """A parameter of two or more dimensions that requires gradients.

    Attributes
    ----------
    names : all its names in the ``state_dict``, sorted; more than one for tied weights.
    parameter : the parameter itself.
    holders : the modules that use it, with the attribute it has there.
    """

    names: tuple[str, ...]
    parameter: nn.Parameter
    holders: tuple[tuple[nn.Module, str], ...]

    @property
    def shape(self) -> tuple[int, int]:
        """Of the matrix that the weight is reshaped to."""
        return matrix_shape(self.parameter.shape)

    @property
    def looked_up(self) -> bool:
        """True for the table of an embedding: only the rows of the tokens seen get gradients."""
        return all(isinstance(module, nn.Embedding | nn.EmbeddingBag) for module, _ in self.holders)

    @property
    def padding(self) -> int | None:
        """The row that never trains, as embeddings have one for padding."""
        rows = {m.padding_idx if isinstance(m, nn.Embedding | nn.EmbeddingBag) else None for m, _ in self.holders}
        return rows.pop() if len(rows) == 1 else None


class Change(nn.Module):
    """A trainable change of a weight: weight -> weight + :meth:`delta`, as a receiver adds it.

    Parameters
    ----------
    frozen_row : a row of the weight that does not change.
    """

    def __init__(self, frozen_row: int | None = None) -> None:
        super().__init__()
        self.frozen_row = frozen_row

    def delta(self) -> torch.Tensor:
        """The change, float32, of as many elements as the weight has."""
        raise NotImplementedError

    def masked_delta(self, shape: torch.Size) -> torch.Tensor:
        """:meth:`delta` as a tensor of the weight's ``shape``, zero in the frozen row."""
        change = self.delta().reshape(shape)
        if self.frozen_row is None:
            return change
        mask = torch.ones(len(change), device=change.device)
        mask[self.frozen_row] = 0
        return change * mask.reshape(-1, *[1] * (change.ndim - 1))

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """The changed weight in the weight's dtype; sums are at least float32, also under autocast."""
        with torch.autocast(weight.device.type, enabled=False):
            change = self.masked_delta(weight.shape)
            if weight.dtype == torch.float64:
                return weight + change.double()
            return (weight.float() + change).to(weight.dtype)


Restrict = Callable[[str, Weight], Change | None]
"""From a weight's first name and the weight, the change to train; None leaves the weight frozen as it is."""


def trainable_weights(model: nn.Module) -> dict[str, Weight]:
    """The model's weights that require gradients, by their first name in the ``state_dict``.

    Raises ConfigError if one is already parametrised.
    """
    found: dict[int, list[tuple[str, nn.Module, str]]] = {}
    for path, module in model.named_modules(remove_duplicate=False):
        for attribute, parameter in module.named_parameters(recurse=False, remove_duplicate=False):
            name = f"{path}.{attribute}" if path else attribute
            if parameter.ndim < 2 or not parameter.requires_grad or not parameter.is_floating_point():
                continue
            if parametrize.is_parametrized(module) or "parametrizations" in name.split("."):
                raise ConfigError(f"weight {name!r} is already parametrised; remove its parametrisation first")
            found.setdefault(id(parameter), []).append((name, module, attribute))
    weights = {}
    for places in found.values():
        holders = {(id(module), attribute): (module, attribute) for _, module, attribute in places}
        names = tuple(sorted(name for name, _, _ in places))
        module, attribute = places[0][1:]
        weights[names[0]] = Weight(names, getattr(module, attribute), tuple(holders.values()))
    return dict(sorted(weights.items()))


def snapshot(model: nn.Module) -> dict[str, torch.Tensor]:
    """A copy of the tensors of the model's ``state_dict``, without extra state."""
    return {name: value.detach().clone() for name, value in tensors(model.state_dict()).items()}


def load_tensors(model: nn.Module, state: State) -> None:
    """Copy ``state`` into the model's tensors of the same names, in place."""
    own = model.state_dict()
    with torch.no_grad():
        for name, tensor in state.items():
            own[name].copy_(tensor)


@contextmanager
def restricted(model: nn.Module, restrict: Restrict) -> Iterator[dict[str, Change]]:
    """Within the context, the model's trainable weights are base + change; yields the changes by weight name.

    Create the optimiser inside the context, over the parameters that require gradients. Tied weights get one change.
    On leaving, the model has plain weights again, with the change added. If the body raises, it is left as it was.

    Warns
    -----
    UserWarning
        If gradients reached the changes and none of them moved: the optimiser does not hold them.
    """
    weights = trainable_weights(model)
    orders = {id(m): (m, list(m._parameters)) for w in weights.values() for m, _ in w.holders}
    before = snapshot(model)
    changes: dict[str, Change] = {}
    for name, weight in weights.items():
        change = restrict(name, weight)
        weight.parameter.requires_grad_(False)
        if change is not None:
            changes[name] = change.to(weight.parameter.device)
    after: dict[str, torch.Tensor] | None = None
    with ExitStack() as undo:
        undo.callback(_reorder, orders)
        for name, change in changes.items():
            for module, attribute in weights[name].holders:
                _prepare(module, undo)
                parametrize.register_parametrization(module, attribute, change, unsafe=True)
                undo.callback(parametrize.remove_parametrizations, module, attribute, leave_parametrized=False)
        moved = _watch(changes)
        try:
            yield changes
            moved()
            with torch.no_grad():
                after = {n: getattr(*weights[n].holders[0]).detach().clone() for n in changes}
        finally:
            undo.close()
            for weight in weights.values():
                weight.parameter.requires_grad_(True)
            if after is None:
                load_tensors(model, before)
    with torch.no_grad():
        for name, value in after.items():
            weights[name].parameter.copy_(value)


def _prepare(module: nn.Module, undo: ExitStack) -> None:
    """Make a module read its weights anew in every forward pass and give dense gradients."""
    if isinstance(module, nn.Embedding | nn.EmbeddingBag) and module.sparse:
        module.sparse = False
        undo.callback(setattr, module, "sparse", True)
    if isinstance(module, nn.RNNBase) and not parametrize.is_parametrized(module):
        undo.callback(module._init_flat_weights)
        undo.callback(module.register_forward_pre_hook(_read_again).remove)


def _read_again(module: nn.Module, _: object) -> None:
    """A recurrent layer keeps its weights in a list; fill it from the parametrised attributes."""
    assert isinstance(module, nn.RNNBase)
    module._flat_weights = [getattr(module, name) for name in module._flat_weights_names]


def _reorder(orders: Mapping[int, tuple[nn.Module, list[str]]]) -> None:
    """Put parameters back where they were: removing a parametrisation puts its weight last."""
    for module, order in orders.values():
        for attribute in order:
            module._parameters[attribute] = module._parameters.pop(attribute)


def _watch(changes: Mapping[str, Change]) -> Callable[[], None]:
    """A function that warns if gradients came and nothing has moved since."""
    trained = [p for change in changes.values() for p in change.parameters()]
    before = [p.detach().clone() for p in trained]
    reached = [False]

    def note(_: torch.Tensor) -> None:
        reached[0] = True

    handles = [p.register_hook(note) for p in trained]  # type: ignore[no-untyped-call]

    def check() -> None:
        for handle in handles:
            handle.remove()
        if reached[0] and all(torch.equal(p, b) for p, b in zip(trained, before, strict=True)):
            warnings.warn(
                "training left every weight as it was: create the optimiser inside the context, "
                "over the parameters that require gradients there",
                stacklevel=4,
            )

    return check
