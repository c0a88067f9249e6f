"""Builds a network without random weights, which would take most of the time of loading one."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

_FILLS = (Tensor.normal_, Tensor.uniform_, nn.init.kaiming_normal_, nn.init.kaiming_uniform_)


class Unfilled(TorchFunctionMode):
    """Inside, parameters keep what lies in memory in place of random numbers. All must be loaded afterwards.

    Buffers are filled as usual: a state dict need not hold them.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        filled = args[0] if args else kwargs.get("tensor")  # nn.init hands its tensor on by name
        return filled if func in _FILLS and isinstance(filled, nn.Parameter) else func(*args, **kwargs)
