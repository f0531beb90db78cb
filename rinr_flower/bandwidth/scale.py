"""The communication model for very many devices and a tree of fog nodes, vectorised.

Devices are numbered 0..N-1 and dealt to the leaf fog nodes in blocks; ``fan_out`` fog nodes share a parent, up to one
root. A leaf collects its devices' captures, encodes them, and sends each device the payloads that it should receive.
A payload that has receivers at other leaves goes up the tree as far as it must and down to every leaf with a receiver,
once a link.

Every sharing graph here is one interval of device numbers (around the ring) per sender, so bytes over a tree link are
sums over intervals: prefix sums and difference arrays, O(N) per level; no pair of devices is ever enumerated.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from rinr_flower.bandwidth.link import check_number, expected_tries
from rinr_flower.errors import ConfigError

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Deployment:
    """Devices, fog nodes and radios. Per-device arrays have shape (devices,) and hold one capture period.

    Attributes
    ----------
    upload_bytes, payload_bytes : what each device uploads, and what the fog makes of it.
    frames : frames that each device captures.
    sharing : ``all``: everyone receives everything; ``nearest``: the next ``receivers`` devices around the ring;
        ``groups``: the others in blocks of ``receivers + 1``.
    receivers : see ``sharing``; not used by ``all``.
    fog_nodes : leaves of the tree.
    fan_out : children of an inner fog node.
    fog_rate_bytes_per_s : what one leaf can receive, and can send, over the radio to its devices.
    device_rate_bytes_per_s : what one device can send or receive.
    backhaul_rate_bytes_per_s : each direction of a link between a fog node and its parent.
    encode_seconds_per_frame : of one encoder.
    encoders : encoders (cores or accelerators) at each leaf.
    broadcast : a leaf sends a payload once to all of its devices.
    loss : packet loss of the radio; lost packets are sent again.
    period_s : a capture period; what takes longer piles up.
    """

    upload_bytes: Floats
    payload_bytes: Floats
    frames: Floats
    sharing: Literal["all", "nearest", "groups"] = "nearest"
    receivers: int = 9
    fog_nodes: int = 1
    fan_out: int = 8
    fog_rate_bytes_per_s: float = 2e6
    device_rate_bytes_per_s: float = 2e6
    backhaul_rate_bytes_per_s: float = 1.25e8
    encode_seconds_per_frame: float = 0.0
    encoders: int = 1
    broadcast: bool = False
    loss: float = 0.0
    period_s: float = 60.0

    def __post_init__(self) -> None:
        n = len(self.upload_bytes)
        if n < 2 or len(self.payload_bytes) != n or len(self.frames) != n:
            raise ConfigError(
                f"upload_bytes, payload_bytes and frames have {n}, {len(self.payload_bytes)} and {len(self.frames)} "
                "devices; give the same number, at least 2"
            )
        if self.sharing not in ("all", "nearest", "groups"):
            raise ConfigError(f"sharing {self.sharing!r} is not one of all, nearest, groups")
        if self.sharing != "all" and not (_is_whole(self.receivers) and 1 <= self.receivers < n):
            raise ConfigError(f"{self.receivers!r} receivers among {n} devices; give 1 to {n - 1}")
        if not (_is_whole(self.fog_nodes) and 1 <= self.fog_nodes <= n):
            raise ConfigError(f"{self.fog_nodes!r} fog nodes for {n} devices; give 1 to {n}")
        for name, least in (("fan_out", 2), ("encoders", 1)):
            if not (_is_whole(value := getattr(self, name)) and value >= least):
                raise ConfigError(f"{name} {value!r} is not a whole number from {least}")
        for name in ("fog_rate_bytes_per_s", "device_rate_bytes_per_s", "backhaul_rate_bytes_per_s", "period_s"):
            check_number(name, getattr(self, name), lambda v: v > 0, "a number above 0")
        check_number("encode_seconds_per_frame", self.encode_seconds_per_frame, lambda v: v >= 0, "a number from 0")
        check_number("loss", self.loss, lambda v: 0 <= v < 1, "in 0 <= loss < 1")

    @property
    def devices(self) -> int:
        return len(self.upload_bytes)


def _is_whole(value: object) -> bool:
    return isinstance(value, int | np.integer)


RESOURCES = ("fog_receives", "encoder", "backhaul", "fog_sends", "device_receives", "device_sends")


@dataclass(frozen=True)
class Load:
    """Load of a deployment in one capture period.

    Attributes
    ----------
    uplink_bytes, downlink_bytes, backhaul_bytes : totals, on the radio before losses.
    serverless_bytes : the camera's or uploaded files from device to device, for comparison.
    seconds : by resource (RESOURCES), of the busiest instance of it.
    """

    uplink_bytes: float
    downlink_bytes: float
    backhaul_bytes: float
    serverless_bytes: float
    seconds: dict[str, float]
    period_s: float

    @property
    def round_seconds(self) -> float:
        """From capture to the last payload: the stages follow one another."""
        return math.fsum(
            (
                max(self.seconds["fog_receives"], self.seconds["device_sends"]),
                self.seconds["encoder"],
                self.seconds["backhaul"],
                max(self.seconds["fog_sends"], self.seconds["device_receives"]),
            )
        )

    @property
    def bottleneck(self) -> str:
        """The busiest resource."""
        return max(self.seconds, key=lambda name: self.seconds[name])

    @property
    def saturated(self) -> list[str]:
        """Resources that need more than the period."""
        return [name for name, seconds in self.seconds.items() if seconds > self.period_s]


def load_of(deployment: Deployment) -> Load:
    """Bytes and busy seconds of every part of ``deployment`` in one capture period."""
    d = deployment
    n, leaves = d.devices, d.fog_nodes
    spread = Spread.of(d)
    sends = spread.copies > 0
    uploads = np.where(sends, d.upload_bytes, 0.0)
    leaf = blocks_of(n, leaves)
    up = np.bincount(leaf, uploads, leaves)
    encode = np.bincount(leaf, np.where(sends, d.frames, 0.0), leaves) * d.encode_seconds_per_frame / d.encoders
    received = spread.received(d.payload_bytes)
    down = spread.needed(d.payload_bytes, leaf, leaves) if d.broadcast else np.bincount(leaf, received, leaves)
    backhaul, busiest_link = _backhaul(d, spread, leaf)
    tries = expected_tries(d.loss, 1)
    down_tries = expected_tries(d.loss, math.ceil(n / leaves)) if d.broadcast else tries
    return Load(
        uplink_bytes=float(up.sum()),
        downlink_bytes=float(down.sum()),
        backhaul_bytes=backhaul,
        serverless_bytes=float((d.upload_bytes * np.minimum(spread.copies, 1 if d.broadcast else n)).sum()),
        seconds={
            "fog_receives": float(up.max()) * tries / d.fog_rate_bytes_per_s,
            "encoder": float(encode.max()),
            "backhaul": busiest_link / d.backhaul_rate_bytes_per_s,
            "fog_sends": float(down.max()) * down_tries / d.fog_rate_bytes_per_s,
            "device_receives": float(received.max()) * tries / d.device_rate_bytes_per_s,
            "device_sends": float(uploads.max()) * tries / d.device_rate_bytes_per_s,
        },
        period_s=d.period_s,
    )


def _backhaul(d: Deployment, spread: Spread, leaf: NDArray[np.int64]) -> tuple[float, float]:
    """Bytes over all links of the tree, both directions, and the bytes of the busiest direction of a link."""
    total = busiest = 0.0
    block, nodes = leaf, d.fog_nodes
    while nodes > 1:
        inside = spread.inside(block, nodes)
        up = np.bincount(block, np.where(spread.copies > inside, d.payload_bytes, 0.0), nodes)
        stays = np.bincount(block, np.where(inside > 0, d.payload_bytes, 0.0), nodes)
        down = spread.needed(d.payload_bytes, block, nodes) - stays
        total += float(up.sum() + down.sum())
        busiest = max(busiest, float(up.max()), float(down.max()))
        block, nodes = block // d.fan_out, -(-nodes // d.fan_out)
    return total, busiest


def fog_nodes_needed(deployment: Deployment) -> dict[str, int | None]:
    """The fewest leaves at which each resource of the fog keeps up with the period; None: no number is enough.

    Keys are the resources that more leaves relieve (``fog_receives``, ``encoder``, ``fog_sends``), and ``all``.
    """

    def keeps_up(leaves: int, names: tuple[str, ...]) -> bool:
        load = load_of(replace(deployment, fog_nodes=leaves))
        return all(load.seconds[name] <= deployment.period_s for name in names)

    needed: dict[str, int | None] = {}
    relieved = ("fog_receives", "encoder", "fog_sends")
    for key, names in {**{name: (name,) for name in relieved}, "all": relieved}.items():
        low, high = 1, 1
        while high < deployment.devices and not keeps_up(high, names):
            low, high = high + 1, min(2 * high, deployment.devices)
        if not keeps_up(high, names):
            needed[key] = None
            continue
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if keeps_up(middle, names) else (middle + 1, high)
        needed[key] = low
    return needed


def blocks_of(devices: int, blocks: int) -> NDArray[np.int64]:
    """Deal devices to blocks (leaves) of almost equal size, in order; returns each device's block."""
    return np.arange(devices, dtype=np.int64) * blocks // devices


@dataclass(frozen=True)
class Spread:
    """Receivers of each sender: the interval of ``count`` devices from ``first`` on, around the ring.

    ``with_self``: the interval holds the sender, who does not receive.
    """

    first: NDArray[np.int64]
    count: NDArray[np.int64]
    with_self: bool

    @classmethod
    def of(cls, deployment: Deployment) -> Spread:
        """The deployment's sharing graph."""
        n = deployment.devices
        index = np.arange(n, dtype=np.int64)
        if deployment.sharing == "all":
            return cls(np.zeros(n, np.int64), np.full(n, n, np.int64), True)
        if deployment.sharing == "nearest":
            return cls((index + 1) % n, np.full(n, deployment.receivers, np.int64), False)
        first = index // (deployment.receivers + 1) * (deployment.receivers + 1)
        return cls(first, np.minimum(first + deployment.receivers + 1, n) - first, True)

    @property
    def copies(self) -> NDArray[np.int64]:
        """Receivers of each sender."""
        return self.count - self.with_self

    def received(self, payload: Floats) -> Floats:
        """Bytes that each device receives."""
        whole = _covered(self.first, self.count, payload, len(payload))
        return np.maximum(whole - payload, 0.0) if self.with_self else whole

    def inside(self, block: NDArray[np.int64], blocks: int) -> NDArray[np.int64]:
        """Receivers of each sender that are in the sender's own block."""
        n = len(block)
        edges = np.searchsorted(block, np.arange(blocks + 1))
        low, high = edges[block], edges[block + 1]
        end = self.first + self.count
        before = np.minimum(end, high) - np.maximum(self.first, low)
        around = np.minimum(end - n, high) - np.maximum(self.first - n, low)
        return np.asarray(np.maximum(before, 0) + np.maximum(around, 0) - self.with_self, np.int64)

    def needed(self, payload: Floats, block: NDArray[np.int64], blocks: int) -> Floats:
        """Bytes of all payloads that anyone in each block receives, each payload once."""
        n = len(block)
        last = self.first + self.count - 1
        wraps = last >= n
        one, two = block[self.first], block[last - n * wraps]
        span = np.where(wraps, np.where(two >= one, blocks, blocks - one + two + 1), two - one + 1)
        whole = _covered(np.where(span == blocks, 0, one), span, payload, blocks)
        if self.with_self:  # an own block that holds no receiver but the sender itself needs nothing
            whole -= np.bincount(block, np.where(self.inside(block, blocks) == 0, payload, 0.0), blocks)
        return whole


def _covered(first: NDArray[np.int64], count: NDArray[np.int64], values: Floats, positions: int) -> Floats:
    """For each position the sum of the values whose interval around the ring covers it: shape (positions,)."""
    end = first + count
    wraps = end > positions
    change = np.bincount(first, values, positions + 1)
    change -= np.bincount(np.where(wraps, end - positions, end), values, positions + 1)
    change[0] += float(values[wraps].sum())
    return np.cumsum(change[:-1])
