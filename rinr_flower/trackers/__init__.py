"""Experiment trackers: a run's metrics by round, and its report, in TensorBoard, MLflow or Weights & Biases."""

from rinr_flower.trackers.base import Tracker, trackers
from rinr_flower.trackers.metrics import round_metrics
from rinr_flower.trackers.mlflow import MlFlow
from rinr_flower.trackers.tensorboard import TensorBoard
from rinr_flower.trackers.tracking import Tracking
from rinr_flower.trackers.wandb import WandB

__all__ = ["MlFlow", "TensorBoard", "Tracker", "Tracking", "WandB", "round_metrics", "trackers"]
