"""The edge device as a ClientApp."""

from rinr_flower.clients import client_app
from rinr_flower.simulations.deployment import open_device

app = client_app(open_device)
