"""Codecs of the accuracy benchmark as written on the command line, and their payloads, encoded once.

``NAME`` or ``NAME:option=value,option=value`` is a codec of the registry, applied to the camera's frames. ``X@Y`` is
codec ``X`` applied to what the fog decodes when devices upload with codec ``Y`` instead of the camera's own files.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from rinr_flower.codecs import Codec, codecs, decode
from rinr_flower.errors import ConfigError
from rinr_flower.files import write_file
from rinr_flower.frames import Clip

from .code_hash import code_of, digest_of
from .machine import describe

ENCODING_SEED = 0


@dataclass(frozen=True)
class Route:
    """The way of frames to the devices that train on them.

    Attributes
    ----------
    spec : as written on the command line.
    download : what the fog sends.
    upload : what devices send to the fog; None is the camera's own files.
    """

    spec: str
    download: Codec
    upload: Codec | None

    @property
    def code(self) -> list[str]:
        """Modules that its payloads depend on."""
        return [*dict.fromkeys(code_of(self.download) + (code_of(self.upload) if self.upload else []))]


@dataclass(frozen=True)
class Sent:
    """One clip on its way: the payload that devices get, and the bytes that went up for it, container included."""

    payload: bytes
    upload_bytes: int


def parse_route(spec: str) -> Route:
    """A route from its command-line form; ConfigError, naming ``spec`` and the known choices, if it is none."""
    download, sign, upload = spec.partition("@")
    return Route(spec, parse_codec(download), parse_codec(upload) if sign else None)


def parse_codec(text: str) -> Codec:
    """A codec from ``NAME:option=value,option=value``; ConfigError, naming ``text``, if it is none."""
    name, _, rest = text.partition(":")
    options = {}
    for item in rest.split(",") if rest else []:
        key, sign, value = item.partition("=")
        if not (key and sign):
            raise ConfigError(f"codec {text!r}: {item!r} is not option=value; write NAME:option=value,option=value")
        options[key] = value
    return codecs.create(name, **options)


class PayloadCache:
    """Payloads in a folder, each under a hash of all that its bytes depend on: clip, codec, code and libraries.

    Parameters
    ----------
    folder : where they are kept.
    device : where INRs are fitted.
    """

    def __init__(self, folder: Path, device: torch.device) -> None:
        self._folder = folder
        self._device = device
        self._environment = {"versions": describe()["versions"], "device": device.type}

    def send(self, route: Route, clip: Clip, progress: Callable[[float], None] | None = None) -> Sent:
        """``clip`` sent along ``route``; encoded only where the folder does not have it yet."""
        uploaded = self._encode(route.upload or codecs.create("jpeg"), clip, None)
        arrived = clip if route.upload is None else decode(uploaded, name=clip.name)
        return Sent(self._encode(route.download, arrived, progress), len(uploaded))

    def _encode(self, codec: Codec, clip: Clip, progress: Callable[[float], None] | None) -> bytes:
        path = self._folder / f"{self._key(codec, clip)}.rinr"
        if path.is_file():
            return path.read_bytes()
        payload = codec.encode(clip, seed=ENCODING_SEED, device=self._device, progress=progress)
        write_file(path, payload)
        return payload

    def _key(self, codec: Codec, clip: Clip) -> str:
        code = digest_of(code_of(codec))
        content = {"codec": repr(codec), "code": code, "seed": ENCODING_SEED, **self._environment}
        digest = hashlib.sha256(_canonical(content) + _canonical({"names": clip.class_names}))
        for frame in clip.frames:
            digest.update(str(frame.image.shape).encode() + frame.image.tobytes() + frame.file)
            digest.update(frame.boxes.tobytes() + frame.classes.tobytes())
        return digest.hexdigest()[:32]


def _canonical(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content, sort_keys=True).encode()
