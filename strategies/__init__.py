"""Flower strategies: the fog node that shares data as compact payloads, and its baselines."""

from rinr_flower.strategies.fog_node import FogNode, Measured, Shared
from rinr_flower.strategies.jpeg_sharing import JpegSharing
from rinr_flower.strategies.local_training import LocalTraining

__all__ = ["FogNode", "JpegSharing", "LocalTraining", "Measured", "Shared"]
