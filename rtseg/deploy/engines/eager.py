"""PyTorch, its kernels called one by one."""

from rtseg.deploy.engines.base import register_engine
from rtseg.deploy.engines.torch_engine import TorchEngine


@register_engine
class Eager(TorchEngine):
    """BatchNorm folded, channels_last, the exact class map without the big tensor."""

    backend = "eager"
