"""Model updates: ``updates.create("stc").compress(base, new)`` here, ``apply_update(base, data)`` there."""

from rinr_flower.updates.base import UpdateCompressor, apply_update, updates
from rinr_flower.updates.factorised import Factorised
from rinr_flower.updates.full import Float16, Full
from rinr_flower.updates.memory import Memory
from rinr_flower.updates.powersgd import PowerSgd
from rinr_flower.updates.qsgd import Qsgd
from rinr_flower.updates.quantised import Quantised
from rinr_flower.updates.random_mask import RandomMask
from rinr_flower.updates.sketched import Sketched
from rinr_flower.updates.stc import SparseTernary
from rinr_flower.updates.structured_low_rank import StructuredLowRank
from rinr_flower.updates.svd import TruncatedSvd
from rinr_flower.updates.top_k import TopK
from rinr_flower.updates.updating import Update, updating

__all__ = [
    "Factorised",
    "Float16",
    "Full",
    "Memory",
    "PowerSgd",
    "Qsgd",
    "Quantised",
    "RandomMask",
    "Sketched",
    "SparseTernary",
    "StructuredLowRank",
    "TopK",
    "TruncatedSvd",
    "Update",
    "UpdateCompressor",
    "apply_update",
    "updates",
    "updating",
]
