"""Automatic mixed precision: float16 products and a scaled loss on CUDA, plain float32 elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch


class Precision:
    """How a training step computes: the forward pass, and the step of the optimiser after it.

    Parameters
    ----------
    device : where the network is trained.
    mixed : whether products and convolutions run in float16 (bfloat16 on a CPU), as ultralytics trains; None is yes on
        CUDA and no elsewhere. The weights, their gradients' sums and the optimiser stay float32. The loss is scaled so
        that float16 holds its gradients; a step whose gradients overflow is skipped and the scale halved.
    """

    def __init__(self, device: torch.device, mixed: bool | None = None) -> None:
        self.mixed = device.type == "cuda" if mixed is None else mixed
        self._device = device.type
        self._scaler = torch.amp.GradScaler(self._device, enabled=self.mixed)

    def forward(self) -> torch.autocast:
        """Return the context that the network and its loss are computed in."""
        return torch.autocast(self._device, enabled=self.mixed)

    def step(
        self,
        loss: torch.Tensor,
        optimiser: torch.optim.Optimizer,
        parameters: Iterable[torch.Tensor],
        max_norm: float,
        add_gradient: Callable[[], None] = lambda: None,
    ) -> None:
        """Compute the gradients of ``loss``, limit their norm to ``max_norm`` and let ``optimiser`` step.

        ``add_gradient`` is called before the limit, to add what does not come from ``loss``.
        """
        optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(self._scaler.scale(loss))
        self._scaler.unscale_(optimiser)
        add_gradient()
        torch.nn.utils.clip_grad_norm_(parameters, max_norm)
        self._scaler.step(optimiser)
        self._scaler.update()
