"""What a device keeps between messages, on its own disk: by one mechanism in simulation and deployment.

::

    STATE/JOB/                       one folder for every job (a run of a scenario) that the device takes part in
        000003-train.json            what it held after that message: round, names of arrays and payloads
        arrays/  payloads/           the files that these name, called by their SHA-256
        captures/                    what a running camera's folder gave in each round, see ``frame_folder``

Every file is written under another name, handed to the disk, and then renamed; what a killed process leaves is either
the state before a message or the one after it. docs/device.md has the rules in words.
"""

from __future__ import annotations

import fcntl
import logging
import os
import re
import secrets
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO

from rinr_flower.array_file import Arrays, pack_arrays, unpack_arrays
from rinr_flower.errors import ConfigError, DataError
from rinr_flower.files import keep, read_record, recall, remove_unfinished, write_record
from rinr_flower.messages.protocol import holds_digest

log = logging.getLogger("flwr.rinr_flower")

BUDGET = 2 << 30  # bytes
ARRAYS_KEPT = 4  # copies of a device's arrays: after training and after evaluation, in two rounds
ROUNDS_KEPT = 2
LOCK = "lock"  # a job's file that a process holds while it works on a message; its time says when the job was used
_ATTEMPTS = 100  # to open the lock in a folder that other processes remove
_REMOVED = ".removed"  # a job's folder is called so while it is deleted
STAGES = ("query", "train", "evaluate")  # of a round, in their order: Flower's message types
_JOB = re.compile(r"[0-9a-z-]{1,64}")
_MANIFEST = re.compile(r"([0-9]{6,})-(train|evaluate)\.json")

Moment = tuple[int, int]
"""Round and number of the stage."""


@dataclass(frozen=True)
class Held:
    """What a device holds in a job after one message.

    Attributes
    ----------
    arrays : models and what else consists of arrays, by name.
    received : all payloads that ever came and were usable, by the round in which they came: names to sizes in bytes.
    let_go : names of those that had to give way to the budget.
    detector : what the device's own model is, see ``Training.describe``; empty before its first training.
    """

    arrays: Mapping[str, Arrays] = field(default_factory=dict)
    received: Mapping[int, Mapping[str, int]] = field(default_factory=dict)
    let_go: frozenset[str] = frozenset()
    detector: Mapping[str, Any] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        """Of all payloads that ever came, let go or not, oldest first."""
        return list(self._sizes())

    @property
    def kept(self) -> list[str]:
        """Of the payloads that have not been let go, oldest first."""
        return [name for name in self._sizes() if name not in self.let_go]

    @property
    def array_bytes(self) -> int:
        return sum(array.nbytes for values in self.arrays.values() for array in values.values())

    def with_received(self, server_round: int, sizes: Mapping[str, int]) -> Held:
        """The same and payloads of a round, by name and size, as far as they are new."""
        known = self._sizes()
        new = {name: size for name, size in sizes.items() if name not in known}
        return replace(self, received={**self.received, server_round: {**self.received.get(server_round, {}), **new}})

    def without(self, names: Iterable[str]) -> Held:
        """The same but for payloads that turned out to be unusable: they have not been received."""
        bad = set(names)
        received = {
            number: {name: size for name, size in sizes.items() if name not in bad}
            for number, sizes in self.received.items()
        }
        return replace(self, received=received)

    def fitting(self, budget: int, array_bytes: int) -> Held:
        """The same, having let go of the oldest payloads that do not fit a budget in bytes.

        Parameters
        ----------
        budget : of the whole state.
        array_bytes : of the models and other arrays that the device keeps beside its payloads.

        Raises
        ------
        ConfigError
            If the budget is less than the arrays alone can take.
        """
        room = budget - ARRAYS_KEPT * array_bytes
        if room < 0:
            raise ConfigError(
                f"a budget of {budget:,} bytes is too small for models of {array_bytes:,} bytes, of which the device "
                f"keeps up to {ARRAYS_KEPT} copies; raise the device's budget"
            )
        sizes = self._sizes()
        let_go = set(self.let_go)
        for name in reversed(self.kept):
            room -= sizes[name]
            if room < 0:
                let_go.add(name)
        return replace(self, let_go=frozenset(let_go))

    def _sizes(self) -> dict[str, int]:
        return {name: size for number in sorted(self.received) for name, size in self.received[number].items()}


class DeviceState:
    """The folder in which a device keeps its jobs.

    Parameters
    ----------
    path : the folder; made when it is first needed.
    budget : bytes that all jobs together may take between messages. First the other jobs give way, the one that was
        used longest ago before the others; then the payloads of the present job's oldest rounds.
    """

    def __init__(self, path: Path, budget: int = BUDGET) -> None:
        if budget <= 0:
            raise ConfigError(f"the budget of the device's state is {budget} bytes; it must be greater than 0")
        self.path = path
        self.budget = budget

    @contextmanager
    def job(self, job: str) -> Iterator[JobState]:
        """The state in a job, for one message; a second process waits until this one is done.

        Raises DataError if ``job`` is no job's id, or if the folder cannot be made.
        """
        if not _JOB.fullmatch(job):
            raise DataError(f"the job's id is {job[:80]!r}; it must be 1 to 64 of the characters 0-9, a-z and -")
        folder = self.path / job
        try:
            lock = _locked(folder)
        except OSError as error:
            raise DataError(
                f"the device's state {folder} cannot be used: {error.strerror or error}; free space or make it writable"
            ) from error
        with lock:
            try:
                yield JobState(folder, self.budget)
            finally:
                fcntl.flock(lock, fcntl.LOCK_UN)  # closing is not enough where a child process was forked meanwhile

    def latest(self, job: str = "") -> Held:
        """The state after the device's last message of ``job``, or of the job that was used last.

        DataError if there is nothing, or if it cannot be read.
        """
        used = [lock for lock in self.path.glob(f"{job or '*'}/{LOCK}") if _JOB.fullmatch(lock.parent.name)]
        held = None
        if used:
            held = JobState(max(used, key=lambda lock: lock.stat().st_mtime).parent, self.budget).latest()
        if held is None:
            raise DataError(f"{self.path} holds no state of a device that has trained")
        return held


class JobState:
    """One job's part of a :class:`DeviceState`."""

    def __init__(self, path: Path, budget: int) -> None:
        self.path = path
        self.budget = budget

    @property
    def captures(self) -> Path:
        """Where a running camera's folder keeps which files it has given."""
        return self.path / "captures"

    def before(self, server_round: int, kind: str) -> Held | None:
        """What the device held before a message, None if nothing. A repeated message finds what the first one found.

        A state with a torn or altered file is named in the log and the one before it is taken.

        Raises
        ------
        DataError
            If the device has finished a message of a later round.
        """
        moments = self._moments()
        if moments and moments[-1][0] > server_round:
            raise DataError(
                f"round {server_round} is over: this device has finished round {moments[-1][0]} of job {self.path.name}"
            )
        for moment in reversed(moments):
            if moment < (server_round, STAGES.index(kind)):
                try:
                    return self._read(moment)
                except DataError as error:
                    log.warning("%s; the state before it is used", error)
        return None

    def latest(self) -> Held | None:
        """The state after the device's last message; None if there was none. DataError if it cannot be read."""
        moments = self._moments()
        return self._read(moments[-1]) if moments else None

    def holds(self, held: Held | None) -> str:
        """What the device tells the fog that it holds: a digest of payload names, empty if it has no state."""
        return "" if held is None else holds_digest(held.names)

    def payloads(self, held: Held) -> dict[str, bytes]:
        """The payloads that the device has not let go, by name, oldest first; damaged ones are named in the log."""
        found = {}
        for name in held.kept:
            try:
                found[name] = recall(self.path / "payloads", name)
            except DataError as error:
                log.warning("%s; the fog is asked for it again", error)
        return found

    def finish(self, server_round: int, kind: str, held: Held, payloads: Iterable[bytes] = ()) -> None:
        """Keep what the device holds after a message, and let go of what no message can need any more.

        Parameters
        ----------
        server_round, kind : of the message.
        held : from now on.
        payloads : those of ``held.received`` that the message brought.

        Raises
        ------
        DataError
            If it cannot be written; then the device holds what it held before.
        """
        for data in payloads:
            keep(self.path / "payloads", data)
        arrays = {name: keep(self.path / "arrays", pack_arrays(values)) for name, values in held.arrays.items()}
        content = {
            "arrays": arrays,
            "detector": dict(held.detector),
            "received": {str(number): dict(sizes) for number, sizes in held.received.items()},
            "let_go": sorted(held.let_go),
        }
        moment = (server_round, STAGES.index(kind))
        write_record(self._manifest(moment), content)
        moments = self._moments()
        rounds = sorted({number for number, _ in moments if number <= server_round})[-ROUNDS_KEPT:]
        for other in moments:
            if other > moment or other[0] not in rounds:
                self._manifest(other).unlink(missing_ok=True)
        self._sweep()
        _let_other_jobs_go(self.path, self.budget)

    def _moments(self) -> list[Moment]:
        """When the device finished the messages whose states are kept, oldest first."""
        found = [_MANIFEST.fullmatch(path.name) for path in self.path.iterdir()]
        return sorted((int(match[1]), STAGES.index(match[2])) for match in found if match)

    def _manifest(self, moment: Moment) -> Path:
        return self.path / f"{moment[0]:06d}-{STAGES[moment[1]]}.json"

    def _read(self, moment: Moment) -> Held:
        content = read_record(self._manifest(moment))
        arrays = {name: unpack_arrays(recall(self.path / "arrays", file)) for name, file in content["arrays"].items()}
        received = {int(number): sizes for number, sizes in content["received"].items()}
        return Held(arrays, received, frozenset(content["let_go"]), content["detector"])

    def _sweep(self) -> None:
        """Remove files that no state needs, among them what killed processes left."""
        arrays: set[str] = set()
        received: set[str] = set()
        let_go: set[str] = set()
        for moment in self._moments():
            try:
                content = read_record(self._manifest(moment))
            except DataError:
                continue  # named when it is used
            arrays.update(content["arrays"].values())
            received.update(*content["received"].values())
            let_go.update(content["let_go"])
        for kind, names in (("arrays", arrays), ("payloads", received - let_go)):
            for path in (self.path / kind).glob("*"):
                if path.name not in names:
                    path.unlink(missing_ok=True)
        remove_unfinished(self.path)


def _locked(folder: Path) -> BinaryIO:
    """Open and lock a job's lock file. Another process may remove the folder until this one has the lock."""
    attempts = _ATTEMPTS
    while True:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock = (folder / LOCK).open("ab")
        except (FileNotFoundError, FileExistsError):
            attempts -= 1
            if not attempts:
                raise
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if _lies_at(lock, folder / LOCK):
                os.utime(lock.fileno())
                return lock
        except BaseException:
            lock.close()
            raise
        lock.close()


def _lies_at(file: BinaryIO, path: Path) -> bool:
    """Whether an open file is the one that ``path`` names now."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _let_other_jobs_go(present: Path, budget: int) -> None:
    """Remove other jobs' states, the one used longest ago first, while all together take more than the budget."""
    for rest in present.parent.glob(f"*{_REMOVED}"):  # a process was killed while it removed them
        shutil.rmtree(rest, ignore_errors=True)
    used: dict[Path, float] = {}
    for lock in present.parent.glob(f"*/{LOCK}"):
        with suppress(FileNotFoundError):
            used[lock.parent] = lock.stat().st_mtime
    sizes = {folder: _size(folder) for folder in used}
    for folder in sorted(used, key=lambda folder: used[folder]):
        if sum(sizes.values()) <= budget:
            return
        if folder != present and _remove(folder):
            log.warning("the state of job %s is removed: all together take more than %d bytes", folder.name, budget)
            del sizes[folder]


def _size(folder: Path) -> int:
    """Bytes of all files in a folder, some of which another process may be renaming or removing."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):
                total += os.stat(os.path.join(place, name)).st_size
    return total


def _remove(folder: Path) -> bool:
    """Remove a job's state unless a process is working on it. It gets another name first, so that none begins to."""
    try:
        with (folder / LOCK).open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not _lies_at(lock, folder / LOCK):
                return False
            removed = folder.with_name(f"{folder.name}.{secrets.token_hex(4)}{_REMOVED}")
            folder.rename(removed)
            shutil.rmtree(removed, ignore_errors=True)
            return True
    except FileNotFoundError:  # another process has removed it
        return True
    except OSError:  # another process holds the lock, or the folder cannot be removed
        return False
