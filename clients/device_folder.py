"""The folder of a simulated device: its frames, dealt to rounds before the run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from rinr_flower.clients.own_frames import OwnClip
from rinr_flower.codecs import codecs
from rinr_flower.errors import DataError
from rinr_flower.files import write_file
from rinr_flower.frames import Clip


class DeviceFolder:
    """The folder of one device.

    ``device.json`` names the device, its captures (a list of clips for every round) and the clips held back for
    evaluation; every clip is a ``jpeg`` payload in a file beside it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            content = json.loads((path / "device.json").read_text(encoding="utf-8"))
            self.name: str = content["name"]
            self._captures: list[list[dict[str, str]]] = content["captures"]
            self._held_back: list[dict[str, str]] = content["held_back"]
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise DataError(f"{path} is not a device's folder: {type(error).__name__} {error}") from error

    @classmethod
    def write(
        cls, path: Path, name: str, captures: Sequence[Sequence[Clip]], held_back: Sequence[Clip]
    ) -> DeviceFolder:
        """Make the folder. ``captures`` holds the clips of every round."""
        path.mkdir(parents=True, exist_ok=True)

        def put(clip: Clip, file: str) -> dict[str, str]:
            write_file(path / file, codecs.create("jpeg").encode(clip))
            return {"clip": clip.name, "file": file}

        content = {
            "name": name,
            "captures": [
                [put(clip, f"round-{number:03d}-{i}.rinr") for i, clip in enumerate(clips)]
                for number, clips in enumerate(captures, start=1)
            ],
            "held_back": [put(clip, f"held-back-{i}.rinr") for i, clip in enumerate(held_back)],
        }
        write_file(path / "device.json", json.dumps(content, indent=1).encode())
        return cls(path)

    def in_job(self, memory: Path) -> DeviceFolder:
        """The same in every job: what it captures in which round is written in ``device.json``."""
        return self

    def captures(self, server_round: int) -> list[OwnClip]:
        """What the device captured in a round, from 1; nothing after its last."""
        clips = self._captures[server_round - 1] if server_round <= len(self._captures) else []
        return [self._read(clip) for clip in clips]

    def captured_until(self, server_round: int) -> list[OwnClip]:
        """All captures of the rounds up to and with ``server_round``."""
        return [clip for number in range(1, server_round + 1) for clip in self.captures(number)]

    def held_back(self) -> list[OwnClip]:
        """Frames that are never captured."""
        return [self._read(clip) for clip in self._held_back]

    def _read(self, clip: dict[str, str]) -> OwnClip:
        try:
            return OwnClip(clip["clip"], (self.path / clip["file"]).read_bytes())
        except OSError as error:
            raise DataError(f"clip {clip['clip']!r} of {self.name} cannot be read: {error}") from error
