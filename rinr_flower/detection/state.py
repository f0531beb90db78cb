"""A detector's weights as named arrays: checked before they are used, and kept in files without pickle."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rinr_flower.detection.detector import State
from rinr_flower.errors import DataError
from rinr_flower.files import write_file


def check_state(
    state: Mapping[str, NDArray[np.generic]], shapes: Mapping[str, tuple[int, ...]], *, where: str
) -> State:
    """``state`` as float32, in the order of ``shapes``.

    Raises DataError, naming ``where`` and the first entry at fault, for names that are missing or unknown, for another
    shape, and for values that are not finite numbers.
    """
    missing, unknown = [n for n in shapes if n not in state], [n for n in state if n not in shapes]
    for names, what in ((missing, "lacks"), (unknown, "has the unknown")):
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise DataError(
                f"{where} {what} {names[0]!r}{more}: it is of another model; scale and number of classes must agree"
            )
    checked: State = {}
    for name, shape in shapes.items():
        array = np.asarray(state[name])
        if array.shape != shape:
            raise DataError(f"{where}: {name!r} has the shape {array.shape}, this model needs {shape}")
        with np.errstate(over="ignore"):
            single = array.astype(np.float32) if np.issubdtype(array.dtype, np.floating) else None
        if single is None or not np.isfinite(single).all():
            raise DataError(f"{where}: {name!r} ({array.dtype}) holds values that are not finite 32-bit floats")
        checked[name] = single
    return checked


def write_state(path: Path, state: State) -> None:
    """Write ``state`` as an uncompressed .npz; a reader sees the whole file or none."""
    file = io.BytesIO()
    np.savez(file, allow_pickle=False, **state)
    write_file(path, file.getvalue())


def read_state(path: Path) -> State:
    """Read what :func:`write_state` wrote; DataError if the file is anything else."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, AttributeError, KeyError, MemoryError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: not a file of detector weights (.npz): {error}") from error
