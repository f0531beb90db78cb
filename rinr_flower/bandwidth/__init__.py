"""Every byte counted: ledger, link model, closed-form communication model, run records and reports."""

from rinr_flower.bandwidth.ledger import Entry, Ledger
from rinr_flower.bandwidth.link import LinkModel
from rinr_flower.bandwidth.run import (
    AccuracyRecord,
    ControlRecord,
    DecisionRecord,
    DeviceRecord,
    ExampleRecord,
    FailureRecord,
    PayloadRecord,
    RunRecord,
    UpdateRecord,
)

__all__ = [
    "AccuracyRecord",
    "ControlRecord",
    "DecisionRecord",
    "DeviceRecord",
    "Entry",
    "ExampleRecord",
    "FailureRecord",
    "Ledger",
    "LinkModel",
    "PayloadRecord",
    "RunRecord",
    "UpdateRecord",
]
