"""A learning rate that falls by steps."""

from dataclasses import dataclass

from rtseg.checks import check_fraction
from rtseg.training.batch_rate import BatchRate


@dataclass(frozen=True)
class SteppedRate(BatchRate):
    """Base of the settings of an optimizer, see `BatchRate`.

    Attributes:
        drops: shares of the training after which the rate is multiplied by `drop_factor`, such as (0.67,).
        drop_factor: above 0, at most 1.
    """

    drops: tuple[float, ...]
    drop_factor: float

    def __post_init__(self) -> None:
        super().__post_init__()
        check_fraction("optim.drop_factor", self.drop_factor)
        for drop in self.drops:
            check_fraction("optim.drops", drop, "they are shares of the training")

    def factor(self, step: int, total_steps: int) -> float:
        """Factor on the learning rate at the 0-based step `step` of `total_steps`."""
        return float(self.drop_factor ** sum(step >= round(drop * total_steps) for drop in self.drops))
