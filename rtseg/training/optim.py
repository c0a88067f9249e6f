"""AdamW with faster heads, and the warm-up + polynomial schedule of RTFormer's recipe."""

from dataclasses import dataclass

from torch import nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from rtseg.checks import check_above, check_at_least, check_below
from rtseg.training.batch_rate import BatchRate


@dataclass(frozen=True)
class OptimConfig(BatchRate):
    """The defaults are the authors' Cityscapes recipe.

    Attributes:
        lr: peak learning rate, for a global batch of `lr_batch_size`; another batch scales it linearly.
        lr_batch_size: the batch that `lr` belongs to; null: never scale.
        head_lr_factor: factor on the rate of heads and pyramid pooling, which are not pre-trained.
        weight_decay: decoupled, on every parameter, BatchNorm and biases included.
        warmup_steps, warmup_lr: linear climb from `warmup_lr` to `lr`.
        end_lr, power: polynomial descent to `end_lr` over the rest of the training. `warmup_lr` and `end_lr` belong to
            the batch of `lr` too, and are scaled with it.
    """

    lr: float = 4e-4
    lr_batch_size: int | None = 12
    head_lr_factor: float = 10.0
    weight_decay: float = 0.0125
    betas: tuple[float, float] = (0.9, 0.999)
    warmup_steps: int = 1500
    warmup_lr: float = 1e-6
    end_lr: float = 1e-6
    power: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_above("optim.head_lr_factor", self.head_lr_factor, 0)
        for name in ("weight_decay", "warmup_steps", "warmup_lr", "end_lr", "power"):
            check_at_least(f"optim.{name}", getattr(self, name), 0)
        for beta in self.betas:
            check_below("optim.betas", beta, 0, 1, "as (0.9, 0.999)")

    def learning_rate(self, step: int, total_steps: int) -> float:
        """At the 0-based optimizer step `step` of `total_steps`, for the recipe's own batch."""
        if step < self.warmup_steps:
            return self.warmup_lr + (self.lr - self.warmup_lr) * step / self.warmup_steps
        done = min((step - self.warmup_steps) / max(total_steps - self.warmup_steps, 1), 1)
        return (self.lr - self.end_lr) * (1 - done) ** self.power + self.end_lr


def create_optimizer(
    segmenter: nn.Module, config: OptimConfig, *, total_steps: int, batch_size: int | None = None
) -> tuple[AdamW, LambdaLR]:
    """Optimizer and its per-step schedule.

    Args:
        segmenter: its parameters outside `backbone.` get the head's learning rate.
        total_steps: optimizer steps of the whole training.
        batch_size: global; None: learning rates as configured.
    """
    body = [p for name, p in segmenter.named_parameters() if name.startswith("backbone.")]
    heads = [p for name, p in segmenter.named_parameters() if not name.startswith("backbone.")]
    peak = config.lr * config.batch_scale(batch_size)
    groups = [
        {"params": body, "lr": peak, "name": "backbone"},
        {"params": heads, "lr": peak * config.head_lr_factor, "name": "heads"},
    ]
    optimizer = AdamW(groups, betas=config.betas, weight_decay=config.weight_decay)
    return optimizer, LambdaLR(optimizer, lambda step: config.learning_rate(step, total_steps) / config.lr)
