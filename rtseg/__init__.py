"""Real-time semantic segmentation: RTFormer with attention swappable by name, trained, timed and put to work.

Everything here is imported on first use, so that `import rtseg` and `rtseg --help` stay quick and touch no network.
"""

import importlib
import importlib.metadata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rtseg.attention import list_attentions
    from rtseg.data.dataset import list_datasets
    from rtseg.deploy.predictor import load
    from rtseg.models import create_model, list_models

__version__ = importlib.metadata.version("rtseg")
__all__ = ["__version__", "create_model", "list_attentions", "list_datasets", "list_models", "load"]

_HOMES = {
    "create_model": "rtseg.models",
    "list_models": "rtseg.models",
    "list_attentions": "rtseg.attention",
    "list_datasets": "rtseg.data.dataset",
    "load": "rtseg.deploy.predictor",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'rtseg' has no attribute '{name}'")


def __dir__() -> list[str]:
    return __all__
