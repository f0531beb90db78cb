"""Data sets: ``load("otb100:PATH/Crossing")`` -> clips, and how pictures are dealt to devices."""

from rinr_flower.datasets.base import Dataset, datasets, load, sources
from rinr_flower.datasets.coco import Coco
from rinr_flower.datasets.dac_sdc import DacSdc
from rinr_flower.datasets.dealing import Share, deal
from rinr_flower.datasets.folder import Folder
from rinr_flower.datasets.mot import Mot
from rinr_flower.datasets.otb100 import Otb100
from rinr_flower.datasets.sample import Sample
from rinr_flower.datasets.source import Broken, Shot, Source
from rinr_flower.datasets.uav123 import Uav123
from rinr_flower.datasets.video import Video
from rinr_flower.datasets.visdrone import VisDrone
from rinr_flower.datasets.voc import Voc
from rinr_flower.datasets.yolo import Yolo

__all__ = [
    "Broken", "Coco", "DacSdc", "Dataset", "Folder", "Mot", "Otb100", "Sample", "Share", "Shot", "Source", "Uav123",
    "Video", "VisDrone", "Voc", "Yolo", "datasets", "deal", "load", "sources",
]  # fmt: skip
