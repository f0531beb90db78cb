"""Edge devices that learn from each other's images over a slow link, as an extension of Flower.

Importing this package touches neither Flower, Ray nor Ultralytics: ``rinr_flower.strategies`` and
``rinr_flower.clients`` import Flower, a simulation starts Ray, and making a YOLO detector imports Ultralytics.
"""

from pathlib import Path

__version__ = "0.1.0"

# strategies/, clients/ and simulations/ are top-level folders of the repository and sub-packages of the distribution.
# A process whose working directory is a checkout imports this folder before the installed one: find them there too.
_checkout = Path(__file__).resolve().parent.parent
if not (_checkout / "rinr_flower" / "strategies").is_dir() and (_checkout / "strategies").is_dir():
    __path__.append(str(_checkout))
