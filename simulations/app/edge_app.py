"""The edge device as a ClientApp."""

from rinr_flower.clients import client_app
from rinr_flower.simulations.fleet import OPENED_BYTES
from rinr_flower.simulations.flower_run import open_device

app = client_app(open_device, threads=1, opened_bytes=OPENED_BYTES)
