"""How much one device may upload in one round, so that one device's rubbish never costs the others their round."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

from rinr_flower.errors import DataError, PayloadError
from rinr_flower.messages.protocol import Capture
from rinr_flower.strategies.options import number


@dataclass(frozen=True)
class CaptureLimits:
    """Bounds on the captures of one device in one round, together.

    Attributes
    ----------
    clips, frames, boxes : how many.
    megabytes : bytes as they were uploaded.
    megapixels : pixels of all frames when they are decoded.
    seconds : for decoding them; those that are left when it is over are refused.
    """

    clips: int = 1024
    frames: int = 4096
    boxes: int = 65_536
    megabytes: float = 256.0
    megapixels: float = 4096.0
    seconds: float = 120.0

    def __post_init__(self) -> None:
        """ConfigError for a bound that is no number."""
        for field in fields(self):
            number(f"{field.name} of CaptureLimits", getattr(self, field.name), lambda x: x >= 0, "of at least 0")

    def check(self, captures: Sequence[Capture]) -> None:
        """DataError that names the first bound that ``captures`` pass; reads headers and boxes only."""
        self._within("clips", len(captures), self.clips)
        self._within("megabytes", sum(len(capture.data) for capture in captures) / 1e6, self.megabytes)
        frames, boxes, pixels = 0, 0, 0
        for capture in captures:
            try:
                payload = capture.payload
            except PayloadError:
                continue  # the decoder says what is wrong with it
            frames += len(payload)
            boxes += sum(map(len, payload.boxes))
            pixels += len(payload) * payload.width * payload.height
        self._within("frames", frames, self.frames)
        self._within("boxes", boxes, self.boxes)
        self._within("megapixels", pixels / 1e6, self.megapixels)

    def _within(self, what: str, found: float, limit: float) -> None:
        if found > limit:
            raise DataError(
                f"{found:,.6g} {what} in one round; the fog takes at most {limit:,.6g} of a device "
                f"(FogNode's limits=CaptureLimits({what}=...))"
            )
