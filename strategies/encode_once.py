"""Encoding only what has no payload yet, and keeping each payload as soon as it is made."""

from __future__ import annotations

from collections.abc import Sequence
from typing import overload

from rinr_flower.codecs import Codec, decode
from rinr_flower.codecs.base import Progress
from rinr_flower.frames import Clip
from rinr_flower.messages.protocol import Capture
from rinr_flower.strategies.encoding import Encoder, EncodingError
from rinr_flower.strategies.keeping import Blob, Keep


def encode_once(
    codec: Codec,
    captures: Sequence[Capture],
    uploads: Sequence[Blob],
    keep: Keep,
    encoder: Encoder,
    *,
    seed: int,
    device: str,
    progress: Progress | None,
) -> tuple[dict[int, tuple[Blob, float]], dict[int, str]]:
    """Payload and seconds of every capture by its number, and the reasons why others have none.

    ``uploads`` names the captures' bytes. A capture that was encoded before with the same codec and seed is not encoded
    again.
    """
    keys = [f"{upload.name} seed {seed} {codec!r}" for upload in uploads]
    made = {number: found for number, key in enumerate(keys) if (found := keep.encoded(key)) is not None}
    todo = [number for number in range(len(captures)) if number not in made]
    if not todo:
        return made, {}
    clips = _Decoded([captures[number] for number in todo], device)
    try:
        for index, payload, seconds in encoder(codec, clips, seed=seed, device=device, progress=progress):
            kept = keep.put("payloads", payload)
            keep.note_encoded(keys[todo[index]], kept, seconds)
            made[todo[index]] = kept, seconds
    except EncodingError as error:
        return made, {todo[index]: reason for index, reason in error.reasons.items()}
    return made, {}


class _Decoded(Sequence[Clip]):
    """Clips that are decoded when they are asked for, so that not all of a round are in memory at once."""

    def __init__(self, captures: Sequence[Capture], device: str) -> None:
        self._captures = captures
        self._device = device

    def __len__(self) -> int:
        return len(self._captures)

    @overload
    def __getitem__(self, index: int) -> Clip: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Clip]: ...

    def __getitem__(self, index: int | slice) -> Clip | Sequence[Clip]:
        if isinstance(index, slice):
            return _Decoded(self._captures[index], self._device)
        capture = self._captures[index]
        return decode(capture.data, device=self._device, name=capture.clip)
