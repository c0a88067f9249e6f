"""Adam as PSMNet's authors use it, with drops of the learning rate."""

from dataclasses import dataclass

from torch import nn
from torch.optim import Adam
from torch.optim.lr_scheduler import LambdaLR

from rtseg.checks import check_below
from rtseg.tasks.stepped_rate import SteppedRate


@dataclass(frozen=True)
class StereoOptim(SteppedRate):
    """The defaults are the authors' for Scene Flow; the first paper's 2e-3 for 24 pairs is the same rate a pair.

    Attributes:
        lr: learning rate for a global batch of `lr_batch_size`; another batch scales it linearly.
        lr_batch_size: the batch that `lr` belongs to; null: never scale.
        betas: Adam's.
        drops: shares of the training after which the rate is multiplied by `drop_factor`, such as [0.67].
        drop_factor: above 0, at most 1.
    """

    lr: float = 1e-3
    lr_batch_size: int | None = 12
    betas: tuple[float, float] = (0.9, 0.999)
    drops: tuple[float, ...] = ()
    drop_factor: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        for beta in self.betas:
            check_below("optim.betas", beta, 0, 1, "as (0.9, 0.999)")


def create_optimizer(
    network: nn.Module, config: StereoOptim, *, total_steps: int, batch_size: int | None
) -> tuple[Adam, LambdaLR]:
    """Optimizer and its per-step schedule.

    Args:
        batch_size: global; None: the learning rate as configured.
    """
    optimizer = Adam(network.parameters(), lr=config.lr * config.batch_scale(batch_size), betas=config.betas)
    return optimizer, LambdaLR(optimizer, lambda step: config.factor(step, total_steps))
