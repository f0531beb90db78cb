"""The folder of a running camera: new files are the next round's capture."""

from __future__ import annotations

import hashlib
import logging
import os
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from rinr_flower.bitstream.container import MAX_FRAMES
from rinr_flower.clients.own_frames import OwnClip
from rinr_flower.codecs import codecs
from rinr_flower.datasets.folder import class_list, label_place, labels_in
from rinr_flower.datasets.images import ImageShot, existing_folder, image_files
from rinr_flower.datasets.yolo_labels import read_labels
from rinr_flower.errors import ConfigError, DataError
from rinr_flower.files import read_file, read_record, write_record
from rinr_flower.frames import Clip, Frame

log = logging.getLogger("flwr.rinr_flower")

HELD_BACK = "held-back"  # subfolder of the frames for evaluation; also the name of the record of the first files
_RECORD = re.compile(r"([0-9]{6,})\.json")

Files = tuple[Path, Path | None]
"""An image file, and its label file if it has one."""
Found = tuple[Files, str, Frame]
"""A frame that was read, with its files and their SHA-256."""


class FrameFolder:
    """A folder of images with YOLO label files, as ``rinr_flower.datasets`` reads them, to which files may be added.

    In every round the files that no earlier round of the job took are its capture, in the order of their names. A
    broken file is skipped, counted and named in the log. A file has to appear whole, and its label file before it:
    write it elsewhere on the same disk and rename it.

    Parameters
    ----------
    path : the folder. Class names are the lines of ``classes.txt``; without it, all boxes are of class 0, ``object``.
    name : the device's.
    held_back : so many files, the first, are for evaluation; 0 takes those in the subfolder ``held-back``.
    frames_per_clip : frames of a clip at most. If they have several sizes, they make a clip for each.
    clips_per_round : so many times frames_per_clip are a round's frames at most; the rest waits for the next one.
    """

    def __init__(
        self, path: Path, name: str, *, held_back: int = 0, frames_per_clip: int = 16, clips_per_round: int = 1
    ) -> None:
        if held_back < 0:
            raise ConfigError(f"{held_back} files are to be held back; it must be 0 or more")
        if not 1 <= frames_per_clip <= MAX_FRAMES:
            raise ConfigError(f"frames_per_clip is {frames_per_clip}; it must be in 1..{MAX_FRAMES}")
        if clips_per_round < 1:
            raise ConfigError(f"clips_per_round is {clips_per_round}; it must be 1 or more")
        self.path = existing_folder(str(path), expected="a camera's folder of images with YOLO label files").resolve()
        self.name = name
        self.first_held_back = held_back
        self.frames_per_clip = frames_per_clip
        self.clips_per_round = clips_per_round

    def in_job(self, memory: Path) -> CameraFrames:
        """The frames in a job, which remembers in ``memory`` what it took."""
        return CameraFrames(self, memory)


class CameraFrames:
    """The frames of a :class:`FrameFolder` in one job.

    ``memory`` holds one file a round, ``000003.json``, with the frames that were taken. They stay in the camera's
    folder; one that was deleted or altered since is left out and named in the log.
    """

    def __init__(self, folder: FrameFolder, memory: Path) -> None:
        self._folder = folder
        self._memory = memory

    def captures(self, server_round: int) -> list[OwnClip]:
        """What was captured in a round: new files when it is asked for the first time, the same ones after that."""
        known = self._rounds()
        if server_round not in known and server_round > max(known, default=0):
            self._take(server_round, known)
        return self._clips(server_round) if server_round in self._rounds() else []

    def captured_until(self, server_round: int) -> list[OwnClip]:
        """All captures up to a round; new files are this round's, if it has not taken any yet."""
        latest = self.captures(server_round)
        return [clip for number in self._rounds() if number < server_round for clip in self._clips(number)] + latest

    def held_back(self) -> list[OwnClip]:
        """The frames for evaluation; DataError if there are none."""
        folder, count = self._folder.path, self._folder.first_held_back
        images = image_files(folder)
        place = label_place(folder, images)
        if count:
            found = self._frames(folder, _with_labels([folder / file for file in self._first(count)], place))
        else:
            own = folder / HELD_BACK
            kept = image_files(own) if own.is_dir() else []
            _check_same_classes(folder, own)
            theirs = label_place(own, kept)
            files = _with_labels(kept, theirs)
            if theirs == folder / "labels":  # beside held-back/, but the camera's
                names = {image.stem for image in images}
                files = [(i, file if place in (None, theirs) and i.stem not in names else None) for i, file in files]
            found = self._frames(own, files)
        if not found:
            raise DataError(
                f"{folder}: no frames to evaluate on; put some into {HELD_BACK}/, or set held-back=N for the first N"
            )
        return [
            OwnClip(HELD_BACK, self._encoded(HELD_BACK, [frame for _, _, frame in same[:MAX_FRAMES]]))
            for same in _by_size(found)
        ]

    def _take(self, server_round: int, known: Sequence[int]) -> None:
        """Write down which files are the round's, even if there are none: files that come later are not."""
        folder = self._folder
        records = [clip for number in known for clip in self._record(number)]
        used = {taken["file"] for clip in records for taken in clip["frames"]} | set(
            self._first(folder.first_held_back)
        )
        images = image_files(folder.path)
        place, left = label_place(folder.path, images), [path for path in images if path.name not in used]
        clips: list[dict[str, Any]] = []
        for _ in range(folder.clips_per_round):
            frames: list[Found] = []
            while left and len(frames) < folder.frames_per_clip:  # in case some are broken; the rest need not be read
                wanted = folder.frames_per_clip - len(frames)
                batch, left = left[:wanted], left[wanted:]
                frames += self._frames(folder.path, _with_labels(batch, place))
            for same in _by_size(frames):
                taken = [
                    {"file": image.name, "labels": label and os.path.relpath(label, folder.path), "sha256": digest}
                    for (image, label), digest, _ in same
                ]
                clips.append({"name": f"{folder.path.name} {len(records) + len(clips) + 1}", "frames": taken})
        write_record(self._memory / f"{server_round:06d}.json", clips)

    def _clips(self, server_round: int) -> list[OwnClip]:
        """The clips that a round took, as far as their files are as they were."""
        clips = []
        for record in self._record(server_round):
            path, wanted = self._folder.path, {taken["file"]: taken["sha256"] for taken in record["frames"]}
            labels = [taken["labels"] for taken in record["frames"]]
            files = [(path / file, label and path / label) for file, label in zip(wanted, labels, strict=True)]
            found = self._frames(path, files)
            same = [frame for (image, _), digest, frame in found if digest == wanted[image.name]]
            if len(same) < len(wanted):
                log.warning(
                    "%s: %d of the %d frames of round %d are not there any more as they were",
                    path,
                    len(wanted) - len(same),
                    len(wanted),
                    server_round,
                )
            if same:
                clips.append(OwnClip(record["name"], self._encoded(record["name"], same)))
        return clips

    def _frames(self, folder: Path, files: Sequence[Files]) -> list[Found]:
        """Every frame of ``files`` that can be read; the log says of ``folder`` how many cannot."""
        names = class_list(self._folder.path)
        found: list[Found] = []
        broken = 0
        for image, label in files:
            try:
                frame, dropped = ImageShot(image, partial(read_labels, label, len(names) or 1)).frame()
                if dropped:
                    log.warning("%s: %d boxes that are empty or outside the image are left out", image, dropped)
                digest = hashlib.sha256(read_file(image))
                digest.update(b"" if label is None else read_file(label))
                found.append(((image, label), digest.hexdigest(), frame))
            except DataError as error:
                broken += 1
                log.warning("%s", error)
        if broken:
            log.warning("%s: %d of %d files are broken and left out", folder, broken, len(files))
        return found

    def _encoded(self, name: str, frames: Sequence[Frame]) -> bytes:
        names = class_list(self._folder.path) or ("object",)
        return codecs.create("jpeg").encode(Clip(name, tuple(frames), names))

    def _rounds(self) -> list[int]:
        """Rounds whose captures are written down, in order."""
        found = [_RECORD.fullmatch(path.name) for path in self._memory.glob("*.json")]
        return sorted(int(match[1]) for match in found if match)

    def _record(self, server_round: int) -> list[dict[str, Any]]:
        """The clips of a round, their names and frames; none, and a line in the log, if the record is damaged."""
        try:
            clips: list[dict[str, Any]] = read_record(self._memory / f"{server_round:06d}.json")
            return clips
        except DataError as error:
            log.warning("%s; the frames of that round count as new", error)
            return []

    def _first(self, count: int) -> list[str]:
        """Names of the files that are held back: the first ``count`` when the job asked first."""
        if not count:
            return []
        path = self._memory / f"{HELD_BACK}.json"
        if path.exists():
            try:
                return list(read_record(path))
            except DataError as error:
                log.warning("%s; the first %d files are held back anew", error, count)
        names = [image.name for image in image_files(self._folder.path)[:count]]
        if names:
            write_record(path, names)
        return names


def _with_labels(images: Sequence[Path], place: Path | None) -> list[Files]:
    return list(zip(images, labels_in(place, images), strict=True))


def _check_same_classes(folder: Path, held_back: Path) -> None:
    """DataError if the frames held back have another list of classes than those of ``folder``."""
    names, theirs = class_list(folder), class_list(held_back)
    if theirs and theirs != names:
        raise DataError(
            f"{held_back} lists the classes {', '.join(theirs)}, and {folder} {', '.join(names) or 'none'}; label both "
            "with the camera's list, and delete the other file"
        )


def _by_size(frames: Sequence[Found]) -> list[list[Found]]:
    """The frames in lists of one size each, in the order in which the sizes come."""
    sizes: dict[tuple[int, ...], list[Found]] = {}
    for found in frames:
        sizes.setdefault(found[2].image.shape, []).append(found)
    return list(sizes.values())
