"""The optimizer of Mask R-CNN and its schedule: a linear climb, then steps down."""

from dataclasses import dataclass
from typing import Literal

from torch import nn
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from rtseg.checks import check_above, check_at_least, check_below, check_fraction, check_one_of


@dataclass(frozen=True)
class InstanceOptim:
    """The defaults are a reading of Shen et al., section 4.1.

    The paper prints a learning rate of 1.25e-4 that falls tenfold at the start of epochs 18 and 21 of 24, and names no
    optimizer. Here the rate is that of one image, and the optimizer SGD with momentum, as in Mask R-CNN's own recipes:
    0.008 for the paper's batch of 64.

    Attributes:
        method: "sgd" or "adamw".
        lr: learning rate for a global batch of `lr_batch_size` images; another batch scales it linearly.
        lr_batch_size: the batch that `lr` belongs to; null: never scale.
        momentum: of SGD; of AdamW the decay of its first moment.
        weight_decay: of weights with more than one dimension; biases and norms have none.
        warmup_steps: steps of the linear climb from a thousandth of the rate.
        drops: parts of the training after which the rate falls: epoch 18 begins after 17 of 24.
        drop: the factor that it falls by.
    """

    method: Literal["sgd", "adamw"] = "sgd"
    lr: float = 1.25e-4
    lr_batch_size: int | None = 1
    momentum: float = 0.9
    weight_decay: float = 1e-4
    warmup_steps: int = 500
    drops: tuple[float, ...] = (17 / 24, 20 / 24)
    drop: float = 0.1

    def __post_init__(self) -> None:
        check_one_of("optim.method", self.method, ("sgd", "adamw"))
        check_above("optim.lr", self.lr, 0)
        check_below("optim.momentum", self.momentum, 0, 1, "as 0.9")
        check_at_least("optim.weight_decay", self.weight_decay, 0)
        check_at_least("optim.warmup_steps", self.warmup_steps, 0)
        for part in (*self.drops, self.drop):
            check_fraction("optim.drops and optim.drop", part)
        if self.lr_batch_size is not None:
            check_at_least("optim.lr_batch_size", self.lr_batch_size, 1, "null never scales")

    def batch_scale(self, batch_size: int | None) -> float:
        """Factor on the learning rate for a global batch of `batch_size`."""
        return batch_size / self.lr_batch_size if batch_size and self.lr_batch_size else 1.0

    def factor(self, step: int, total_steps: int) -> float:
        """On the learning rate at the 0-based step `step` of `total_steps`."""
        climb = min(1.0, 0.001 + 0.999 * step / self.warmup_steps) if self.warmup_steps else 1.0
        return climb * self.drop ** sum(step >= part * total_steps for part in self.drops)


def create_optimizer(
    network: nn.Module, config: InstanceOptim, *, total_steps: int, batch_size: int | None = None
) -> tuple[Optimizer, LambdaLR]:
    """Optimizer of what is trained, and its per-step schedule.

    Args:
        total_steps: optimizer steps of the whole training.
        batch_size: global; None: the learning rate as configured.
    """
    rate = config.lr * config.batch_scale(batch_size)
    learnt = [parameter for parameter in network.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in learnt if p.ndim > 1], "lr": rate, "name": "weights"},
        {"params": [p for p in learnt if p.ndim <= 1], "lr": rate, "weight_decay": 0.0, "name": "biases_and_norms"},
    ]
    optimizer: Optimizer
    if config.method == "sgd":
        optimizer = SGD(groups, momentum=config.momentum, weight_decay=config.weight_decay)
    else:
        optimizer = AdamW(groups, betas=(config.momentum, 0.999), weight_decay=config.weight_decay)
    return optimizer, LambdaLR(optimizer, lambda step: config.factor(step, total_steps))
