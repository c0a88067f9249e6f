import contextlib
import random
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data.auto_augment import RandAugment
from timm.data.transforms import RandomResizedCropAndInterpolation
from torchvision.transforms import ColorJitter, InterpolationMode, RandomHorizontalFlip

from pretrain.data.augment import AugmentConfig, eval_transform, seeded, train_transform
from rtseg.errors import UserError

PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8))


def test_the_papers_recipe_is_what_is_built() -> None:
    crop, flip, randaugment, jitter, _ = train_transform(AugmentConfig()).transforms  # type: ignore[attr-defined]
    assert isinstance(crop, RandomResizedCropAndInterpolation)
    assert (crop.size, crop.scale, crop.ratio) == ((224, 224), (0.08, 1.0), (3 / 4, 4 / 3))
    assert crop.interpolation == InterpolationMode.BICUBIC
    assert isinstance(flip, RandomHorizontalFlip)
    assert flip.p == 0.5
    assert isinstance(randaugment, RandAugment)
    assert randaugment.num_layers == 2
    assert {(op.magnitude, op.magnitude_std, op.prob) for op in randaugment.ops} == {(9, 0.5, 0.5)}
    assert "PosterizeIncreasing" in {op.name for op in randaugment.ops}
    assert isinstance(jitter, ColorJitter)
    assert (jitter.brightness, jitter.contrast, jitter.saturation, jitter.hue) == (*[(0.6, 1.4)] * 3, None)


def _operations(randaugment: str) -> tuple[bool, set[str]]:
    """Whether they are weighted, and their names."""
    steps = train_transform(AugmentConfig(randaugment=randaugment)).transforms  # type: ignore[attr-defined]
    (found,) = (step for step in steps if isinstance(step, RandAugment))
    return found.choice_weights is not None, {operation.name for operation in found.ops}


def test_every_set_of_operations_is_one_that_timm_knows() -> None:
    """What it does not know it takes for the usual set."""
    usual, *others = (_operations(f"rand-m9-inc1{name}") for name in ("", "-tweights", "-t3a", "-t3aw"))
    assert usual not in others
    assert all(others.count(other) == 1 for other in others)


def test_evaluation_resizes_and_crops_the_centre() -> None:
    resize, crop, _ = eval_transform(AugmentConfig()).transforms  # type: ignore[attr-defined]
    assert (resize.size, resize.interpolation, crop.size) == (256, InterpolationMode.BICUBIC, (224, 224))
    picture = Image.fromarray(np.arange(64 * 80 * 3).reshape(64, 80, 3).astype(np.uint8))
    found = eval_transform(AugmentConfig(image_size=56))(picture)  # 56 / 0.875 = 64: nothing is resized
    assert found.dtype == torch.uint8
    assert np.array_equal(found.permute(1, 2, 0), np.asarray(picture)[4:60, 12:68])


def test_everything_can_be_turned_off() -> None:
    config = AugmentConfig(60, randaugment="", color_jitter=0, scale=(1, 1), ratio=(4 / 3, 4 / 3), flip=0)
    with seeded(0):
        found = train_transform(config)(PICTURE)
    assert np.array_equal(found.permute(1, 2, 0), np.asarray(PICTURE.resize((60, 60), Image.Resampling.BICUBIC)))


def test_a_sample_is_a_function_of_its_seed() -> None:
    transform = train_transform(AugmentConfig(image_size=32))

    def sample(seed: int) -> torch.Tensor:
        with seeded(seed):
            return transform(PICTURE)

    seeds = [0, 1, 2**32, 2**63 + 1, 2**64 - 1]
    first = [sample(seed) for seed in seeds]
    random.seed(5)
    np.random.seed(5)
    torch.manual_seed(5)
    second = [sample(seed) for seed in reversed(seeds)][::-1]
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert all(image.shape == (3, 32, 32) and image.dtype == torch.uint8 for image in first)
    assert len({image.contiguous().numpy().tobytes() for image in first}) == len(seeds)


def _draw() -> tuple[float, float, float]:
    return random.gauss(0, 1), np.random.random(), float(torch.rand(1))


def test_the_process_keeps_its_own_random_numbers() -> None:
    def set_all() -> None:
        random.seed(1)
        np.random.seed(1)
        torch.manual_seed(1)
        random.gauss(0, 1)  # leaves a second one waiting

    set_all()
    wanted = _draw()
    set_all()
    with contextlib.suppress(ZeroDivisionError), seeded(7):
        assert _draw() != wanted
        raise ZeroDivisionError
    assert _draw() == wanted


def test_the_seed_reaches_every_generator() -> None:
    def drawn(seed: int) -> tuple[float, float, float]:
        with seeded(seed):
            return _draw()

    first, other, far = drawn(3), drawn(4), drawn(3 + 2**40)
    assert all(a != b for a, b in zip(first, other, strict=True))
    assert all(a != b for a, b in zip(first[:2], far[:2], strict=True))  # PyTorch's takes 32 bits


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"image_size": 0}, "image_size=0 must be at least 1"),
        ({"randaugment": "rand-x9"}, "'rand-x9' is not in timm's notation"),
        ({"randaugment": "rand-m9-mst0.5"}, "not in timm's notation"),
        ({"randaugment": "rand-m9-tfoo"}, "'rand-m9-tfoo' is not in timm's notation.*-tweights, -t3a or -t3aw"),
        ({"randaugment": "rand-m9.5"}, "not in timm's notation"),
        ({"randaugment": "rand-n1.5"}, "not in timm's notation"),
        ({"color_jitter": -0.1}, "color_jitter=-0.1 must be at least 0"),
        ({"scale": (0.0, 1.0)}, "two shares of the area"),
        ({"scale": (0.9, 0.5)}, "two shares of the area"),
        ({"ratio": (2.0, 1.0)}, "the smaller first"),
        ({"flip": 1.5}, "flip=1.5 must be from 0 to 1; it is a probability"),
        ({"interpolation": "cubic"}, r"interpolation=cubic is unknown. Did you mean 'bicubic'\? Known: bicubic, bil"),
        ({"crop_pct": 0}, "crop_pct=0 must be above 0"),
    ],
)
def test_refuses(options: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says):
        AugmentConfig(**options)
