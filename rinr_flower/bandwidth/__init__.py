"""Every byte counted: ledger, link model, and the closed-form communication model."""

from rinr_flower.bandwidth.ledger import FOG, Entry, Ledger
from rinr_flower.bandwidth.link import LinkModel

__all__ = ["FOG", "Entry", "Ledger", "LinkModel"]
