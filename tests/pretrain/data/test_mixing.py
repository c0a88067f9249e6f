"""Random erasing, Mixup and CutMix as Table 1 sets them, seen in what comes out of many batches."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pretrain.data.mixing import MixConfig, Mixing
from rtseg.errors import UserError

OFF: dict[str, Any] = {"random_erasing": 0.0, "mixup": 0.0, "cutmix": 0.0, "label_smoothing": 0.0}


def test_timms_mixup_is_set_as_the_table_says() -> None:
    mixup = Mixing(MixConfig(), 1000).mixup
    assert mixup is not None
    found = (mixup.mixup_alpha, mixup.cutmix_alpha, mixup.mix_prob, mixup.switch_prob, mixup.label_smoothing)
    assert found == (0.2, 1.0, 1.0, 0.5, 0.1)
    assert (mixup.num_classes, mixup.mode) == (1000, "batch")


def test_a_quarter_of_the_images_has_a_rectangle_of_noise() -> None:
    mixing = Mixing(MixConfig(**{**OFF, "random_erasing": 0.25}), 5)
    image, _ = mixing(torch.full((400, 3, 16, 16), 9.0), torch.zeros(400).long(), 1)
    erased = (image != 9).any(1)  # (400, 16, 16)
    share = erased.any(-1).any(-1).float().mean()
    assert share == pytest.approx(0.25, abs=0.07)
    for mask in erased[erased.any(-1).any(-1)]:
        rows, columns = mask.any(1), mask.any(0)
        assert torch.equal(mask, rows[:, None] & columns[None])
    assert image[(image != 9)].std() == pytest.approx(1, abs=0.05)


def test_both_kinds_of_mixing_occur_and_targets_follow() -> None:
    mixing = Mixing(MixConfig(random_erasing=0.0), 4)
    kinds = []
    for seed in range(40):
        image, target = mixing(
            torch.tensor([0.0, 1.0]).view(2, 1, 1, 1).repeat(1, 3, 32, 32), torch.tensor([2, 3]), seed
        )
        share = image[0].mean().item()  # of the second image in the first
        expected = 0.9 * torch.tensor([0, 0, 1 - share, share]) + 0.1 / 4
        torch.testing.assert_close(target[0], expected, rtol=0, atol=1e-5)
        values = image[0].unique()
        kinds.append("cutmix" if len(values) == 2 and set(values.tolist()) == {0.0, 1.0} else "mixup")
    assert 8 < kinds.count("cutmix") < 32


@settings(deadline=None, max_examples=30)
@given(number=st.integers(1, 6).map(lambda n: 2 * n), classes=st.integers(2, 9), seed=st.integers(0, 2**64 - 1))
def test_targets_are_distributions_and_the_seed_decides(number: int, classes: int, seed: int) -> None:
    mixing = Mixing(MixConfig(), classes)
    label = torch.arange(number) % classes
    first, target = mixing(torch.linspace(0, 1, number).view(-1, 1, 1, 1).repeat(1, 3, 8, 8), label, seed)
    again, same = mixing(torch.linspace(0, 1, number).view(-1, 1, 1, 1).repeat(1, 3, 8, 8), label, seed)
    assert torch.equal(first, again)
    assert torch.equal(target, same)
    torch.testing.assert_close(target.sum(1), torch.ones(number))
    assert (target >= 0).all()


def test_without_mixing_the_labels_are_smoothed() -> None:
    mixing = Mixing(MixConfig(**{**OFF, "label_smoothing": 0.2}), 4)
    assert mixing.mixup is None
    image = torch.randn(3, 3, 4, 4)
    same, target = mixing(image.clone(), torch.tensor([1, 0, 3]), 0)
    assert torch.equal(same, image)
    expected = torch.full((3, 4), 0.05)
    expected[[0, 1, 2], [1, 0, 3]] = 0.85
    torch.testing.assert_close(target, expected)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"random_erasing": 1.5}, "mix.random_erasing=1.5 must be from 0 to 1; it is a probability"),
        ({"mixup": -0.2}, "mix.mixup=-0.2 must be at least 0; 0 switches it off"),
        ({"cutmix": float("inf")}, "mix.cutmix=inf"),
        ({"label_smoothing": 1.0}, "mix.label_smoothing=1.0 must be at least 0 and below 1"),
    ],
)
def test_bad_settings(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says):
        MixConfig(**settings)
