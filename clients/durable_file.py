"""Files that are whole or not there, and whose bytes are checked when they are read."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from rinr_flower.errors import DataError


def name_of(data: bytes) -> str:
    """SHA-256 of ``data`` as 64 hex digits: what a content-addressed file is called."""
    return hashlib.sha256(data).hexdigest()


def write_file(path: Path, data: bytes) -> None:
    """Write ``data`` so that after any crash the file is as before or whole and on the disk.

    Raises
    ------
    DataError
        If it cannot be written; the file is as before.
    """
    temporary = ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".part")
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except OSError as error:
        if temporary:
            Path(temporary).unlink(missing_ok=True)
        raise DataError(
            f"{path} cannot be written: {error.strerror or error}; free space there or make it writable"
        ) from error


def keep(folder: Path, data: bytes) -> str:
    """Write ``data`` into ``folder`` under its own hash, unless it is there; the file's name."""
    name = name_of(data)
    path = folder / name
    try:
        there = path.read_bytes() == data
    except OSError:
        there = False
    if not there:
        write_file(path, data)
    return name


def recall(folder: Path, name: str) -> bytes:
    """What :func:`keep` wrote; DataError that names the file if it is missing or altered."""
    data = _read(folder / name)
    if name_of(data) != name:
        raise DataError(f"{folder / name} is torn or altered: its SHA-256 is not its name")
    return data


def write_record(path: Path, content: Any) -> None:
    """Write JSON with its own hash in front."""
    body = json.dumps(content, indent=1).encode()
    write_file(path, name_of(body).encode() + b"\n" + body)


def read_record(path: Path) -> Any:
    """What :func:`write_record` wrote; DataError that names the file if it is missing or altered."""
    checksum, _, body = _read(path).partition(b"\n")
    if name_of(body).encode() != checksum:
        raise DataError(f"{path} is torn or altered: its checksum does not match")
    return json.loads(body)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error


def _sync_folder(path: Path) -> None:
    """Make a rename in a folder last."""
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
