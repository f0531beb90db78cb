"""Write files atomically, and verify checksums when files are read."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from rinr_flower.errors import DataError, PayloadError

_UNFINISHED = ".part"


def name_of(data: bytes) -> str:
    """Return the SHA-256 of ``data`` as 64 hex digits: the name of a content-addressed file."""
    return hashlib.sha256(data).hexdigest()


def write_file(path: Path, data: bytes | Iterable[bytes]) -> None:
    """Write ``data``, or its parts in order, atomically: after a crash the file is unchanged, or complete and on disk.

    Raises
    ------
    DataError
        If it cannot be written; the file is as before.
    """
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}{_UNFINISHED}")
    with _writing(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("xb") as file:
                file.writelines([data] if isinstance(data, bytes) else data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            with suppress(OSError):
                temporary.unlink()
            raise
        _sync_folder(path.parent)


def remove_unfinished(folder: Path) -> None:
    """Delete the temporary files below ``folder`` that :func:`write_file` left there when its process was killed."""
    for path in folder.rglob(f"*{_UNFINISHED}"):
        path.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """:func:`write_file` of ``text`` as UTF-8."""
    write_file(path, text.encode("utf-8"))


def append_lines(path: Path, lines: bytes, header: bytes = b"") -> None:
    """Append complete lines in one write and flush them to the disk.

    If a crash cut off the last line, a line break is written first. An empty file starts with
    ``header``.

    Raises
    ------
    DataError
        If they cannot be written.
    """
    with _writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab+") as file:
            before = header
            if file.tell():
                file.seek(-1, os.SEEK_END)
                before = b"" if file.read(1) == b"\n" else b"\n"
            file.write(before + lines)
            file.flush()
            os.fsync(file.fileno())


def keep(folder: Path, data: bytes, suffix: str = "") -> str:
    """Write ``data`` into ``folder`` under its hash and ``suffix``, unless it exists; return the hash."""
    name = name_of(data)
    path = folder / f"{name}{suffix}"
    try:
        there = path.read_bytes() == data
    except OSError:
        there = False
    if not there:
        write_file(path, data)
    return name


def recall(folder: Path, name: str, suffix: str = "") -> bytes:
    """Read a file that :func:`keep` wrote; DataError that names the file if it is missing or altered."""
    path = folder / f"{name}{suffix}"
    data = read_file(path)
    if name_of(data) != name:
        raise DataError(f"{path} is torn or altered: its SHA-256 is not its name")
    return data


def write_record(path: Path, content: Any) -> None:
    """Write ``content`` as JSON after a line with its SHA-256."""
    body = json.dumps(content, indent=1).encode()
    write_file(path, name_of(body).encode() + b"\n" + body)


def read_record(path: Path) -> Any:
    """Read JSON that :func:`write_record` wrote; DataError that names the file if it is missing or altered."""
    checksum, _, body = read_file(path).partition(b"\n")
    if name_of(body).encode() != checksum:
        raise DataError(f"{path} is torn or altered: its checksum does not match")
    return json.loads(body)


def read_file(path: Path) -> bytes:
    """Read a file; DataError that names it if it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error


@contextmanager
def payload_in(path: Path) -> Iterator[None]:
    """Add the file's path to the text of a PayloadError."""
    try:
        yield
    except PayloadError as error:
        raise PayloadError(f"{path}: {error}") from error


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Turn an OSError into a DataError that names ``path`` and the way out."""
    try:
        yield
    except OSError as error:
        raise DataError(
            f"{path} cannot be written: {error.strerror or error}; free space there or make it writable"
        ) from error


def _sync_folder(path: Path) -> None:
    """Flush a folder's entries to the disk, so that a rename survives a crash."""
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
