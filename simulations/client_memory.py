"""How much memory a simulated device takes, and what is said where it is not enough."""

from __future__ import annotations

import resource
import sys
from dataclasses import dataclass


@dataclass(frozen=True)
class ClientMemory:
    """Bytes that one worker process takes at its peak.

    Attributes
    ----------
    host : of the machine's memory.
    gpu : of its GPU, with what CUDA takes for itself; 0 where it uses none.
    gpu_available : of its GPU, for all workers on it.
    """

    host: int = 0
    gpu: int = 0
    gpu_available: int = 0

    def most(self, other: ClientMemory) -> ClientMemory:
        """The larger of two, number by number."""
        return ClientMemory(
            max(self.host, other.host), max(self.gpu, other.gpu), max(self.gpu_available, other.gpu_available)
        )

    def __str__(self) -> str:
        gpu = f" and {self.gpu / 1e9:.2f} GB of its GPU" if self.gpu else ""
        return f"{self.host / 1e9:.2f} GB of memory{gpu}"


def measured_memory() -> ClientMemory:
    """Of this process so far. Other processes on its GPU count as its own: exact for one that is alone."""
    unit = 1 if sys.platform == "darwin" else 1024
    host = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return ClientMemory(host)
    free, total = torch.cuda.mem_get_info()
    spare = torch.cuda.max_memory_reserved() - torch.cuda.memory_reserved()
    now = total - free
    return ClientMemory(host, now + spare, free + now)


def out_of_memory(error: BaseException) -> str:
    """What to do about an error that says that memory is not enough; empty for any other error."""
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(error, torch.OutOfMemoryError):
        where = "the GPU"
    elif isinstance(error, MemoryError):
        where = "the machine"
    else:
        return ""
    return (
        f"{where} has no memory left for this device ({measured_memory()}); let fewer compute at a time "
        "(--set parallel=N), or train on smaller batches (--set batch=N)"
    )
