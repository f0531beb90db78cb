"""The record of a run, and the report made of it: HTML page, JSON, CSV and figures."""

from rinr_flower.report.record import (
    AccuracyRecord,
    DecisionRecord,
    DeviceRecord,
    ExampleRecord,
    FailureRecord,
    PayloadRecord,
    RivalRecord,
    RunRecord,
    StoredRecord,
    UpdateRecord,
)

__all__ = [
    "AccuracyRecord",
    "DecisionRecord",
    "DeviceRecord",
    "ExampleRecord",
    "FailureRecord",
    "PayloadRecord",
    "RivalRecord",
    "RunRecord",
    "StoredRecord",
    "UpdateRecord",
]
