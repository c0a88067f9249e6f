"""The loss and the scores of disparities, and where a mean would be NaN."""

import pytest
import torch
import torch.nn.functional as F

from rtseg.tasks.stereo.loss import stereo_loss
from rtseg.tasks.stereo.scores import StereoScores


def test_the_loss_is_of_pixels_in_reach() -> None:
    disparity = torch.tensor([[[0.0, 1.0, 5.0, 16.0, 40.0]]])
    outputs = [torch.full_like(disparity, value) for value in (1.0, 2.0, 4.0)]
    terms = stereo_loss(outputs, disparity, 16)
    for weight, output, term in zip((0.5, 0.7, 1.0), outputs, terms.values(), strict=True):
        assert term == pytest.approx(weight * F.smooth_l1_loss(output[..., 1:3], disparity[..., 1:3]).item())


def test_a_batch_without_known_pixels_gives_no_nan() -> None:
    output = torch.ones(1, 2, 2, requires_grad=True)
    loss = sum(stereo_loss([output] * 3, torch.full((1, 2, 2), 200.0), 192).values())
    assert loss == 0
    assert isinstance(loss, torch.Tensor)
    loss.backward()
    assert output.grad is not None
    assert not output.grad.any()


def test_both_errors_and_shares() -> None:
    scores = StereoScores(192)
    first = torch.tensor([[[10.0, 100.0, 0.0, 192.0]]])
    scores.update(first + torch.tensor([1.0, 4.0, 50.0, 50.0]), first)  # 1 and 4 count
    second = torch.tensor([[[10.0, 20.0, 30.0, 40.0]]])
    scores.update(second - 4, second)
    assert {name: round(value.item(), 6) for name, value in scores.compute().values.items()} == {
        "epe": round(21 / 6, 6),
        "epe_batch_mean": (2.5 + 4) / 2,
        "error_3px": round(5 / 6, 6),
        "d1": round(4 / 6, 6),  # 4 of 100 is less than 5 %
    }


def test_images_without_known_pixels_are_counted_and_leave_the_means() -> None:
    scores = StereoScores(192)
    scores.update(torch.ones(2, 1, 2), torch.tensor([[[200.0, 0.0]], [[3.0, 0.0]]]))
    scores.update(torch.ones(1, 1, 2), torch.zeros(1, 1, 2))
    found = scores.compute()
    assert found.without == 2
    assert found.values["epe"] == found.values["epe_batch_mean"] == 2
    scores.reset()
    scores.update(torch.ones(1, 1, 2), torch.zeros(1, 1, 2))
    assert scores.compute().values["epe"].isnan()


def test_predictions_that_are_not_finite_have_no_score() -> None:
    scores = StereoScores(192)
    scores.update(torch.full((1, 1, 2), torch.nan), torch.ones(1, 1, 2))
    assert scores.compute().not_finite == 1
    assert scores.compute().values["d1"].isnan()
