"""The optimizer of Mask R-CNN and its schedule: a linear climb, then steps down."""

from dataclasses import dataclass
from typing import Literal

from torch import nn
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from rtseg.checks import check_at_least, check_below, check_one_of
from rtseg.tasks.stepped_rate import SteppedRate


@dataclass(frozen=True)
class InstanceOptim(SteppedRate):
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
        drop_factor: the factor that it falls by.
    """

    method: Literal["sgd", "adamw"] = "sgd"
    lr: float = 1.25e-4
    lr_batch_size: int | None = 1
    momentum: float = 0.9
    weight_decay: float = 1e-4
    warmup_steps: int = 500
    drops: tuple[float, ...] = (17 / 24, 20 / 24)
    drop_factor: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_one_of("optim.method", self.method, ("sgd", "adamw"))
        check_below("optim.momentum", self.momentum, 0, 1, "as 0.9")
        check_at_least("optim.weight_decay", self.weight_decay, 0)
        check_at_least("optim.warmup_steps", self.warmup_steps, 0)

    def factor(self, step: int, total_steps: int) -> float:
        """With the climb at the beginning."""
        climb = min(1.0, 0.001 + 0.999 * step / self.warmup_steps) if self.warmup_steps else 1.0
        return climb * super().factor(step, total_steps)


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
