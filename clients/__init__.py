"""The edge device: its frames, its state, its work, and the Flower ClientApp around it."""

from rinr_flower.clients.client_app import client_app
from rinr_flower.clients.compressed import compressed
from rinr_flower.clients.device_folder import DeviceFolder
from rinr_flower.clients.device_state import DeviceState
from rinr_flower.clients.edge_device import EdgeDevice
from rinr_flower.clients.frame_folder import FrameFolder
from rinr_flower.messages.training import Training

__all__ = ["DeviceFolder", "DeviceState", "EdgeDevice", "FrameFolder", "Training", "client_app", "compressed"]
