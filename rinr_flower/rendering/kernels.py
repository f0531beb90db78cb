"""Where Triton's kernels run.

They are chosen by themselves on CUDA. Set the environment variable RINR_TRITON=0 to keep to plain torch, which also
draws, said once in the log, if Triton is not installed. With TRITON_INTERPRET=1 Triton's interpreter runs kernels on
the CPU, for tests.
"""

from __future__ import annotations

import functools
import importlib
import logging
import os
from typing import Any

import torch

SWITCH = "RINR_TRITON"

logger = logging.getLogger(__name__)


def kernel_runs(module: str, device: torch.device) -> bool:
    """Whether the kernel of a module of this package can run on ``device``; False where plain torch has to draw."""
    runs_here = device.type == "cuda" or os.environ.get("TRITON_INTERPRET") == "1"
    return runs_here and os.environ.get(SWITCH) != "0" and triton_kernel(module) is not None


@functools.cache
def triton_kernel(module: str) -> Any:
    """The kernel ``draw_block`` of a module of this package; None, logged, if Triton is not installed."""
    try:
        return importlib.import_module(f"rinr_flower.rendering.{module}").draw_block
    except ImportError as error:
        logger.warning("plain torch draws instead of %s: %s", module, error)
        return None
