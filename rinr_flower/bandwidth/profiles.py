"""Radios as data: fields of the link model, and where each figure comes from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any


@dataclass(frozen=True)
class Profile:
    """Fields of :class:`rinr_flower.bandwidth.LinkModel`, and their sources."""

    options: Mapping[str, Any]
    source: str


def _joules_per_byte(slope_mw_per_mbps: float, base_mw: float, rate_mbps: float) -> float:
    """Energy of a radio whose power is ``slope * rate + base``; 1 mW per Mbit/s is 1 mJ per megabit."""
    return (slope_mw_per_mbps + base_mw / rate_mbps) * 1e-3 / 125_000


_HUANG = "Huang et al., A Close Examination of Performance and Power Characteristics of 4G LTE Networks, MobiSys 2012"

PROFILES: Mapping[str, Profile] = MappingProxyType(
    {
        "source_2MBps": Profile(
            {"rate_bytes_per_s": 2e6},
            "the 2 MB/s that Residual-INR (arXiv 2408.05617) assumes, without latency; it states no energy",
        ),
        "wifi": Profile(
            {
                "rate_bytes_per_s": 22e6 / 8,
                "latency_s": 0.003,
                "joules_per_byte_sent": _joules_per_byte(283.17, 132.86, 22),
                "joules_per_byte_received": _joules_per_byte(137.01, 132.86, 22),
            },
            "one half-duplex medium with the 22 Mbit/s that IEEE 802.11g carries net of its 54 Mbit/s; power model at "
            f"that rate: {_HUANG}",
        ),
        "lte": Profile(
            {
                "rate_bytes_per_s": 6e6 / 8,
                "latency_s": 0.035,
                "shared_medium": False,
                "joules_per_byte_sent": _joules_per_byte(438.39, 1288.04, 6),
                "joules_per_byte_received": _joules_per_byte(51.97, 1288.04, 13),
            },
            "every path at the median uplink of 6 Mbit/s, half of a 70 ms round trip; power model at 6 Mbit/s up and "
            f"13 Mbit/s down: {_HUANG}",
        ),
        "lora": Profile(
            {
                "rate_bytes_per_s": 5470 / 8,
                "packet_bytes": 222,
                "packet_header_bytes": 13,
                "duty_cycle": 0.01,
                "joules_per_byte_sent": 0.029 * 3.3 / (5470 / 8),
                "joules_per_byte_received": 0.0115 * 3.3 / (5470 / 8),
            },
            "LoRa at SF7 and 125 kHz: 5470 bit/s, payloads of 222 bytes behind 13 bytes of LoRaWAN header, 1 % duty "
            "cycle (LoRaWAN Regional Parameters, EU868, DR5); 29 mA sending at 13 dBm and 11.5 mA receiving at 3.3 V "
            "(Semtech SX1276 datasheet)",
        ),
    }
)
