"""The edge device."""

from quickstart.task import open_device
from rinr_flower.clients import client_app

app = client_app(open_device, threads=1)
