"""What a sender remembers between updates: the part of the wanted change that its payloads have not carried yet."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from rinr_flower.errors import DataError


class Memory:
    """Error-feedback memory of one sender towards one receiver, or towards receivers that all get the same updates.

    Handed to :meth:`UpdateCompressor.compress`, which adds the residual to the wanted change and afterwards stores what
    its payload left out (error feedback: Seide et al. 2014; residual accumulation of DGC and STC). It changes only when
    a payload was produced.

    Attributes
    ----------
    residual : weight name to the float32 matrix that is still owed.
    basis : weight name to the matrix that PowerSGD starts its power iteration from.
    """

    def __init__(self) -> None:
        self.residual: dict[str, NDArray[np.float32]] = {}
        self.basis: dict[str, NDArray[np.float32]] = {}

    def owed(self, name: str, delta: NDArray[np.float32]) -> NDArray[np.float32]:
        """``delta`` plus what is owed. Raises DataError if the memory belongs to another model."""
        before = self.residual.get(name)
        if before is None:
            return delta
        if before.shape != delta.shape:
            raise DataError(f"the memory holds {before.shape} for {name!r}, the model {delta.shape}; use a new Memory")
        return delta + before

    def store(self, wanted: Mapping[str, NDArray[np.float32]], sent: Mapping[str, NDArray[np.float32]]) -> None:
        """Keep ``wanted - sent`` of every weight; a weight absent from ``sent`` was sent nothing."""
        for name, matrix in wanted.items():
            self.residual[name] = matrix - sent[name] if name in sent else matrix.copy()
