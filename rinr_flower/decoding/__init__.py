"""Decoding on the device: payloads resident as quantised weights, frames rendered in batches on demand."""

from rinr_flower.decoding.store import FrameStore

__all__ = ["FrameStore"]
