"""The record of a run, kept as ``run.json`` and ``ledger.csv`` in the run's folder."""

from __future__ import annotations

import collections.abc
import dataclasses
import json
import math
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from rinr_flower.bandwidth.ledger import Ledger
from rinr_flower.errors import DataError
from rinr_flower.files import write_file
from rinr_flower.report.kept_rounds import kept_values

VERSION = 1
T = TypeVar("T")


@dataclass(frozen=True)
class DeviceRecord:
    """One edge device: its clips, the bytes and number of the camera files that it shares, frames held back for mAP."""

    name: str
    clips: tuple[str, ...] = ()
    camera_bytes: int = 0
    frames: int = 0
    held_back: int = 0


@dataclass(frozen=True)
class PayloadRecord:
    """One clip of one round as the fog encoded it.

    ``camera_bytes`` are the clip's JPEG files, ``upload_bytes`` what the device really uploaded for it,
    ``payload_bytes`` what the codec made of it (``bytes_by_part`` adds up to that). PSNR in dB against the decoded
    camera files; NaN where there is no such region. ``decode_seconds`` is the payload's, ``camera_decode_seconds`` that
    of the camera's files.
    """

    round: int
    device: str
    clip: str
    codec: str
    frames: int
    width: int
    height: int
    camera_bytes: int
    upload_bytes: int
    payload_bytes: int
    bytes_by_part: Mapping[str, int] = field(default_factory=dict)
    encode_seconds: float = math.nan
    frame_db: float = math.nan
    background_db: float = math.nan
    object_db: float = math.nan
    decode_seconds: float = math.nan
    camera_decode_seconds: float = math.nan


@dataclass(frozen=True)
class AccuracyRecord:
    """mAP of one device's detector on its held-back frames after a round, and what rendering and training cost it.

    Round 0 is before training. ``trained_frames`` is None where it is not known.
    """

    round: int
    device: str
    map50: float
    map50_95: float
    trained_frames: int | None = 0
    render_seconds: float = math.nan
    train_seconds: float = math.nan


@dataclass(frozen=True)
class FailureRecord:
    """A device, a message or a payload that was lost; ``kind`` is a word, ``reason`` a sentence."""

    round: int
    device: str
    kind: str
    reason: str


@dataclass(frozen=True)
class RivalRecord:
    """A rival codec over the same captures, encoded at the fog. ``bytes`` is its payload."""

    name: str
    clip: str
    device: str
    round: int
    bytes: int
    frame_db: float = math.nan
    background_db: float = math.nan
    object_db: float = math.nan
    encode_seconds: float = math.nan
    decode_seconds: float = math.nan


@dataclass(frozen=True)
class UpdateRecord:
    """One model update as an update compressor packed it, of a model trained on this run's frames.

    What the fog would send if it trained itself, or a device in federated averaging.
    """

    name: str
    bytes: int
    map50: float = math.nan
    map50_95: float = math.nan


@dataclass(frozen=True)
class DecisionRecord:
    """The choice of a round: ``choice`` is ``"edge"`` (payloads were shared) or ``"fog"`` (an update was sent).

    ``edge_bytes`` and ``fog_bytes`` are what the communication model gives for each from the round's measured sizes.
    """

    round: int
    choice: str
    reason: str
    edge_bytes: int
    fog_bytes: int


@dataclass(frozen=True)
class StoredRecord:
    """The fog's messages of one exchange (``kind``: query, train or evaluate) as the SuperLink stores them.

    ``sent_bytes`` is the sum of the messages, which every link carries; ``stored_bytes`` counts an array that several
    messages have once, as Flower's content-addressed store keeps it.
    """

    round: int
    kind: str
    sent_bytes: int
    stored_bytes: int


@dataclass(frozen=True)
class ExampleRecord:
    """The same frame before and after: file names inside the run's folder; ``box`` x1, y1, x2, y2 in frame pixels."""

    clip: str
    frame: int
    original: str
    decoded: str
    box: tuple[float, ...] = ()


@dataclass(frozen=True)
class RunRecord:
    """Everything that a report is made of.

    Attributes
    ----------
    scenario : the scenario as it was run, plain values (codec, rounds, seed, data, link, command, ...).
    environment : versions of Python and of the packages, platform, cores, accelerator.
    stored : what the SuperLink stored of the fog's messages, exchange by exchange; empty if it is not known.
    missing : what :meth:`load` could not find or read, one sentence each.
    """

    scenario: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)
    devices: tuple[DeviceRecord, ...] = ()
    payloads: tuple[PayloadRecord, ...] = ()
    accuracy: tuple[AccuracyRecord, ...] = ()
    failures: tuple[FailureRecord, ...] = ()
    rivals: tuple[RivalRecord, ...] = ()
    examples: tuple[ExampleRecord, ...] = ()
    updates: tuple[UpdateRecord, ...] = ()
    decisions: tuple[DecisionRecord, ...] = ()
    stored: tuple[StoredRecord, ...] = ()
    ledger: Ledger = field(default_factory=Ledger)
    missing: tuple[str, ...] = ()
    folder: Path | None = None

    def save(self, folder: Path) -> None:
        """Write ``run.json`` and, unless the ledger has already been writing there, ``ledger.csv``.

        Raises DataError if they cannot be written; a ``run.json`` of before stays as it is.
        """
        content = {"version": VERSION}
        content |= {f.name: to_json(getattr(self, f.name)) for f in dataclasses.fields(self) if f.name in _SAVED}
        write_file(folder / "run.json", json.dumps(content, indent=1, allow_nan=False).encode())
        path = folder / "ledger.csv"
        if self.ledger.path is not None and self.ledger.path.resolve() == path.resolve():
            self.ledger.flush()
        else:
            self.ledger.copy_to(path)

    @classmethod
    def load(cls, folder: Path) -> RunRecord:
        """Read a run's folder, whole or not; ``missing`` says what is not there.

        Without ``run.json`` the record is of the whole rounds that the folder holds, see ``kept_rounds.kept_values``.
        Raises DataError if the folder holds no readable ``run.json``, no whole round and no ledger, or is of a later
        version.
        """
        if not folder.is_dir():
            raise DataError(f"{folder}: no such run folder")
        missing: list[str] = []
        whole = values = _read_json(folder / "run.json", missing)
        if whole is None:
            values = _kept(folder, missing)
        ledger = Ledger()
        if (folder / "ledger.csv").exists():
            ledger = Ledger.read(folder / "ledger.csv")
            missing += ledger.problems
        else:
            missing.append("ledger.csv is missing: nothing was metered, or the run was stopped before its first round")
        if values is None and not len(ledger):
            raise DataError(
                f"{folder}: not a run folder: it has no readable run.json, no whole round and no ledger.csv"
            )
        hints = typing.get_type_hints(cls)
        loaded: dict[str, Any] = {}
        for name in _SAVED:
            if values is not None and name in values:
                loaded[name] = _rows(hints[name], values[name], name, missing)
            elif whole is not None and name not in _LATER:
                missing.append(f"run.json has no {name!r}")
        return cls(**loaded, ledger=ledger, missing=tuple(missing), folder=folder)


_LATER = ("updates", "decisions", "stored")  # not in every record
_SAVED = ("scenario", "environment", "devices", "payloads", "accuracy", "failures", "rivals", "examples", *_LATER)


def to_json(value: Any) -> Any:
    """Plain JSON values: dataclasses become objects, NaN becomes null, infinities the texts "inf" and "-inf"."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_json(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(k): to_json(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_json(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else ("inf" if value > 0 else "-inf")
    if isinstance(value, Path):
        return str(value)
    return value


def from_json(cls: type[T], value: Any) -> T:
    """A record dataclass from what :func:`to_json` made of it; keys that it does not know are left out.

    Raises DataError if a field without a default is missing or has the wrong type.
    """
    if not isinstance(value, Mapping):
        raise DataError(f"{cls.__name__} is {value!r}, not a JSON object")
    hints = typing.get_type_hints(cls)
    found = {f.name: value[f.name] for f in dataclasses.fields(cls) if f.name in value}  # type: ignore[arg-type]
    try:
        return cls(**{name: _value(hints[name], item) for name, item in found.items()})
    except (TypeError, ValueError, OverflowError) as error:
        raise DataError(f"{cls.__name__} is not complete or not valid: {error}") from error


def _value(hint: Any, value: Any) -> Any:
    if hint == int | None:
        return None if value is None else _value(int, value)
    if hint is float:
        return math.nan if value is None else float(value)
    if hint is int and (isinstance(value, bool) or not isinstance(value, int) or value < 0):
        raise ValueError(f"{value!r} is not a whole number from 0")
    if hint is str and not isinstance(value, str):
        raise ValueError(f"{value!r} is not a text")
    if typing.get_origin(hint) is tuple:
        if not isinstance(value, (list, tuple)):
            raise ValueError(f"{value!r} is not a list")
        return tuple(_value(typing.get_args(hint)[0], v) for v in value)
    if typing.get_origin(hint) is collections.abc.Mapping:
        if not isinstance(value, Mapping):
            raise ValueError(f"{value!r} is not an object")
        item_hint = typing.get_args(hint)[1]
        return {str(k): _value(item_hint, v) for k, v in value.items()}
    return value


def _rows(hint: Any, value: Any, name: str, missing: list[str]) -> Any:
    """One section of ``run.json``; of a list of records, those that are broken are left out and reported."""
    if typing.get_origin(hint) is not tuple:
        if isinstance(value, Mapping):
            return dict(value)
        missing.append(f"run.json: {name!r} is not an object and is left out")
        return {}
    if not isinstance(value, list):
        missing.append(f"run.json: {name!r} is not a list and is left out")
        return ()
    record, rows = typing.get_args(hint)[0], []
    for index, item in enumerate(value):
        try:
            rows.append(from_json(record, item))
        except DataError as error:
            missing.append(f"run.json: {name}[{index}] is left out: {error}")
    return tuple(rows)


def _kept(folder: Path, missing: list[str]) -> Mapping[str, Any] | None:
    """Sections of ``run.json`` from the rounds that were finished; None if there are none."""
    try:
        values = kept_values(folder)
    except (KeyError, TypeError, ValueError, AttributeError) as error:  # their checksums fit, their content does not
        missing.append(f"{folder / 'rounds'} holds a state that is not a fog node's: {error!r}")
        return None
    if values:
        missing.append(
            "the report is of the rounds that were finished; PSNR, rivals and accuracy before training are measured "
            "at the end of a run"
        )
    return values or None


def deployed_resume(folder: Path) -> str:
    """The command that goes on with a run of real devices."""
    return f"flwr run examples/deployment fog --run-config 'resume=\"{folder.resolve()}\"'"


def _read_json(path: Path, missing: list[str]) -> Mapping[str, Any] | None:
    if not path.exists():
        resume = f"'flower-simulation --resume {path.parent}' goes on"
        if not (path.parent / "devices").is_dir():  # real devices
            resume = f"{deployed_resume(path.parent)} goes on"
        missing.append(
            f"run.json is missing: the run has not ended ({resume}), a strategy of your own made it, or it was deleted"
        )
        return None
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        missing.append(f"run.json cannot be read: {error}")
        return None
    if not isinstance(values, dict):
        missing.append("run.json is not a JSON object")
        return None
    version = values.get("version")
    if not isinstance(version, int) or version > VERSION:
        raise DataError(
            f"{path}: record version {version!r}; this program reads versions up to {VERSION}; render it with the "
            "version of rinr_flower that wrote it"
        )
    return values
