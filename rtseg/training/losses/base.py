"""What a loss is, and the names that losses are found by.

B batch, K classes, H, W height and width.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from rtseg.errors import UserError
from rtseg.models.backbone import MAIN
from rtseg.registry import Registry
from rtseg.training.losses.config import LossConfig


@dataclass(frozen=True)
class LossContext:
    """What a loss may look at beside its own logits and the mask.

    Attributes:
        outputs: the logits of every head, `Segmenter.forward_train`'s: "main" (B, K, H, W), and the auxiliary ones.
        config: `model.loss` of the training.
        ignore_index: the label of pixels that teach nothing.
    """

    outputs: Mapping[str, Tensor]
    config: LossConfig
    ignore_index: int

    def mean(self, total: Tensor, count: Tensor) -> Tensor:
        """The mean over the pixels of all processes, of which this one brings `total` of a sum and `count`."""
        return total / share_of_all(count)

    def check_classes(self, loss: str, logits: Tensor) -> None:
        """Raises: UserError unless there is a channel for each class."""
        found, classes = logits.shape[1], self.outputs[MAIN].shape[1]
        if found != classes:
            raise UserError(
                f"loss '{loss}' wants a channel for each of {classes} classes, and its output has {found}: leave "
                "`channels` of that output out, or give it another loss"
            )


SMALLEST = 1e-8  # count: where all pixels are ignored the loss is 0


def share_of_all(count: Tensor) -> Tensor:
    """What each process divides its sum of losses by: the mean of the processes' `count` of pixels, and never 0.

    DistributedDataParallel takes the mean of the processes' gradients, and theirs have unequal numbers of pixels.
    So the loss of a global batch is the same on any number of them.
    """
    if dist.is_available() and dist.is_initialized():
        count = count.detach().clone()
        dist.all_reduce(count)
        count = count / dist.get_world_size()
    return count.clamp(min=SMALLEST)


def accurate(logits: Tensor) -> Tensor:
    """In float32 at least, whatever the precision of the network."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


Loss = Callable[[Tensor, Tensor, LossContext], Tensor]

_LOSSES: Registry[Loss] = Registry("loss")


def register_loss(name: str) -> Callable[[Loss], Loss]:
    """Decorator for a function (logits, mask, context) -> scalar.

    logits: (B, K, H, W), or as many channels as the output has; mask: (B, H, W) int64. It is 0, with gradients of zero,
    where every pixel is ignored.

    Raises (from the decorator):
        UserError: the name is taken.
    """
    return _LOSSES.register(name)


def list_losses() -> list[str]:
    """Names that a backbone's outputs may give as their loss."""
    return _LOSSES.names()


def get_loss(name: str) -> Loss:
    """What is registered under `name`.

    Raises:
        UserError: nothing is; the message names the nearest loss and all of them.
    """
    return _LOSSES.get(name)
