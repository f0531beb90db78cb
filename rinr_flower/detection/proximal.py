"""The proximal term of FedProx: mu / 2 times the squared distance to the weights that a round began with."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from rinr_flower.errors import ConfigError


class ProximalTerm:
    """Adds ``mu / 2 * ||w - w_0||^2`` to a loss, by its gradient ``mu * (w - w_0)``.

    ``w_0`` are the parameters' values when the term is made. Li et al., Federated Optimization in Heterogeneous
    Networks, arXiv 1812.06127, equation 2.
    """

    def __init__(self, parameters: Sequence[torch.nn.Parameter], mu: float) -> None:
        if not mu >= 0:
            raise ConfigError(f"a proximal term with mu {mu}; it must be at least 0")
        self.mu = mu
        self._pairs = [(p, p.detach().clone()) for p in parameters] if mu else []

    @torch.no_grad()
    def add_gradient(self) -> None:
        """Add the term's gradient to that of the loss."""
        for parameter, start in self._pairs:
            pull = parameter - start
            if parameter.grad is None:
                parameter.grad = self.mu * pull
            else:
                parameter.grad.add_(pull, alpha=self.mu)
