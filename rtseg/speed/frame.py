"""What one frame takes besides time: memory and kernels on CUDA, candidate classes, the effect of folding."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from rtseg.deploy.class_map.cpu import class_map_cpu
from rtseg.deploy.engines import Engine, size_of
from rtseg.deploy.fuse import count_batchnorm, deploy
from rtseg.models.network import Network
from rtseg.speed.memory import allocated_beyond


def peak_memory(engine: Engine, images: Tensor) -> int | None:
    """Bytes on CUDA: what one run allocates beyond everything that is resident, and the weights.

    None of engines whose kernels PyTorch does not launch one by one: a recorded graph allocates before it runs, and
    other engines' allocations are not seen here.
    """
    network = getattr(engine, "network", None)
    if not engine.launches_kernels or not isinstance(network, torch.nn.Module):
        return None
    weights = sum(p.nbytes for p in network.parameters())
    return allocated_beyond(lambda: engine.run(images), images.device) + weights


def count_kernels(engine: Engine, images: Tensor) -> int | None:
    """The number of kernels that one run launches on CUDA; None elsewhere."""
    if images.device.type != "cuda":
        return None
    engine.run(images)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        engine.run(images)
        torch.cuda.synchronize(images.device)
    kernels = [event for event in profile.events() if event.device_type == torch.autograd.DeviceType.CUDA]
    return sum(not event.name.startswith(("Memcpy", "Memset")) for event in kernels)


def cell_candidates(engine: Engine, batches: Sequence[Tensor]) -> float | None:
    """Classes that the class map looks at in a cell of four logits, on average; None without logits, and of batches."""
    if not engine.has_logits or len(batches[0]) > 1:
        return None
    seen = []
    for images in batches:  # one at a time: an engine may write all its logits into the same memory
        logits = engine.logits(engine.prepare(images))
        rows = logits.float().cpu().permute(0, 2, 3, 1).contiguous().numpy()
        seen.append(class_map_cpu(rows, size_of(images))[1])
    return float(np.mean(seen))


def folding(network: Network, images: Tensor) -> dict[str, float]:
    """What folding BatchNorm does to the logits of an image, nothing else changed."""
    as_trained, folded = (
        deploy(network, memory_format=torch.contiguous_format, fold=fold).float().cpu() for fold in (False, True)
    )
    before, after = (one.logits(one.prepare(images[:1].cpu())) for one in (as_trained, folded))
    left = count_batchnorm(folded)
    return {
        "folded": count_batchnorm(as_trained) - left,
        "left": left,
        "max_abs_difference": (before - after).abs().max().item(),
        "max_abs_logit": before.abs().max().item(),
    }
