"""Training: one loop for every objective, fed by a source, that can be stopped and continued."""

from trueup.training.history import History, Warning_
from trueup.training.interrupt import TrainingInterruptedError
from trueup.training.settings import Settings
from trueup.training.sources import Offline
from trueup.training.trainer import Trainer

__all__ = ["History", "Offline", "Settings", "Trainer", "TrainingInterruptedError", "Warning_"]
