"""Time of a whole run of learning: communication, encoding, decoding and training, side by side."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from rinr_flower.bandwidth.link import LinkModel
from rinr_flower.report.record import PayloadRecord, RunRecord
from rinr_flower.report.schemes import Scheme, captures_of, receivers_of


@dataclass(frozen=True)
class Timing:
    """Seconds of all rounds of a run; NaN where nothing was measured.

    Attributes
    ----------
    link : on the link, by the link model.
    encode : at the fog, whose workers share the clips of a round; where devices encode for themselves, the slowest of
        them.
    decode : on the device that has most to decode, from files or payloads to what is trained on.
    train : on the slowest device.
    """

    link: float
    encode: float
    decode: float
    train: float

    @property
    def total(self) -> float:
        """From capture to trained detector; NaN if a part is not known, which would flatter the scheme."""
        return math.fsum((self.link, self.encode, self.decode, self.train))


def time_of(scheme: Scheme, record: RunRecord, link: LinkModel) -> Timing:
    """Time of one scheme, from the record's measured seconds.

    Training is the run's own for all schemes, because all give the same number of frames to train on. Decoding is the
    run's measured rendering for its own codec, and measured decoding where a rival has it.
    """
    by_round: dict[int, list[float]] = defaultdict(list)
    rendered: dict[int, list[float]] = defaultdict(list)
    for a in record.accuracy:
        if a.round > 0:
            by_round[a.round].append(a.train_seconds)
            rendered[a.round].append(a.render_seconds)
    train = _total(_largest(values) for values in by_round.values())
    if scheme.route in ("training", "federated"):
        return Timing(link.seconds(scheme.ledger), 0.0, math.nan, train)
    payloads = captures_of(record)
    own = bool(payloads) and scheme.codec == payloads[0].codec
    if scheme.codec == "jpeg":
        encode = {}
        decode = {(p.round, p.device, p.clip): p.camera_decode_seconds for p in payloads}
    elif own:
        encode = {(p.round, p.device, p.clip): p.encode_seconds for p in payloads}
        decode = {(p.round, p.device, p.clip): p.decode_seconds for p in payloads}
    else:
        rivals = [c for c in record.rivals if c.name == scheme.codec]
        encode = {(c.round, c.device, c.clip): c.encode_seconds for c in rivals}
        decode = {(c.round, c.device, c.clip): c.decode_seconds for c in rivals}
    seconds = _scaled(encode, payloads)
    encoding = 0.0 if scheme.codec == "jpeg" else _encoding(scheme, payloads, seconds, encoders_of(record))
    decoding = _total(_largest(values) for values in rendered.values()) if own else math.nan
    if math.isnan(decoding):
        received: dict[str, list[float]] = defaultdict(list)
        for p, taken in zip(payloads, _scaled(decode, payloads), strict=True):
            for name in receivers_of(record, p):
                received[name].append(taken)
        decoding = _largest(_total(values) for values in received.values())
    return Timing(link.seconds(scheme.ledger), encoding, decoding, train)


def encoders_of(record: RunRecord) -> int:
    """Clips that the fog encoded at the same time; 1 if the record does not say."""
    count = record.environment.get("encoders", 1)
    return count if isinstance(count, int) and count > 0 else 1


def _encoding(scheme: Scheme, payloads: Sequence[PayloadRecord], seconds: Sequence[float], workers: int) -> float:
    if scheme.route == "fog":
        rounds: dict[int, list[float]] = defaultdict(list)
        for p, value in zip(payloads, seconds, strict=True):
            rounds[p.round].append(value)
        return _total(max(_total(values) / workers, *values) for values in rounds.values())
    each: dict[str, list[float]] = defaultdict(list)
    for p, value in zip(payloads, seconds, strict=True):
        each[p.device].append(value)
    return _largest(_total(values) for values in each.values())


def _scaled(known: Mapping[tuple[int, str, str], float], payloads: Sequence[PayloadRecord]) -> list[float]:
    """Seconds of every clip: as measured, else the measured clips' seconds a frame."""
    measured = [
        (p.frames, s) for p in payloads if not math.isnan(s := known.get((p.round, p.device, p.clip), math.nan))
    ]
    frames = sum(f for f, _ in measured)
    per_frame = math.fsum(s for _, s in measured) / frames if frames else math.nan
    values = [(known.get((p.round, p.device, p.clip), math.nan), p.frames) for p in payloads]
    return [per_frame * frames if math.isnan(s) else s for s, frames in values]


def _total(values: Iterable[float]) -> float:
    """Sum; NaN if there is nothing to add or anything is unknown."""
    known = list(values)
    return math.fsum(known) if known else math.nan


def _largest(values: Iterable[float]) -> float:
    """The largest known value; NaN if there is none."""
    return max((v for v in values if not math.isnan(v)), default=math.nan)


def turning_rate(own: Scheme, rival: Scheme, record: RunRecord, link: LinkModel) -> float:
    """Bytes/s of the link below which ``own`` is done before ``rival``; infinite: at any rate, 0: at none.

    All rates of the link model change together; latencies, encoding, decoding and training stay. NaN where a time is
    not known, or where ``own`` carries more on the link than ``rival``, so that a faster link is what it needs.
    """
    own_fixed, own_carried = _split(own, record, link)
    fixed, carried = _split(rival, record, link)
    lead, saved = own_fixed - fixed, carried - own_carried
    if math.isnan(lead) or math.isnan(saved) or saved < 0:
        return math.nan
    if lead <= 0:
        return math.inf
    return saved / lead * link.rate_bytes_per_s


def _split(scheme: Scheme, record: RunRecord, link: LinkModel) -> tuple[float, float]:
    """Seconds but for training that the link's rate does not change, and seconds on the link inverse to it."""
    timing = time_of(scheme, record, link)
    latency = link.times_as_fast(_ALL_BUT_INFINITE).seconds(scheme.ledger)
    return timing.encode + timing.decode + latency, timing.link - latency


_ALL_BUT_INFINITE = 1e15
