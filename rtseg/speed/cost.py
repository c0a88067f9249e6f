"""What a network costs: parameters, multiply-adds, bytes, and what these would take at the speed that this device
reaches in PyTorch's matrix product and in a large copy.

That time is a yardstick and no bound: maps that stay in a cache move faster, a better product computes faster.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from rtseg.deploy.fuse import deploy
from rtseg.models.network import Network
from rtseg.speed.conditions import Conditions
from rtseg.speed.timing import measure

_SIDE, _SMALL_SIDE = 2048, 512  # of the matrices
_COPY = 2**28  # bytes


def count_parameters(segmenter: Network) -> int:
    """The number of parameters of inference: what is for training only left out, BatchNorm not folded."""
    left_out = segmenter.training_only_prefixes()
    return sum(p.numel() for name, p in segmenter.named_parameters() if not name.startswith(left_out))


def count_macs(segmenter: Network, input_size: tuple[int, int]) -> int:
    """Multiply-adds of convolutions, linear maps and attention products from one image to the logits."""

    def count(network: Network, image: Tensor) -> int:
        with FlopCounterMode(display=False) as counter:
            network.logits(image)
        return counter.get_total_flops() // 2

    return _count(segmenter, input_size, count, fold=False)


@torch.inference_mode()
def _count(
    segmenter: Network, input_size: tuple[int, int], count: Callable[[Network, Tensor], int], *, fold: bool
) -> int:
    """What `count` finds while a copy of the network works on one image.

    On the meta device, which computes no values. On the CPU where the network asks for values, as a plug-in's may.
    """
    for device in ("meta", "cpu"):
        network = deploy(segmenter, fold=fold).segmenter.to(device)
        image = torch.zeros(
            1, segmenter.card.in_channels, *input_size, device=device, dtype=next(network.parameters()).dtype
        )
        try:
            return count(network, image)
        except Exception:  # PyTorch has several kinds for a value that is not there
            if device == "cpu":
                raise
    raise AssertionError("unreachable")


@dataclass(frozen=True)
class Ceilings:
    """What a device reaches here.

    Attributes:
        operations: multiplications and additions a second, in a product of 2048x2048 matrices; of 512x512 where one of
            2048x2048 would take seconds, as in bfloat16 on a processor that has none.
        bytes: read and written a second, in a copy of 256 MiB.
    """

    operations: float
    bytes: float


@torch.inference_mode()
def measure_ceilings(device: torch.device, dtype: torch.dtype, seconds: float = 0.5) -> Ceilings:
    """Measured now, with the threads that are set."""
    quick = Conditions(device=device, warmup_seconds=seconds / 2, rounds=3, seconds=seconds)
    a, b = _matrices(_SMALL_SIDE, device, dtype)
    small = measure(lambda: a @ b, replace(quick, warmup_seconds=0.01, seconds=0.01))
    side = _SIDE if small.median_ms * (_SIDE / _SMALL_SIDE) ** 3 < 2000 else _SMALL_SIDE
    a, b = _matrices(side, device, dtype)
    source = torch.empty(_COPY, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    product = measure(lambda: a @ b, quick)
    copy = measure(lambda: target.copy_(source), quick)
    return Ceilings(2e3 * side**3 / product.median_ms, 2e3 * _COPY / copy.median_ms)


def _matrices(side: int, device: torch.device, dtype: torch.dtype) -> list[Tensor]:
    return [torch.randn(side, side, device=device, dtype=dtype) for _ in range(2)]


def count_bytes(network: Network, input_size: tuple[int, int], element_bytes: int) -> int:
    """Bytes that must move for one image if every convolution and linear map reads its input and weights
    and writes its output once; what lies between them is taken as fused.
    """

    def count(network: Network, image: Tensor) -> int:
        elements = 0

        def add(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            nonlocal elements
            elements += inputs[0].numel() + output.numel() + sum(p.numel() for p in module.parameters())

        for module in network.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                module.register_forward_hook(add)
        network.logits(image)
        return elements * element_bytes

    return _count(network, input_size, count, fold=True)


def yardstick_ms(macs: int, moved: int, ceilings: Ceilings) -> float:
    """Milliseconds: the slower of computing and moving."""
    return 1000 * max(2 * macs / ceilings.operations, moved / ceilings.bytes)
