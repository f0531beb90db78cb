"""Data sets: ``load("otb100:PATH/Crossing")`` -> clips, and how clips are dealt to devices."""

from rinr_flower.datasets.base import Dataset, datasets, load
from rinr_flower.datasets.dac_sdc import DacSdc
from rinr_flower.datasets.dealing import Share, deal
from rinr_flower.datasets.otb100 import Otb100
from rinr_flower.datasets.sample import Sample
from rinr_flower.datasets.uav123 import Uav123
from rinr_flower.datasets.yolo import Folder, Yolo

__all__ = ["DacSdc", "Dataset", "Folder", "Otb100", "Sample", "Share", "Uav123", "Yolo", "datasets", "deal", "load"]
