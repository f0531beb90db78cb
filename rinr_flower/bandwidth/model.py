"""The communication model in closed form: bytes of a round under every way of sharing, and where they cross.

Symbols, after the communication model of Residual-INR (arXiv 2408.05617); ``u`` and ``beta`` are added here. Derived in
docs/bandwidth.md.

======== =================================================================================================
D_i      bytes of the camera files that device i shares
r_i      devices that receive them
R        devices that receive anything at all
alpha_i  payload bytes / camera bytes
u_i      uploaded bytes / camera bytes; 1 if the camera files themselves go up
beta     bytes of one model update as sent
======== =================================================================================================

Arguments named ``camera_bytes``, ``receivers``, ``alpha`` and ``u`` are numbers or arrays of shape (devices,) and
broadcast against each other. With ``broadcast`` a sender reaches all of its receivers with one transmission.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rinr_flower.errors import ConfigError

Floats: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True)
class Bytes:
    """Bytes of a round: ``up`` to the fog, ``down`` from it, ``across`` from device to device."""

    up: float = 0.0
    down: float = 0.0
    across: float = 0.0

    @property
    def total(self) -> float:
        return self.up + self.down + self.across


@dataclass(frozen=True)
class SharingGraph:
    """Receivers of each device's captures: ``receivers[i]`` are the indices of the devices that receive device i's."""

    receivers: tuple[tuple[int, ...], ...]

    @classmethod
    def all_to_all(cls, devices: int) -> SharingGraph:
        """Everyone receives everyone else's: r = devices - 1."""
        return cls(tuple(tuple(j for j in range(devices) if j != i) for i in range(devices)))

    @classmethod
    def nearest(cls, devices: int, receivers: int) -> SharingGraph:
        """The next ``receivers`` devices around a ring: r_i = receivers for all."""
        if not 0 <= receivers < devices:
            raise ConfigError(f"{receivers} receivers among {devices} devices; give 0 to {devices - 1}")
        return cls(tuple(tuple(sorted((i + k) % devices for k in range(1, receivers + 1))) for i in range(devices)))

    @classmethod
    def groups(cls, sizes: tuple[int, ...]) -> SharingGraph:
        """All-to-all inside groups of the given sizes: r_i = size of i's group - 1."""
        rows: list[tuple[int, ...]] = []
        for size in sizes:
            start = len(rows)
            rows += [tuple(j for j in range(start, start + size) if j != start + i) for i in range(size)]
        return cls(tuple(rows))

    @property
    def counts(self) -> NDArray[np.int64]:
        """r_i, shape (devices,)."""
        return np.array([len(r) for r in self.receivers], np.int64)

    @property
    def receiving(self) -> int:
        """R: devices that receive anything."""
        return len({j for r in self.receivers for j in r})


def serverless_bytes(
    camera_bytes: ArrayLike, receivers: ArrayLike, *, alpha: ArrayLike = 1.0, broadcast: bool = False
) -> Bytes:
    """Devices send each other their captures: ``sum alpha_i r_i D_i``; broadcast ``sum alpha_i D_i`` over r_i > 0.

    Residual-INR's T_s with alpha = 1 (camera files); any other alpha is a codec that the devices run themselves, for
    example their video encoder.
    """
    data, r, a = _arrays(camera_bytes, receivers, alpha)
    return Bytes(across=_sum(a * _copies(r, broadcast) * data))


def fog_bytes(
    camera_bytes: ArrayLike, receivers: ArrayLike, *, alpha: ArrayLike, u: ArrayLike = 1.0, broadcast: bool = False
) -> Bytes:
    """Captures go up once, come down encoded: ``sum D_i (u_i + alpha_i r_i)``; broadcast ``sum D_i (u_i + alpha_i)``.

    Residual-INR's T_f; alpha = 1 is the camera files relayed as they are. A device whose captures nobody receives sends
    nothing.
    """
    data, r, a, up = _arrays(camera_bytes, receivers, alpha, u)
    return Bytes(up=_sum(np.where(r > 0, up * data, 0.0)), down=_sum(a * _copies(r, broadcast) * data))


def fog_training_bytes(
    camera_bytes: ArrayLike, receiving: int, *, beta: float, u: ArrayLike = 1.0, broadcast: bool = False
) -> Bytes:
    """Captures go up, the fog trains, an update comes down: ``sum u_i D_i + R beta``; broadcast ``sum u_i D_i + beta``.

    The setting of Update Compression for DNNs on the Edge (arXiv 2203.04516).
    """
    data, up = _arrays(camera_bytes, u)
    return Bytes(up=_sum(up * data), down=beta * (min(receiving, 1) if broadcast else receiving))


def federated_bytes(devices: int, *, beta_up: float, beta_down: float, broadcast: bool = False) -> Bytes:
    """Federated averaging: every device sends an update up and gets the average: ``N (beta_up + beta_down)``.

    Broadcast: ``N beta_up + beta_down``. McMahan et al. 2017 (arXiv 1602.05629), algorithm 1, with updates compressed.
    """
    return Bytes(up=devices * beta_up, down=beta_down * (min(devices, 1) if broadcast else devices))


def gain(receivers: ArrayLike, *, alpha: ArrayLike, u: ArrayLike = 1.0) -> Floats:
    """Serverless JPEG over the fog, equal shares, unicast: ``G = r / (u + alpha r)``.

    Limits: r / u as alpha -> 0, so at most 9 for ten devices that upload camera files.
    """
    r, a, up = _arrays(receivers, alpha, u)
    return np.asarray(r / (up + a * r), np.float64)


def receivers_where_fog_pays(*, alpha: float, u: float = 1.0) -> float:
    """The r above which the fog sends fewer bytes than serverless JPEG: ``u + alpha r < r  <=>  r > u / (1 - alpha)``.

    Infinite for alpha >= 1: re-encoding that does not shrink never pays.
    """
    return u / (1 - alpha) if alpha < 1 else math.inf


def alpha_where_fog_pays(receivers: float, *, u: float = 1.0) -> float:
    """The alpha below which the fog pays: ``1 - u / r``; not above 0 means never."""
    return 1 - u / receivers


def beta_where_fog_training_pays(
    camera_bytes: ArrayLike, receivers: ArrayLike, receiving: int, *, alpha: ArrayLike
) -> float:
    """The beta below which training at the fog sends less than sharing: ``R beta < sum alpha_i r_i D_i``.

    The uplink is the same on both sides and cancels.
    """
    data, r, a = _arrays(camera_bytes, receivers, alpha)
    return _sum(a * r * data) / receiving if receiving else math.inf


def frames_where_fog_training_pays(
    frame_bytes: float, receivers: float, *, alpha: float, beta: float, devices: int, receiving: int
) -> float:
    """Frames a device and round above which training at the fog pays: ``F = R beta / (N alpha r b)``.

    N devices with F frames of b = ``frame_bytes`` each and r receivers; ``R beta < alpha sum r_i D_i`` with D = F b.
    """
    per_frame = devices * alpha * receivers * frame_bytes
    return receiving * beta / per_frame if per_frame > 0 else math.inf


def frames_where_federated_pays(
    frame_bytes: float, receivers: float, *, alpha: float, u: float = 1.0, beta_up: float, beta_down: float
) -> float:
    """Frames a device and round above which federated averaging sends less than the fog.

    ``F = (beta_up + beta_down) / (b (u + alpha r))``, from ``N (beta_up + beta_down) < N F b (u + alpha r)``.
    """
    per_frame = frame_bytes * (u + alpha * receivers)
    return (beta_up + beta_down) / per_frame if per_frame > 0 else math.inf


def _arrays(*values: ArrayLike) -> tuple[Floats, ...]:
    return tuple(np.broadcast_arrays(*(np.asarray(v, np.float64) for v in values)))


def _copies(receivers: Floats, broadcast: bool) -> Floats:
    """Transmissions of a sender."""
    return np.minimum(receivers, 1.0) if broadcast else receivers


def _sum(values: Floats) -> float:
    return math.fsum(np.ravel(values))
