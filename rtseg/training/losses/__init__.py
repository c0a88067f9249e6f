"""What a training lowers: one loss a file, found by name, and their weighted sum."""

from rtseg.registry import import_files
from rtseg.training.losses.base import LossContext, list_losses, register_loss
from rtseg.training.losses.config import LossConfig
from rtseg.training.losses.total import TotalLoss

import_files(__name__, __path__)

__all__ = ["LossConfig", "LossContext", "TotalLoss", "list_losses", "register_loss"]
