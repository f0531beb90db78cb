"""Training a model through a restricted change of its weights, with torch's own parametrisations.

Inside :func:`restricted` every trainable weight of two or more dimensions is frozen and becomes ``base + change``, the
change being computed from a few trainable parameters. Any training loop that takes ``model.parameters()`` works.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.utils import parametrize

from rinr_flower.errors import ConfigError

Restrict = Callable[[str, torch.Tensor], nn.Module | None]
"""From a weight's name and its base value, the module whose forward maps the base to the changed weight; None leaves
the weight frozen as it is."""


def trainable_weights(model: nn.Module) -> dict[str, tuple[nn.Module, str]]:
    """State names of the parameters of two or more dimensions that require gradients, with their module and attribute.

    Raises ConfigError if a parameter is shared by two modules or already parametrised.
    """
    found: dict[str, tuple[nn.Module, str]] = {}
    seen: dict[int, str] = {}
    for path, module in model.named_modules():
        for attribute, parameter in module.named_parameters(recurse=False):
            name = f"{path}.{attribute}" if path else attribute
            if parameter.ndim < 2 or not parameter.requires_grad or not parameter.is_floating_point():
                continue
            if parametrize.is_parametrized(module) or "parametrizations" in name.split("."):
                raise ConfigError(f"weight {name!r} is already parametrised; remove its parametrisation first")
            if id(parameter) in seen:
                raise ConfigError(f"weights {seen[id(parameter)]!r} and {name!r} are shared; freeze one of them")
            seen[id(parameter)] = name
            found[name] = (module, attribute)
    return found


@contextmanager
def restricted(model: nn.Module, restrict: Restrict) -> Iterator[dict[str, nn.Module]]:
    """Within the context, the model's trainable weights are base + change; yields the changes' modules by weight name.

    Create the optimiser inside the context, over the parameters that require gradients. On leaving, the model has plain
    weights again, with the change added. If the body raises, the model is left exactly as it was.
    """
    weights = trainable_weights(model)
    orders = {id(module): (module, list(module._parameters)) for module, _ in weights.values()}
    before = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
    changes: dict[str, nn.Module] = {}
    for name, (module, attribute) in weights.items():
        parameter = getattr(module, attribute)
        change = restrict(name, parameter.detach())
        parameter.requires_grad_(False)
        if change is not None:
            changes[name] = change.to(parameter.device)
    for name, change in changes.items():
        module, attribute = weights[name]
        parametrize.register_parametrization(module, attribute, change, unsafe=True)
    keep = False
    try:
        yield changes
        keep = True
    finally:
        for name, (module, attribute) in weights.items():
            if name in changes:
                parametrize.remove_parametrizations(module, attribute, leave_parametrized=keep)
            getattr(module, attribute).requires_grad_(True)
        for module, order in orders.values():  # removing a parametrisation puts its weight last
            for attribute in order:
                module._parameters[attribute] = module._parameters.pop(attribute)
        if not keep:
            model.load_state_dict(before)
