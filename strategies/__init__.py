"""Flower strategies: the fog node that shares data or model updates as compact payloads, and its baselines."""

from rinr_flower.strategies.compressed_fedavg import CompressedFedAvg, UpdatesBothWays
from rinr_flower.strategies.compressed_updates import CompressedUpdates
from rinr_flower.strategies.edge_or_fog import EdgeOrFog, FewerBytes
from rinr_flower.strategies.fog_node import FogNode
from rinr_flower.strategies.fog_training import FogTraining, TrainingAtFog
from rinr_flower.strategies.jpeg_sharing import JpegSharing
from rinr_flower.strategies.limits import CaptureLimits
from rinr_flower.strategies.local_training import LocalTraining
from rinr_flower.strategies.memory import Measured, Shared
from rinr_flower.strategies.payload_sharing import PayloadSharing
from rinr_flower.strategies.policy import Outgoing, Policy

__all__ = [
    "CaptureLimits",
    "CompressedFedAvg",
    "CompressedUpdates",
    "EdgeOrFog",
    "FewerBytes",
    "FogNode",
    "FogTraining",
    "JpegSharing",
    "LocalTraining",
    "Measured",
    "Outgoing",
    "PayloadSharing",
    "Policy",
    "Shared",
    "TrainingAtFog",
    "UpdatesBothWays",
]
