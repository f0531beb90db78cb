"""Radios as data: fields of the link model, and where each figure comes from.

Not every figure could be checked against its source; docs/bandwidth.md says which were. The energy coefficients were
not: they are quoted from Huang et al. 2012 and from the SX1276 data sheet, whose tables could not be read. Energy is
that of radios while they transfer, without idle listening and without LTE's long tail at high power after a transfer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from rinr_flower.bandwidth.ledger import FOG


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
            "one half-duplex medium at an assumed net rate of 22 Mbit/s (IEEE 802.11g: 54 on air, at most 31.4 net for "
            f"packets of 1,500 bytes); power model at that rate, coefficients not verified: {_HUANG}",
        ),
        "lte": Profile(
            {
                "rate_bytes_per_s": 6e6 / 8,
                "latency_s": 0.035,
                "shared_medium": False,
                "node_rate_bytes_per_s": 6e6 / 8,
                "node_rates": {FOG: 1e9 / 8},
                "joules_per_byte_sent": _joules_per_byte(438.39, 1288.04, 6),
                "joules_per_byte_received": _joules_per_byte(51.97, 1288.04, 13),
            },
            "every device sends, and receives, 6 Mbit/s over all of its links (the median uplink), the fog is wired "
            "(assumed: 1 Gbit/s); half of a 70 ms round trip (assumed); power model at the "
            f"medians of 6 Mbit/s up and 13 Mbit/s down, coefficients not verified, without its tail: {_HUANG}",
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
            "(Semtech SX1276 data sheet, not verified; ns-3's lorawan module has 28 mA and 11.2 mA)",
        ),
    }
)
