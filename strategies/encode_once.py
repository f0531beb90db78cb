"""Encoding only what has no payload yet, and keeping each payload as soon as it is made."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from rinr_flower.bitstream.container import Payload
from rinr_flower.codecs import Codec
from rinr_flower.errors import PayloadError
from rinr_flower.strategies.encoding import Encoder, Upload
from rinr_flower.strategies.keeping import Blob, Captured, Keep


@dataclass(frozen=True, eq=False)
class Made:
    """A capture with its payload and the seconds that it took, or the reason why it has none.

    ``by_codec`` says that the capture could be decoded, and the fog's codec failed.
    """

    capture: Captured
    payload: Blob | None
    seconds: float = 0.0
    reason: str = ""
    by_codec: bool = False


def encode_once(
    codec: Codec | None,
    captures: Iterable[Captured],
    keep: Keep,
    encoder: Encoder,
    *,
    seed: int,
    device: str,
    decode_seconds: float,
    progress: Callable[[float], None] | None = None,
) -> list[Made]:
    """Decode, encode and keep captures; what became of them, in the order of the devices' and the clips' names.

    Captures are taken as workers become free, so an iterator that waits for uploads is encoded while they come. A
    capture that was encoded before with the same codec and seed is not decoded or encoded again.

    Parameters
    ----------
    codec : None checks that the captures can be decoded, and passes them on as they are.
    decode_seconds : time that the captures of one device may take to be decoded; what is left then is refused.
    progress : called with the fraction of the captures so far that is done; 1 when all are.
    """
    made: list[Made] = []
    sent: list[Captured] = []  # in the order of the encoder's own numbers
    spent: dict[str, float] = defaultdict(float)
    seen, told = 0, 0.0

    def key(capture: Captured) -> str:
        return f"{capture.upload.name} seed {seed} {codec!r}"

    def todo() -> Iterator[Upload]:
        nonlocal seen
        for capture in captures:
            seen += 1
            if codec is not None and (found := keep.encoded(key(capture))) is not None:
                made.append(Made(capture, *found))
                continue
            try:
                if spent[capture.device] >= decode_seconds:
                    raise PayloadError(f"not decoded: the device's captures took {decode_seconds:g} s already")
                upload = Upload(capture.clip, Payload.from_bytes(capture.upload.data))
            except PayloadError as error:
                made.append(Made(capture, None, reason=str(error)))
                continue
            sent.append(capture)
            yield upload

    def tick() -> None:
        nonlocal told
        if progress is not None and seen:
            told = max(told, len(made) / (seen + 1))  # there may be more to come
            progress(told)

    for row in encoder(codec, todo(), seed=seed, device=device, tick=tick):
        capture = sent[row.index]
        spent[capture.device] += row.decode_seconds
        payload: Blob | None = None
        if row.payload is not None:
            payload = keep.put("payloads", row.payload)
            keep.note_encoded(key(capture), payload, row.encode_seconds)
        elif codec is None and not row.reason:
            payload = keep.put("payloads", capture.upload.data)
        made.append(Made(capture, payload, row.encode_seconds, row.reason, row.by_codec))
        tick()
    if progress is not None and made:
        progress(1.0)
    return sorted(made, key=lambda item: (item.capture.device, item.capture.clip))
