"""Where a run keeps what it made, so that a killed run can be taken up again."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from rinr_flower.array_file import Arrays, pack_arrays, unpack_arrays
from rinr_flower.errors import ConfigError, DataError
from rinr_flower.files import append_lines, keep, read_record, recall, remove_unfinished, write_file, write_record
from rinr_flower.simulations import activity
from rinr_flower.strategies.inner import under
from rinr_flower.strategies.keeping import Blob, Kept

_SUFFIX = ".rinr"
_BEFORE_ROUNDS = {
    *("job.json", "scenario.yaml", "devices", "flower.log", "ledger.csv", "rounds", "arrays", "updates"),
    *(activity.FILE, activity.TEMPORARY),
    *("tensorboard", "wandb"),  # trackers' own
}


class RunFolder:
    """A run's folder, and what a fog node keeps in it (:class:`rinr_flower.strategies.keeping.Keep`).

    ::

        scenario.yaml job.json      what is run, and its name on all devices
        devices/                    the simulated devices' disks
        captures/ payloads/ updates/   files called by the SHA-256 of their bytes
        encoded.jsonl               which payload was made of which capture, a line for each as soon as it is made
        rounds/NNN.json arrays/     what the fog knew after each round, and the models of the last two
        ledger.csv run.json report.html examples/ flower.log

    Every file is either whole or not there; the two that grow, ``encoded.jsonl`` and ``ledger.csv``, can end in a torn
    line, which is left out.
    """

    def __init__(self, path: Path | str) -> None:
        path = Path(path)
        self.path = path
        try:
            self.job = str(json.loads((path / "job.json").read_text(encoding="utf-8"))["job"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{path} cannot be taken up again: its job.json is missing or damaged; begin a new run in a new folder"
            ) from error
        self._encoded = _read_index(path / "encoded.jsonl")
        self._arrays: dict[int, str] = {}  # round -> file of its arrays
        self.after_round: Callable[[], None] = lambda: None  # called when a round has been saved

    @classmethod
    def create(cls, out: str) -> RunFolder:
        """A new folder, see :func:`run_path`. ConfigError if :func:`check_unused` raises it or it cannot be made.

        What a run left there that ended before its first round is deleted.
        """
        path = run_path(out)
        try:
            path.mkdir(parents=True, exist_ok=True)
            if is_half_made(path):
                for item in path.iterdir():
                    shutil.rmtree(item) if item.is_dir() else item.unlink()
            check_unused(path)
        except OSError as error:
            raise ConfigError(f"the run's folder {path} cannot be made: {error}") from error
        write_file(path / "job.json", json.dumps({"job": secrets.token_hex(8)}).encode())
        return cls(path.resolve())

    @property
    def devices(self) -> Path:
        return self.path / "devices"

    @property
    def examples(self) -> Path:
        return self.path / "examples"

    @property
    def ledger(self) -> Path:
        return self.path / "ledger.csv"

    @property
    def log(self) -> Path:
        return self.path / "flower.log"

    @property
    def scenario(self) -> Path:
        return self.path / "scenario.yaml"

    def put(self, kind: str, data: bytes) -> Blob:
        """Keep bytes in the folder ``kind``; DataError if they cannot be written."""
        return self.get(kind, keep(self.path / kind, data, _SUFFIX), len(data))

    def get(self, kind: str, name: str, size: int) -> Blob:
        return Blob(name, size, partial(recall, self.path / kind, name, _SUFFIX))

    def encoded(self, key: str) -> tuple[Blob, float] | None:
        name, seconds = self._encoded.get(key, ("", 0.0))
        with suppress(DataError):  # damaged or deleted: encoded again
            if name:
                return self.get("payloads", name, len(recall(self.path / "payloads", name, _SUFFIX))), seconds
        return None

    def note_encoded(self, key: str, payload: Blob, seconds: float) -> None:
        line = json.dumps({"key": key, "payload": payload.name, "seconds": seconds}).encode() + b"\n"
        append_lines(self.path / "encoded.jsonl", line)
        self._encoded[key] = (payload.name, seconds)

    def save_round(self, number: int, state: Mapping[str, Any], arrays: Arrays) -> None:
        """Arrays stay for round 0 and the last two rounds."""
        self._arrays[number] = keep(self.path / "arrays", pack_arrays(arrays))
        write_record(self._round(number), {**state, "arrays": self._arrays[number]})
        needed = {self._arrays.get(i) for i in (0, number - 1, number)}
        for path in (self.path / "arrays").iterdir():
            if path.name not in needed:
                path.unlink(missing_ok=True)
        self.after_round()

    def load(self) -> Kept | None:
        """Read back what was kept, up to the last round that can be read; the run goes on from there.

        Files of later rounds are deleted, and so are files half written.

        Raises
        ------
        DataError
            If files are damaged so that the run would begin again with round 1. Nothing is deleted.
        """
        latest = max(
            (int(path.stem) for path in (self.path / "rounds").glob("*.json") if path.stem.isdigit()), default=-1
        )
        rounds: list[dict[str, Any]] = []
        first: Arrays = {}
        last: Arrays = {}
        damage: DataError | None = None
        try:
            while len(rounds) <= latest:
                rounds.append(read_record(self._round(len(rounds))))
        except DataError as error:
            damage = error
        while rounds:
            try:
                first, last = (self._read_arrays(state["arrays"]) for state in (rounds[0], rounds[-1]))
                break
            except DataError as error:
                damage = damage or error
                rounds.pop()
        if damage is not None and (not rounds or (len(rounds) == 1 and latest > 1)):
            raise DataError(
                f"{self.path} cannot be taken up again after round {latest}: {damage}; put that file back from a copy, "
                "or begin a new run in a new folder"
            ) from damage
        remove_unfinished(self.path)
        for path in (self.path / "rounds").glob("*.json"):
            if not path.stem.isdigit() or int(path.stem) >= len(rounds):
                path.unlink(missing_ok=True)
        self._arrays = {number: state["arrays"] for number, state in enumerate(rounds)}
        return Kept(list(rounds), first, last) if rounds else None

    def has_rounds(self) -> bool:
        """Whether the state before the first round is kept, so that there is something to go on with."""
        return self._round(0).exists()

    def whole_rounds(self) -> int:
        """Number of the last round that was finished; 0 if there is none."""
        number = 0
        while self._round(number + 1).exists():
            number += 1
        return number

    def common_model(self) -> Arrays:
        """The model in common after the last whole round; nothing where devices keep models of their own."""
        number = self.whole_rounds()
        return under("model", self._read_arrays(read_record(self._round(number))["arrays"])) if number else {}

    def _read_arrays(self, name: str) -> Arrays:
        return unpack_arrays(recall(self.path / "arrays", name))

    def _round(self, number: int) -> Path:
        return self.path / "rounds" / f"{number:03d}.json"


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Hold a run's folder, which is made if it is not there: one process at a time works in it.

    The lock is on the folder itself, so that no file is left behind. It ends with this process however that ends, as
    programs that it starts do not inherit it. On a file system without locks nothing is held. Reading a run needs no
    hold. Folders that it made are deleted at the end if they are empty.

    Raises
    ------
    ConfigError
        If another process holds the folder, or it cannot be made.
    """
    made = [new for new in (path, *path.parents) if not new.exists()]
    try:
        path.mkdir(parents=True, exist_ok=True)
        folder = os.open(path, os.O_RDONLY)
    except OSError as error:
        raise ConfigError(f"the run's folder {path} cannot be made: {error}; name another with --out") from error
    try:
        with suppress(OSError):  # a file system without locks
            try:
                fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise ConfigError(
                    f"another process is working in {path}; wait for it, or name a new folder with --out"
                ) from error
        yield
    finally:
        with suppress(OSError):  # it is not empty
            for new in made:
                new.rmdir()
        with suppress(OSError):
            fcntl.flock(folder, fcntl.LOCK_UN)  # closing is not enough where a child process was forked meanwhile
        os.close(folder)


def run_path(out: str) -> Path:
    """The folder of a new run: ``out``, or ``runs/DATE-TIME`` if that is empty."""
    return Path(out) if out else Path("runs") / datetime.now().strftime("%Y%m%d-%H%M%S")


def is_half_made(path: Path) -> bool:
    """Whether a folder holds a run that ended before its first round, and nothing else."""
    names = {item.name for item in path.iterdir()} if path.is_dir() else set()
    return "job.json" in names and names <= _BEFORE_ROUNDS and not any((path / "rounds").glob("*"))


def check_unused(path: Path) -> None:
    """ConfigError if a new run must not use a folder: it holds anything but a run that ended before its first round."""
    if path.exists() and not path.is_dir():
        raise ConfigError(f"the run's folder {path} is a file; name a new folder with --out")
    if path.is_dir() and any(path.iterdir()) and not is_half_made(path):
        raise ConfigError(
            f"the run's folder {path} is not empty; name a new one with --out, or go on with it by --resume"
        )


def _read_index(path: Path) -> dict[str, tuple[str, float]]:
    """Payload and seconds by key; lines that are torn are left out."""
    found: dict[str, tuple[str, float]] = {}
    with suppress(FileNotFoundError):
        for line in path.read_bytes().splitlines():
            with suppress(ValueError, KeyError, TypeError):
                row = json.loads(line)
                found[str(row["key"])] = (str(row["payload"]), float(row["seconds"]))
    return found
