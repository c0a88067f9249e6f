"""How much a piece of work writes, counted while it runs, and the power by which a figure grows."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class _FloatCounter(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.floats = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        given = {t.untyped_storage().data_ptr() for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)}
        results = [t for t in tree_leaves(out) if isinstance(t, Tensor)]
        self.floats += sum(t.numel() for t in results if t.untyped_storage().data_ptr() not in given)
        return out


def count_floats(step: Callable[[], Any]) -> int:
    """Numbers that the operations of `step` write into memory of their own; views and work in place do not count."""
    with _FloatCounter() as counter, torch.no_grad():
        step()
    return counter.floats


def fit_power(x: Sequence[float], y: Sequence[float]) -> float:
    """e of y = a * x^e that fits the points best, by least squares of the logarithms."""
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])
