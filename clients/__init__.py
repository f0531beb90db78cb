"""The edge device: its frames, its work, and the Flower ClientApp around it."""

from rinr_flower.clients.device import EdgeDevice, Training
from rinr_flower.clients.edge_device import client_app
from rinr_flower.clients.folder import DeviceFolder

__all__ = ["DeviceFolder", "EdgeDevice", "Training", "client_app"]
