"""What a sender remembers between updates."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from rinr_flower.errors import ConfigError, DataError
from rinr_flower.updates.layout import State, fingerprint

TrainsFrom = Literal["base", "own"]


class Memory:
    """Error feedback of one sender towards one receiver, or towards receivers that all get the same updates.

    Handed to :meth:`UpdateCompressor.compress` in every round. It changes only when a payload was produced.

    Parameters
    ----------
    trains_from : ``"base"`` if every training starts from ``base``, the state that the receivers hold. What an update
        leaves out is then no part of the next change, so the memory adds it (error feedback: Seide et al. 2014;
        residual accumulation of DGC and STC). ``"own"`` if the sender goes on training its own model: ``new - base``
        then holds all that is owed, and adding it again would diverge; the memory adds nothing.

    Attributes
    ----------
    residual : tensor name to the float32 matrix that is still owed.
    basis : weight name to the matrix that PowerSGD starts its power iteration from.
    state : fingerprint of the state that the last update made; None before the first.
    """

    def __init__(self, trains_from: TrainsFrom) -> None:
        if trains_from not in ("base", "own"):
            raise ConfigError(f"a memory trains from 'base' or 'own', not {trains_from!r}")
        self.trains_from = trains_from
        self.residual: dict[str, NDArray[np.float32]] = {}
        self.basis: dict[str, NDArray[np.float32]] = {}
        self.state: bytes | None = None

    def follow(self, state: State) -> None:
        """Go on from ``state`` although no update of this memory made it: an average of several senders did."""
        self.state = fingerprint(state)

    def check(self, base: bytes) -> None:
        """Raise DataError unless ``base`` is the fingerprint of the state that the last update made."""
        if self.state is not None and self.state != base:
            raise DataError(
                f"the memory's last update made the model {self.state.hex()}, this base is {base.hex()}: go on from "
                "apply_update(base, payload), or call memory.follow(base) where something else has moved the model"
            )

    def owed(self, name: str, delta: NDArray[np.float32]) -> NDArray[np.float32]:
        """``delta`` plus what is owed. Raises DataError if the memory belongs to another model."""
        before = self.residual.get(name)
        if before is None:
            return delta
        if before.shape != delta.shape:
            raise DataError(f"the memory holds {before.shape} for {name!r}, the model {delta.shape}; use a new Memory")
        return delta + before

    def store(self, name: str, left_out: NDArray[np.float32]) -> None:
        """Keep what an update left out of a tensor's change."""
        if self.trains_from == "base" and left_out.any():
            self.residual[name] = left_out
        else:
            self.residual.pop(name, None)
