"""Scores of disparities: end-point error in its two readings, and the shares of bad pixels.

B batch, H, W height and width.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torchmetrics import Metric

from rtseg.tasks.stereo.loss import in_reach

NAMES = ("epe", "epe_batch_mean", "error_3px", "d1")


class StereoResult(NamedTuple):
    """What was counted over all processes.

    Attributes:
        values: scores by name; NaN where no pixel counts, or a prediction is not finite.
        without: images in which no pixel counts; a batch of these alone has no mean, and is left out.
        not_finite: images with a prediction that is not finite.
        bad: disparities of the files that were NaN or negative.
        pixels: how many count.
    """

    values: dict[str, Tensor]
    without: int
    not_finite: int
    bad: int
    pixels: int


class StereoScores(Metric):
    """Counts over all images and processes. Pixels of unknown disparity, or of `max_disparity` and more, do not count.

    - `epe`: the sum of all pixels' errors over their number, in pixels.
    - `epe_batch_mean`: the mean over batches of each batch's own error, as many programs print it; it depends on
      the size of the batches.
    - `error_3px`: share of pixels that are wrong by more than 3 pixels, KITTI 2012's rule.
    - `d1`: of those, the pixels that are also wrong by more than 5 % of their disparity, KITTI 2015's rule.
    """

    full_state_update = False

    def __init__(self, max_disparity: int) -> None:
        super().__init__()
        self.max_disparity = max_disparity
        self.error: Tensor
        self.counts: Tensor
        self.batch_means: Tensor
        self.without: Tensor
        self.not_finite: Tensor
        self.bad: Tensor
        self.add_state("error", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("counts", torch.zeros(4, dtype=torch.int64), dist_reduce_fx="sum")  # pixels, 3px, D1, batches
        self.add_state("batch_means", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        for name in ("without", "not_finite", "bad"):
            self.add_state(name, torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, predicted: Tensor, disparity: Tensor, bad: int = 0) -> None:
        """Counts a batch, (B, H, W) each.

        Args:
            bad: how many disparities of its files were NaN or negative.
        """
        known = in_reach(disparity, self.max_disparity)
        error = (predicted.float() - disparity).abs()[known].double()
        wrong = error > 3
        worse = wrong & (error > 0.05 * disparity[known])
        pixels = known.sum()
        counted = [pixels, wrong.sum(), worse.sum(), (pixels > 0).long()]
        # Not in place: Lightning evaluates in inference mode, whose tensors refuse that outside it.
        self.counts = self.counts + torch.stack(counted)
        self.error = self.error + error.sum()
        self.batch_means = self.batch_means + error.sum() / pixels.clamp(min=1)
        self.without = self.without + known.flatten(1).any(1).logical_not().sum()
        self.not_finite = self.not_finite + predicted.isfinite().flatten(1).all(1).logical_not().sum()
        self.bad = self.bad + bad

    def compute(self) -> StereoResult:
        pixels, wrong, worse, batches = self.counts.unbind()
        sums = torch.stack([self.error, self.batch_means, wrong.double(), worse.double()])
        values = sums / torch.stack([pixels, batches, pixels, pixels])
        if self.not_finite:
            values = torch.full_like(values, torch.nan)
        scores = dict(zip(NAMES, values.unbind(), strict=True))
        return StereoResult(scores, int(self.without), int(self.not_finite), int(self.bad), int(pixels))
