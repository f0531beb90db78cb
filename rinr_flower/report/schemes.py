"""Ways of sharing the same captures: what a run really sent, beside what the alternatives would have sent.

Rows of the report. The predicted bytes are the closed form of :mod:`rinr_flower.bandwidth.model`, clip by clip.
Measured bytes come from the ledger: the run's own messages, and, for plain JPEG, the run's own upload messages as if
sent on to every receiver.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from rinr_flower.bandwidth.ledger import FOG, MODEL, PAYLOAD, SHARE, START_MODEL, UPDATE, UPLOAD, Entry, Ledger
from rinr_flower.bandwidth.model import Bytes, federated_bytes, fog_bytes, fog_training_bytes, serverless_bytes
from rinr_flower.report.record import PayloadRecord, RivalRecord, RunRecord, UpdateRecord

Route = Literal["serverless", "fog", "training", "federated"]
Evidence = Literal["sent", "metered", "counted"]
DATA_KINDS = (UPLOAD, PAYLOAD, SHARE)
IMAGE_ROUTES: tuple[Route, ...] = ("serverless", "fog")


@dataclass(frozen=True)
class Scheme:
    """One way of sharing a run's captures.

    Attributes
    ----------
    name : the route and the codec, for example ``"serverless jpeg"`` or ``"fog residual"``.
    route : images from device to device or through the fog, or model updates: from the fog that trains on uploaded
        images, or by federated averaging without any image.
    codec : what the receivers decode; the update compressor where updates are sent.
    predicted : payload bytes by the closed form.
    ledger : entries that carry captures and payloads (kinds DATA_KINDS).
    evidence : what the ledger holds: messages ``sent`` by this run, ``metered`` (the run's own messages of the same
        captures, addressed as this scheme would), or ``counted`` (encoded payloads, without any message around them).
    coverage : the share of the captures' bytes that the codec was measured on; below 1 the rest is extrapolated.
    """

    name: str
    route: Route
    codec: str
    predicted: Bytes
    ledger: Ledger
    evidence: Evidence
    coverage: float = 1.0

    @property
    def payload_bytes(self) -> int:
        return self.ledger.payload_bytes

    @property
    def message_bytes(self) -> int:
        return self.ledger.message_bytes

    @property
    def overhead_bytes(self) -> int:
        """Bytes that messages add to their payloads."""
        return self.message_bytes - self.payload_bytes


def schemes_of(record: RunRecord) -> list[Scheme]:
    """Every scheme that the record can speak about.

    The run's own first, then serverless JPEG, JPEG through the fog, every rival codec on both routes, and every
    recorded update compressor with training at the fog and with federated averaging.
    """
    payloads = captures_of(record)
    if not payloads:
        return []
    receivers = [receivers_of(record, p) for p in payloads]
    rows = [_own(record, payloads, receivers), *_jpeg(record, payloads, receivers)]
    for name, rivals in _by_name(record.rivals).items():
        rows += _rival(record, name, rivals, payloads, receivers)
    for update in record.updates:
        rows += _updates(record, update, payloads, receivers)
    seen: dict[str, Scheme] = {}
    for row in rows:
        known = seen.get(row.name)
        if known is None or (known.evidence == "counted" and row.evidence == "metered"):
            seen[row.name] = row
    return list(seen.values())


def captures_of(record: RunRecord) -> list[PayloadRecord]:
    """One record a clip and round, of the codec that the run sent (a record may hold others for comparison)."""
    codecs = [p.codec for p in record.payloads]
    own = max(dict.fromkeys(codecs), key=codecs.count) if codecs else ""
    return [p for p in record.payloads if p.codec == own]


def with_plausible_sizes(record: RunRecord, missing: list[str]) -> RunRecord:
    """The record with the size of the JPEG upload, which holds the camera's files, where they are said to be larger.

    Also where they are said to be less than half of it; a note for each such device goes into ``missing``.
    """
    if record.scenario.get("upload") not in ("jpeg", {"name": "jpeg"}):
        return record
    payloads = [
        p if p.upload_bytes <= 2 * p.camera_bytes <= 2 * p.upload_bytes else replace(p, camera_bytes=p.upload_bytes)
        for p in record.payloads
    ]
    odd = {p.device for p, said in zip(payloads, record.payloads, strict=True) if p is not said}
    sums = {name: sum(p.camera_bytes for p in payloads if p.device == name) for name in odd}
    for name in sorted(odd):
        missing.append(f"{name} gives sizes of camera files that do not fit its uploads; the uploads' sizes are taken")
    devices = tuple(replace(d, camera_bytes=sums.get(d.name, d.camera_bytes)) for d in record.devices)
    return replace(record, payloads=tuple(payloads), devices=devices)


def receivers_of(record: RunRecord, payload: PayloadRecord) -> tuple[str, ...]:
    """The devices that a clip was meant for: all but its own."""
    names = [d.name for d in record.devices] or sorted({p.device for p in record.payloads})
    return tuple(n for n in names if n != payload.device)


def is_serverless(record: RunRecord) -> bool:
    """True if devices sent their captures to each other without a fog node."""
    return SHARE in record.ledger.by_kind()


def data_entries(ledger: Ledger) -> Ledger:
    """The entries that carry captures or payloads, without models and instructions."""
    return Ledger(entries=[e for e in ledger if e.kind in DATA_KINDS])


def other_entries(ledger: Ledger) -> Ledger:
    """Models, updates and instructions: what any way of sharing needs besides the data."""
    return Ledger(entries=[e for e in ledger if e.kind not in DATA_KINDS])


def start_models(ledger: Ledger) -> Ledger:
    """The entries that carry the model that devices start from, which every way of sharing needs."""
    return Ledger(entries=[e for e in ledger if e.kind == START_MODEL])


def other_bytes(scheme: Scheme, own: Scheme, ledger: Ledger) -> int:
    """Message bytes of a run's ``ledger`` that ``scheme`` needs besides its own: models and instructions.

    A way that shares images as the run did needs the same; one that sends model updates instead, or a run that did,
    has at least the start model in common with it.
    """
    if scheme is not own and not (scheme.route in IMAGE_ROUTES and own.route in IMAGE_ROUTES):
        return start_models(ledger).message_bytes
    return ledger.message_bytes - (own.message_bytes if own.evidence == "sent" else 0)


def _own(record: RunRecord, payloads: Sequence[PayloadRecord], receivers: Sequence[tuple[str, ...]]) -> Scheme:
    if UPDATE in record.ledger.by_kind():
        return _own_updates(record, payloads, receivers)
    route: Route = "serverless" if is_serverless(record) else "fog"
    codec = payloads[0].codec
    ledger = data_entries(record.ledger)
    sizes = [p.payload_bytes for p in payloads]
    predicted = _predict(route, payloads, receivers, sizes)
    if len(ledger):
        return Scheme(f"{route} {codec}", route, codec, predicted, ledger, "sent")
    return Scheme(f"{route} {codec}", route, codec, predicted, _count(route, payloads, receivers, sizes), "counted")


def _own_updates(record: RunRecord, payloads: Sequence[PayloadRecord], receivers: Sequence[tuple[str, ...]]) -> Scheme:
    """A run that sent model updates: federated averaging, training at the fog, or now this and now payloads.

    Whole models that devices got instead of updates count as such; the start model, which every way needs, does not.
    """
    ledger = Ledger(entries=[e for e in record.ledger if e.kind in (*DATA_KINDS, UPDATE, MODEL)])
    name = record.updates[0].name if record.updates else "update"
    up = [e.payload_bytes for e in ledger if e.kind == UPDATE and e.destination == FOG]
    down = [e.payload_bytes for e in ledger if e.kind == UPDATE and e.source == FOG]
    devices = len(record.devices)
    if up:
        rounds = len({p.round for p in payloads})
        each = federated_bytes(devices, beta_up=sum(up) / len(up), beta_down=sum(down) / max(len(down), 1))
        predicted = Bytes(rounds * each.up, rounds * each.down)
        return Scheme(f"federated {name}", "federated", name, predicted, ledger, "sent")
    parts, shared = [], {e.round for e in ledger if e.kind == PAYLOAD}
    for number in sorted({p.round for p in payloads}):
        pairs = [(p, to) for p, to in zip(payloads, receivers, strict=True) if p.round == number]
        items, to = [p for p, _ in pairs], [to for _, to in pairs]
        sizes = [e.payload_bytes for e in ledger if e.kind == UPDATE and e.round == number]
        if number not in shared:
            camera = [max(p.camera_bytes, 1) for p in items]
            u = [p.upload_bytes / c for p, c in zip(items, camera, strict=True)]
            # a device without a model gets the present one in place of updates
            parts.append(fog_training_bytes(camera, len(sizes), beta=sum(sizes) / max(len(sizes), 1), u=u))
        else:
            parts.append(_predict("fog", items, to, [p.payload_bytes for p in items]))
    predicted = Bytes(sum(p.up for p in parts), sum(p.down for p in parts))
    if PAYLOAD in ledger.by_kind():
        codec = payloads[0].codec
        return Scheme(f"fog {codec} or training {name}", "fog", codec, predicted, ledger, "sent")
    return Scheme(f"training {name}", "training", name, predicted, ledger, "sent")


def _jpeg(record: RunRecord, payloads: Sequence[PayloadRecord], receivers: Sequence[tuple[str, ...]]) -> list[Scheme]:
    """Serverless JPEG and JPEG through the fog, from the run's own upload messages if those were the camera's files."""
    uploads = {(e.round, e.source, e.content): e for e in record.ledger if e.kind in (UPLOAD, SHARE)}
    matched = [uploads.get((p.round, p.device, f"{p.device}/{p.clip}")) for p in payloads]
    camera = [p.upload_bytes if _is_camera_file(p) else p.camera_bytes for p in payloads]
    plain = [replace(p, upload_bytes=size) for p, size in zip(payloads, camera, strict=True)]
    rows = []
    for route in IMAGE_ROUTES:
        evidence: Evidence = "counted"
        ledger = _count(route, plain, receivers, camera)
        if all(matched) and all(map(_is_camera_file, payloads)):
            evidence, ledger = "metered", _forward(route, [e for e in matched if e], receivers)
        rows.append(Scheme(f"{route} jpeg", route, "jpeg", _predict(route, plain, receivers, camera), ledger, evidence))
    return rows


def _forward(route: Route, uploads: Sequence[Entry], receivers: Sequence[tuple[str, ...]]) -> Ledger:
    """The messages that carried the uploads, addressed to every receiver."""
    ledger = Ledger()
    for entry, to in zip(uploads, receivers, strict=True):
        if route == "fog":
            ledger.append(replace(entry, destination=FOG, kind=UPLOAD))
        source, kind = (FOG, PAYLOAD) if route == "fog" else (entry.source, SHARE)
        for name in to:
            ledger.append(replace(entry, source=source, destination=name, kind=kind))
    return ledger


def _is_camera_file(payload: PayloadRecord) -> bool:
    """True if the upload is the camera's own JPEG files: their bytes, plus boxes and a header."""
    return payload.camera_bytes <= payload.upload_bytes <= 1.05 * payload.camera_bytes + 1024


def _rival(
    record: RunRecord,
    name: str,
    rivals: Sequence[RivalRecord],
    payloads: Sequence[PayloadRecord],
    receivers: Sequence[tuple[str, ...]],
) -> list[Scheme]:
    """A rival codec at the fog, and the same among the devices themselves.

    Clips that it was not measured on get the mean alpha of those it was.
    """
    measured = {(c.round, c.device, c.clip): c.bytes for c in rivals}
    known = [p for p in payloads if (p.round, p.device, p.clip) in measured]
    camera = sum(p.camera_bytes for p in known)
    if not camera:
        return []
    alpha = sum(measured[p.round, p.device, p.clip] for p in known) / camera
    sizes = [measured.get((p.round, p.device, p.clip), round(alpha * p.camera_bytes)) for p in payloads]
    coverage = camera / sum(p.camera_bytes for p in payloads)
    return [
        Scheme(
            f"{route} {name}",
            route,
            name,
            _predict(route, payloads, receivers, sizes),
            _count(route, payloads, receivers, sizes),
            "counted",
            coverage,
        )
        for route in IMAGE_ROUTES
    ]


def _count(
    route: Route, payloads: Sequence[PayloadRecord], receivers: Sequence[tuple[str, ...]], sizes: Sequence[int]
) -> Ledger:
    """The payloads alone, one entry a clip and receiver."""
    ledger = Ledger()
    for p, to, size in zip(payloads, receivers, sizes, strict=True):
        content = f"{p.device}/{p.clip}"
        if route == "fog" and to:
            ledger.append(Entry(p.round, p.device, FOG, UPLOAD, p.upload_bytes, p.upload_bytes, content))
        source, kind = (FOG, PAYLOAD) if route == "fog" else (p.device, SHARE)
        for name in to:
            ledger.append(Entry(p.round, source, name, kind, size, size, content))
    return ledger


def _updates(
    record: RunRecord,
    update: UpdateRecord,
    payloads: Sequence[PayloadRecord],
    receivers: Sequence[tuple[str, ...]],
) -> list[Scheme]:
    """Training at the fog, and federated averaging, with one update a device and round (and direction)."""
    training, federated = Ledger(), Ledger()
    up = down = averaged = 0.0
    for number in sorted({p.round for p in payloads}):
        pairs = [(p, to) for p, to in zip(payloads, receivers, strict=True) if p.round == number and to]
        for p, _ in pairs:
            content = f"{p.device}/{p.clip}"
            training.append(Entry(number, p.device, FOG, UPLOAD, p.upload_bytes, p.upload_bytes, content))
        receiving = sorted({name for _, to in pairs for name in to})
        for name in receiving:
            training.append(Entry(number, FOG, name, UPDATE, update.bytes, update.bytes, "update"))
        devices = sorted({d.name for d in record.devices} | set(receiving))
        for name in devices:
            federated.append(Entry(number, name, FOG, UPDATE, update.bytes, update.bytes))
        for name in devices:
            federated.append(Entry(number, FOG, name, MODEL, update.bytes, update.bytes, "update"))
        camera = [max(p.camera_bytes, 1) for p, _ in pairs]
        u = [p.upload_bytes / c for (p, _), c in zip(pairs, camera, strict=True)]
        trained = fog_training_bytes(camera, len(receiving), beta=update.bytes, u=u)
        up, down = up + trained.up, down + trained.down
        averaged += federated_bytes(len(devices), beta_up=update.bytes, beta_down=update.bytes).up
    return [
        Scheme(f"training {update.name}", "training", update.name, Bytes(up, down), training, "counted"),
        Scheme(f"federated {update.name}", "federated", update.name, Bytes(averaged, averaged), federated, "counted"),
    ]


def _predict(
    route: Route, payloads: Sequence[PayloadRecord], receivers: Sequence[tuple[str, ...]], sizes: Sequence[int]
) -> Bytes:
    """The closed form with every clip's own D, u, alpha and r."""
    camera = np.array([max(p.camera_bytes, 1) for p in payloads], np.float64)
    r = np.array([len(to) for to in receivers])
    alpha = np.asarray(sizes, np.float64) / camera
    if route == "serverless":
        return serverless_bytes(camera, r, alpha=alpha)
    return fog_bytes(camera, r, alpha=alpha, u=np.array([p.upload_bytes for p in payloads]) / camera)


def _by_name(rivals: Sequence[RivalRecord]) -> dict[str, list[RivalRecord]]:
    groups: dict[str, list[RivalRecord]] = defaultdict(list)
    for rival in rivals:
        groups[rival.name].append(rival)
    return groups
