"""Rivals that engineers use without this library: narrow formats with zstd, and NNCodec."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from rinr_flower.errors import DataError
from rinr_flower.updates.layout import Layout, State

Change = dict[str, NDArray[np.float32]]
BLOCK = 32  # elements that share a scale, as in the GGUF formats
_ZSTD_LEVEL = 19
_CHILD = Path(__file__).with_name("nncodec_child.py")


def rivals() -> dict[str, Callable[[Change], tuple[int, Change]]]:
    """Name to a function from the change of a model's floating tensors to bytes and the change that arrives.

    Vectors go as float32: a running variance near zero comes out negative or far off in fewer bits.
    """
    return {
        "float16 + zstd": lambda change: _zstd(change, _narrow(torch.float16)),
        "bfloat16 + zstd": lambda change: _zstd(change, _narrow(torch.bfloat16)),
        "int8 blocks + zstd": lambda change: _zstd(change, _blockwise(8)),
        "int4 blocks + zstd": lambda change: _zstd(change, _blockwise(4)),
    }


def nncodec(change: Change, qps: Sequence[int]) -> list[tuple[int, Change]]:
    """NNCodec with its own defaults at each of the steps ``qps``, by the interpreter that NNCODEC_PYTHON names."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "in.npz"), Path(folder, "out.npz")
        np.savez(source, **change)  # type: ignore[arg-type]
        command = [os.environ["NNCODEC_PYTHON"], str(_CHILD), str(source), str(target), *map(str, qps)]
        env = {"PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"}
        ended = subprocess.run(command, check=False, capture_output=True, text=True, env=env)
        if ended.returncode:
            raise DataError(f"NNCodec, run by NNCODEC_PYTHON={command[0]}, failed: {ended.stderr[-400:]}")
        with np.load(target) as found:
            return [
                (int(found[f"{i}/bytes"]), {n: found[f"{i}/{n}"].reshape(v.shape) for n, v in change.items()})
                for i in range(len(qps))
            ]


def change_of(base: State, new: State) -> Change:
    """The change of the floating tensors."""
    layout = Layout.of(base)
    return {n: (new[n] - base[n]).float().numpy() for n in (*layout.weights, *layout.vectors)}


def changed(base: State, change: Mapping[str, NDArray[np.float32]]) -> dict[str, torch.Tensor]:
    """The state after a change of its floating tensors."""
    return {n: t + torch.from_numpy(change[n]) if n in change else t for n, t in base.items()}


Narrow = Callable[[NDArray[np.float32]], tuple[NDArray[np.uint8], NDArray[np.float32]]]


def _zstd(change: Change, matrices: Narrow) -> tuple[int, Change]:
    import zstandard

    sent: bytes = b""
    arrived: Change = {}
    for narrow, wide in ((matrices, True), (_narrow(torch.float32), False)):
        names = [n for n, c in change.items() if (c.ndim > 1) is wide]
        data, decoded = narrow(np.concatenate([change[n].reshape(-1) for n in names]))
        parts = np.split(decoded, np.cumsum([change[n].size for n in names])[:-1])
        arrived |= {n: p.reshape(change[n].shape) for n, p in zip(names, parts, strict=True)}
        sent += data.tobytes()
    return len(zstandard.ZstdCompressor(level=_ZSTD_LEVEL).compress(sent)), arrived


def _narrow(dtype: torch.dtype) -> Narrow:
    """Floats of that type; all lowest bytes first, all highest ones last."""

    def run(flat: NDArray[np.float32]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        short = torch.from_numpy(flat).to(dtype)
        data: NDArray[np.uint8] = short.view(torch.uint8).numpy().reshape(-1, dtype.itemsize).T
        return np.ascontiguousarray(data), short.float().numpy()

    return run


def _blockwise(bits: int) -> Narrow:
    """Integers of that many bits, with a float16 scale for every block of 32."""

    def run(flat: NDArray[np.float32]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        padded = np.zeros(-(-flat.size // BLOCK) * BLOCK, np.float32)
        padded[: flat.size] = flat
        blocks = padded.reshape(-1, BLOCK)
        top = 2 ** (bits - 1) - 1
        scales = (np.abs(blocks).max(axis=1) / top).astype(np.float16)
        wide = scales.astype(np.float32)[:, None]
        levels = np.rint(blocks / np.where(wide > 0, wide, 1)).clip(-top, top).astype(np.int8)
        codes = levels.reshape(-1).view(np.uint8)
        if bits == 4:
            codes = (codes[::2] & 15) | (codes[1::2] << 4)
        data = np.concatenate([scales.view(np.uint8), codes])
        return data, (levels * wide).reshape(-1)[: flat.size].astype(np.float32)

    return run
