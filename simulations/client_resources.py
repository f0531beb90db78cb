"""What a simulated device reserves of a machine."""

from __future__ import annotations

from dataclasses import dataclass

from rinr_flower.errors import ConfigError


@dataclass(frozen=True)
class ClientResources:
    """What a simulated device reserves of Ray's resources, as ``client_resources`` in a scenario.

    Attributes
    ----------
    num_cpus : CPUs, also as a fraction.
    num_gpus : GPUs, also as a fraction below 1; None shares all GPUs evenly where devices compute on CUDA.
    """

    num_cpus: float = 1.0
    num_gpus: float | None = None

    def __post_init__(self) -> None:
        if self.num_cpus <= 0:
            raise ConfigError(f"client_resources.num_cpus is {self.num_cpus:g}; a device needs a part of a CPU")
        gpus = self.num_gpus or 0.0
        if gpus < 0 or (gpus > 1 and gpus != int(gpus)):
            raise ConfigError(f"client_resources.num_gpus is {gpus:g}; give a fraction of one GPU, or whole GPUs")
