"""A learning rate that belongs to a batch of one size."""

from dataclasses import dataclass

from rtseg.checks import check_above, check_at_least


@dataclass(frozen=True)
class BatchRate:
    """Base of the settings of an optimizer.

    Attributes:
        lr: learning rate for a global batch of `lr_batch_size`; another batch scales it linearly.
        lr_batch_size: the batch that `lr` belongs to; null: never scale.
    """

    lr: float
    lr_batch_size: int | None

    def __post_init__(self) -> None:
        check_above("optim.lr", self.lr, 0)
        if self.lr_batch_size is not None:
            check_at_least("optim.lr_batch_size", self.lr_batch_size, 1, "null never scales")

    def batch_scale(self, batch_size: int | None) -> float:
        """Factor on every learning rate for a global batch of `batch_size`."""
        return batch_size / self.lr_batch_size if batch_size and self.lr_batch_size else 1.0
