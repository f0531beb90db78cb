"""The baselines: the camera's own files shared as they are."""

from __future__ import annotations

from typing import Any

from rinr_flower.strategies.fog_node import FogNode
from rinr_flower.strategies.options import refuse


class JpegSharing(FogNode):
    """Every device receives the JPEG files of all others.

    Parameters
    ----------
    relay : True: each file goes up to the fog once and down to every other device. False (serverless): each device
        sends its files to every other device itself. Flower's messages always pass through its server, so the bytes
        are carried as with ``relay``; the ledger holds what the devices' radios would send to each other.
    **options : as for :class:`FogNode`, without ``codec`` and ``upload``.
    """

    def __init__(self, *, relay: bool = False, **options: Any) -> None:
        refuse(self, options, "codec", "upload")
        super().__init__("jpeg", upload="jpeg", **options)
        self.meter.direct = not relay
