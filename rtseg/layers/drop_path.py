"""Drop path (stochastic depth), Huang et al., https://arxiv.org/abs/1603.09382.

timm has it too, but importing timm takes as long as importing torch.
"""

from torch import Tensor, nn


class DropPath(nn.Module):
    """Leaves a residual branch out in training, for each image of a batch by itself; what stays is scaled up for it.

    Args:
        drop_prob: the probability that a branch is left out, 0 to below 1.
    """

    def __init__(self, drop_prob: float = 0.0) -> None:
        super().__init__()
        self.drop_prob = drop_prob

    def forward(self, x: Tensor) -> Tensor:
        """(B, ...) -> the same shape."""
        if self.drop_prob == 0.0 or not self.training:
            return x
        keep = 1 - self.drop_prob
        kept = x.new_empty(x.shape[0], *[1] * (x.ndim - 1)).bernoulli_(keep)
        return x * kept.div_(keep)

    def extra_repr(self) -> str:
        return f"drop_prob={self.drop_prob:0.3f}"
