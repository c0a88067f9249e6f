"""How others time a network, so that a published figure can be set beside ours.

DDRNet's repository (https://github.com/ydhongHIT/DDRNet), whose script PIDNet, SCTNet and others took over, times
random normal floats, already on the device, through the network and a bilinear upsampling by the logits' stride; no
argmax, no normalisation, no copy. BatchNorm is left out of the timed network, not folded into it. Ten runs warm up,
then a loop of about six seconds runs without a synchronisation inside, and its mean is the latency.
"""

import time
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rtseg.deploy.fuse import deploy
from rtseg.models.network import Network


@torch.inference_mode()
def ddrnet_protocol(
    segmenter: Network, input_size: tuple[int, int], device: torch.device, *, seconds: float = 6.0
) -> dict[str, Any]:
    """Latency and FPS as DDRNet's script reports them, in plain JSON types: latency_ms, fps, iterations.

    Args:
        input_size: (height, width); the script's own is 1024x2048.
        seconds: of the loop, about.
    """
    network = deploy(segmenter, memory_format=torch.contiguous_format, fold=False).segmenter
    _remove_batchnorm(network)
    network.to(device)
    random = torch.Generator(device).manual_seed(0)  # its own, so that the caller's stays as it is
    image = torch.randn(1, segmenter.card.in_channels, *input_size, device=device, generator=random)

    def run() -> Tensor:
        return F.interpolate(network.logits(image), size=input_size, mode="bilinear", align_corners=False)

    for _ in range(10):
        run()
    iterations = 1
    while (elapsed := _loop(run, iterations, device)) < seconds / 6:
        iterations *= 2
    iterations = max(1, round(iterations / elapsed * seconds))
    latency = _loop(run, iterations, device) / iterations
    return {"latency_ms": 1000 * latency, "fps": 1 / latency, "iterations": iterations}


def _loop(run: Any, iterations: int, device: torch.device) -> float:
    """Seconds."""
    _synchronize(device)
    begin = time.perf_counter()
    for _ in range(iterations):
        run()
    _synchronize(device)
    return time.perf_counter() - begin


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def _remove_batchnorm(module: nn.Module) -> None:
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            setattr(module, name, nn.Identity())
        else:
            _remove_batchnorm(child)
