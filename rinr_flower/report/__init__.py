"""The record of a run, and the report made of it: HTML page, JSON, CSV and figures."""

from rinr_flower.report.record import (
    AccuracyRecord,
    ControlRecord,
    DecisionRecord,
    DeviceRecord,
    ExampleRecord,
    FailureRecord,
    PayloadRecord,
    RunRecord,
    StoredRecord,
    UpdateRecord,
)

__all__ = [
    "AccuracyRecord",
    "ControlRecord",
    "DecisionRecord",
    "DeviceRecord",
    "ExampleRecord",
    "FailureRecord",
    "PayloadRecord",
    "RunRecord",
    "StoredRecord",
    "UpdateRecord",
]
