"""AdamW and its schedule as RTFormer's appendix lists them for ImageNet (Table 1), and what that table leaves open."""

import math
from dataclasses import dataclass

from torch import nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from rtseg.checks import check_at_least, check_below, check_between
from rtseg.errors import UserError
from rtseg.training.batch_rate import BatchRate


@dataclass(frozen=True)
class OptimConfig(BatchRate):
    """The defaults are Table 1's, and where it is silent those that docs/pretraining.md argues for.

    Attributes:
        lr: peak learning rate, for a global batch of `lr_batch_size`; another batch scales it linearly.
        lr_batch_size: the batch that `lr` belongs to: 1024 takes the table at its word, 512 is how Swin's code, which
            has the same numbers, reads them (twice the rate at 1024); null: never scale.
        weight_decay: decoupled.
        decay_norms_and_biases: whether it also pulls at normalisations and biases, which Swin leaves out.
        warmup_epochs, warmup_lr: linear climb from `warmup_lr` to `lr`.
        min_lr: end of the cosine, which spans the epochs after the warm-up. `warmup_lr` and `min_lr` belong to the
            batch of `lr` too, and are scaled with it.
    """

    lr: float = 5e-4
    lr_batch_size: int | None = 1024
    weight_decay: float = 0.04
    decay_norms_and_biases: bool = False
    betas: tuple[float, float] = (0.9, 0.999)
    warmup_epochs: float = 5.0
    warmup_lr: float = 5e-7
    min_lr: float = 5e-6

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("weight_decay", "warmup_epochs"):
            check_at_least(f"optim.{name}", getattr(self, name), 0)
        for name in ("warmup_lr", "min_lr"):
            check_between(f"optim.{name}", getattr(self, name), 0, self.lr, "optim.lr is the highest rate")
        for beta in self.betas:
            check_below("optim.betas", beta, 0, 1, "as (0.9, 0.999)")

    def learning_rate(self, step: int, *, total_steps: int, warmup_steps: int) -> float:
        """At the 0-based optimizer step `step`, for the recipe's own batch."""
        if step < warmup_steps:
            return self.warmup_lr + (self.lr - self.warmup_lr) * step / warmup_steps
        done = min((step - warmup_steps) / max(total_steps - warmup_steps, 1), 1.0)
        return self.min_lr + (self.lr - self.min_lr) * (1 + math.cos(math.pi * done)) / 2


def create_optimizer(
    network: nn.Module, config: OptimConfig, *, total_steps: int, steps_per_epoch: float, batch_size: int | None = None
) -> tuple[AdamW, LambdaLR]:
    """Optimizer and its per-step schedule.

    Args:
        total_steps: optimizer steps of the whole training.
        batch_size: global, of one optimizer step; None: learning rates as configured.

    Raises:
        UserError: the warm-up is as long as the training.
    """
    warmup_steps = round(config.warmup_epochs * steps_per_epoch)
    if warmup_steps >= total_steps:
        raise UserError(
            f"optim.warmup_epochs={config.warmup_epochs:g} is {warmup_steps} steps, the whole training {total_steps}: "
            "shorten the warm-up or raise trainer.max_epochs"
        )
    # Normalisations and biases are the vectors among the parameters.
    matrices = [p for p in network.parameters() if p.ndim > 1]
    vectors = [p for p in network.parameters() if p.ndim <= 1]
    vector_decay = config.weight_decay if config.decay_norms_and_biases else 0.0
    groups = [
        {"params": matrices, "weight_decay": config.weight_decay, "name": "weights"},
        {"params": vectors, "weight_decay": vector_decay, "name": "norms_and_biases"},
    ]
    optimizer = AdamW(groups, lr=config.lr * config.batch_scale(batch_size), betas=config.betas)

    def factor(step: int) -> float:
        return config.learning_rate(step, total_steps=total_steps, warmup_steps=warmup_steps) / config.lr

    return optimizer, LambdaLR(optimizer, factor)
