"""Real-time semantic segmentation: RTFormer with attention swappable by name, trained, timed and put to work.

Everything here is imported on first use, so that `import rtseg` and `rtseg --help` stay quick and touch no network.
`__init__.pyi` says to type checkers what there is.
"""

import importlib
from typing import Any

from rtseg.telemetry import switch_off
from rtseg.version import VERSION as __version__

switch_off()  # here, since every command, and every program that uses this package, passes here before a library below

_HOMES = {
    "create_model": "rtseg.models",
    "list_models": "rtseg.models",
    "list_heads": "rtseg.models",
    "list_attentions": "rtseg.attention",
    "list_datasets": "rtseg.data",
    "load": "rtseg.deploy.predictor",
    "load_plugin": "rtseg.plugins",
}
__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'rtseg' has no attribute '{name}'")


def __dir__() -> list[str]:
    return __all__
