"""Encoding only what has no payload yet, and keeping each payload as soon as it is made."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from rinr_flower.bitstream.container import Payload
from rinr_flower.codecs import Codec
from rinr_flower.errors import PayloadError
from rinr_flower.strategies.encoding import Encoder, Upload
from rinr_flower.strategies.keeping import Blob, Captured, Keep


@dataclass(frozen=True, eq=False)
class Made:
    """What became of one capture: its upload as kept, and a payload with its seconds, or a reason."""

    upload: Blob
    payload: Blob | None
    seconds: float = 0.0
    reason: str = ""


def encode_once(
    codec: Codec | None,
    captures: Sequence[Captured],
    keep: Keep,
    encoder: Encoder,
    *,
    seed: int,
    device: str,
    decode_seconds: float,
    progress: Callable[[float], None] | None = None,
) -> list[Made]:
    """Decode, encode and keep captures, in their order.

    A capture that was encoded before with the same codec and seed is not decoded or encoded again.

    Parameters
    ----------
    codec : None checks that the captures can be decoded, and passes them on as they are.
    decode_seconds : time that the captures of one device may take to be decoded; what is left then is refused.
    progress : called with the fraction done.
    """
    uploads = [capture.upload for capture in captures]
    keys = [f"{upload.name} seed {seed} {codec!r}" for upload in uploads]
    made: dict[int, Made] = {}
    for number, (upload, key) in enumerate(zip(uploads, keys, strict=True)):
        if codec is not None and (found := keep.encoded(key)) is not None:
            made[number] = Made(upload, *found)
    spent: dict[str, float] = defaultdict(float)
    sent: list[int] = []  # numbers of the captures, in the order of the encoder's own numbers

    def todo() -> Iterator[Upload]:
        for number, capture in enumerate(captures):
            if number in made:
                continue
            try:
                if spent[capture.device] >= decode_seconds:
                    raise PayloadError(f"not decoded: the device's captures took {decode_seconds:g} s already")
                upload = Upload(capture.clip, Payload.from_bytes(capture.upload.data))
            except PayloadError as error:
                made[number] = Made(uploads[number], None, reason=str(error))
                continue
            sent.append(number)
            yield upload

    def tick() -> None:
        if progress is not None:
            progress(len(made) / len(captures))

    for row in encoder(codec, todo(), seed=seed, device=device, tick=tick):
        number = sent[row.index]
        spent[captures[number].device] += row.decode_seconds
        payload: Blob | None = None
        if row.payload is not None:
            payload = keep.put("payloads", row.payload)
            keep.note_encoded(keys[number], payload, row.encode_seconds)
        elif codec is None and not row.reason:
            payload = keep.put("payloads", captures[number].upload.data)
        made[number] = Made(uploads[number], payload, row.encode_seconds, row.reason)
        tick()
    return [made[number] for number in range(len(captures))]
