"""A codec whose clips can fail, in a module that worker processes can import."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch

from rinr_flower.codecs import Codec, codecs
from rinr_flower.codecs.base import Progress
from rinr_flower.errors import DataError
from rinr_flower.frames import Clip
from rinr_flower.rendering.renderer import Renderer


@dataclass(frozen=True)
class Failing(Codec):
    """JPEG, but clips named ``bad`` are an error, ``fatal`` ends the process as a crash would, and ``slow`` waits.

    It writes the names of every group of clips that it is given as a line into the file ``tries``.
    """

    name: ClassVar[str] = "jpeg"
    tries: str = ""

    def encode_parts(
        self, clips: Sequence[Clip], *, seed: int, device: torch.device, progress: Progress | None
    ) -> list[Mapping[str, bytes]]:
        if self.tries:
            with Path(self.tries).open("a") as file:
                file.write(" ".join(c.name for c in clips) + "\n")
        for clip in clips:
            if clip.name == "bad":
                raise DataError("this clip cannot be encoded\nby anyone")
            if clip.name == "fatal":
                os.kill(os.getpid(), signal.SIGSEGV)
            if clip.name == "slow":
                time.sleep(0.5)
        return codecs.create("jpeg").encode_parts(clips, seed=seed, device=device, progress=progress)

    @classmethod
    def renderer(cls, device: torch.device) -> Renderer:
        return codecs.get("jpeg").renderer(device)
