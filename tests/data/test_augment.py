"""The recipe against PaddleSeg's own vectors, its draws, and any size of picture."""

import math
import pickle
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import albumentations as A
import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rtseg.data.augment import DISTORTIONS, PAD, Distort, EvalTransform, ScaledCrop, TrainAugment
from rtseg.data.dataset import Sample
from rtseg.errors import UserError

SIDE = st.integers(1, 40)
FIXED: dict[str, Any] = {"scales": [1.0], "flip": 0.0, "distort": False}


def sample(height: int, width: int, seed: int = 0) -> Sample[np.ndarray]:
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Sample(image, rng.integers(0, 19, (height, width), dtype=np.uint8), "x", (height, width))


def by_position(height: int, width: int) -> Sample[np.ndarray]:
    """Every pixel says where it comes from: red = row, green = column, mask = row."""
    rows, columns = np.mgrid[:height, :width].astype(np.uint8)
    return Sample(np.stack([rows, columns, rows], axis=-1), rows, "x", (height, width))


@pytest.fixture(scope="module")
def golden(shared: Path) -> dict[str, np.ndarray]:
    with np.load(shared / "golden" / "preprocess.npz") as content:
        return dict(content)


@pytest.mark.parametrize("scale", [0.5, 0.75, 1.25, 1.5, 1.75, 2.0])
def test_step_scale_is_the_references(golden: dict[str, np.ndarray], scale: float) -> None:
    size = golden[f"stepscale_{scale}/label"].shape
    out = A.Compose([ScaledCrop([scale], size)])(image=golden["img_rgb"], mask=golden["label"])
    np.testing.assert_array_equal(out["mask"], golden[f"stepscale_{scale}/label"])
    np.testing.assert_allclose(out["image"], golden[f"stepscale_{scale}/img"], atol=1)


@pytest.mark.parametrize("factor", [0.6, 0.83, 1.17, 1.4])
@pytest.mark.parametrize("step", ["brightness", "contrast", "saturation"])
def test_enhancements_are_the_references(golden: dict[str, np.ndarray], step: str, factor: float) -> None:
    out = Distort().apply(golden["img_rgb"], steps=((step, factor),)).astype(int)
    assert np.abs(out - golden[f"{step}_{factor}"]).max() <= 1


@pytest.mark.parametrize("turn", [-18.0, -7.3, 5.6, 18.0])
def test_hue_is_the_references(golden: dict[str, np.ndarray], turn: float) -> None:
    out = Distort().apply(golden["img_rgb"], steps=(("hue", turn),)).astype(int)
    assert np.abs(out - golden[f"hue_{turn}"]).max() <= 3


@pytest.mark.parametrize(
    ("name", "resize", "multiple"),
    [("200x50_divNone", (50, 200), 1), ("200x50_div32", (50, 200), 32), ("128x64_divNone", (64, 128), 1)],
)
def test_evaluation_resize_is_the_references(
    golden: dict[str, np.ndarray],
    name: str,
    resize: tuple[int, int],
    multiple: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("rtseg.data.evaluation.EVAL_MULTIPLE", multiple)  # 1: the scaling alone, without the stretching
    picture = Sample(golden["img_rgb"], golden["label"], "x", golden["label"].shape)
    out = EvalTransform(resize)(picture)
    np.testing.assert_allclose(out.image.permute(1, 2, 0), golden[f"resize_keepratio_{name}"], atol=1)
    np.testing.assert_array_equal(out.mask, golden["label"])


def test_distortion_draws_as_the_recipe_says() -> None:
    transform = Distort()
    transform.set_random_seed(0)
    drawn = [transform.get_params()["steps"] for _ in range(4000)]
    for step in DISTORTIONS:
        amounts = [amount for steps in drawn for name, amount in steps if name == step]
        low, high = (-18, 18) if step == "hue" else (0.6, 1.4)
        assert abs(len(amounts) / 4000 - 0.5) < 0.04
        assert low <= min(amounts) < low + (high - low) / 50
        assert high - (high - low) / 50 < max(amounts) <= high
    orders = {tuple(name for name, _ in steps) for steps in drawn if len(steps) == 4}
    assert len(orders) == 24


class _Scale(A.DualTransform):
    """Resizes whole images, as trainings did before only what the crop shows was resized."""

    def __init__(self, scales: tuple[float, ...]) -> None:
        super().__init__(p=1)
        self.scales = scales

    def get_params(self) -> dict[str, Any]:
        return {"scale": self.py_random.choice(self.scales)}

    def apply(self, img: np.ndarray, scale: float, **params: Any) -> np.ndarray:
        return cv2.resize(img, _scaled(img, scale), interpolation=cv2.INTER_LINEAR)

    def apply_to_mask(self, mask: np.ndarray, scale: float, **params: Any) -> np.ndarray:
        return cv2.resize(mask, _scaled(mask, scale), interpolation=cv2.INTER_NEAREST)


def _scaled(array: np.ndarray, scale: float) -> tuple[int, int]:
    return max(1, round(scale * array.shape[1])), max(1, round(scale * array.shape[0]))


class _Distort(Distort):
    """Hue in whole images."""

    def apply(self, img: np.ndarray, steps: tuple[tuple[str, float], ...], **params: Any) -> np.ndarray:
        for step, amount in steps:
            if step == "hue":
                hsv = cv2.cvtColor(img.astype(np.float32), cv2.COLOR_RGB2HSV)
                hsv += np.array([math.floor(amount) % 256 * 360 / 256, 0, 0], np.float32)
                img = cv2.convertScaleAbs(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB))
            else:
                img = DISTORTIONS[step](img, amount)
        return img


@pytest.mark.parametrize(
    ("size", "crop"),
    [
        ((90, 120), (90, 120)),
        ((128, 256), (64, 128)),
        ((64, 85), (64, 64)),
        ((7, 1030), (20, 300)),
        ((50, 60), (80, 90)),
    ],
)
def test_samples_are_those_of_a_pipeline_of_whole_images(size: tuple[int, int], crop: tuple[int, int]) -> None:
    """To the bit, so that a training that began with one can be resumed."""
    scales = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0)
    cut = A.RandomCrop(
        *crop, pad_if_needed=True, pad_position="top_left", border_mode=cv2.BORDER_CONSTANT, fill=PAD, fill_mask=255
    )
    whole = A.Compose([_Scale(scales), cut, A.HorizontalFlip(p=0.5), _Distort()])
    augment, picture = TrainAugment(crop, scales), sample(*size)
    for seed in range(25):
        whole.set_random_state(np.random.default_rng(seed), random.Random(seed))
        expected, out = whole(image=picture.image, mask=picture.mask), augment(picture, seed)
        np.testing.assert_array_equal(out.image.permute(1, 2, 0), expected["image"])
        np.testing.assert_array_equal(out.mask, expected["mask"])


def test_small_pictures_are_padded_right_and_below() -> None:
    out = TrainAugment((8, 10), **FIXED)(by_position(5, 7), 0)
    np.testing.assert_array_equal(out.image[:, :5, :7], by_position(5, 7).image.transpose(2, 0, 1))
    assert (out.image[:, 5:] == 127).all()
    assert (out.image[:, :, 7:] == 127).all()
    assert (out.mask[5:] == 255).all()
    assert (out.mask[:, 7:] == 255).all()
    np.testing.assert_array_equal(out.mask[:5, :7], by_position(5, 7).mask)


def test_crops_reach_every_place_equally() -> None:
    augment = TrainAugment((4, 8), **FIXED)
    corners = [augment(by_position(8, 10), seed).image[:2, 0, 0] for seed in range(1500)]
    counts = np.zeros((5, 3))
    for row, column in corners:
        counts[row, column] += 1
    assert counts.min() > 60  # 100 expected, standard deviation 10


def test_draws_do_not_hang_together() -> None:
    """Scale, place and flip are independent: one stream of numbers, not one seed for each transform."""
    augment = TrainAugment((8, 8), scales=(1.0, 2.0), flip=0.5, distort=False)
    seen = set()
    for seed in range(400):
        red, green, _ = augment(by_position(32, 32), seed).image.int()
        large = bool((red[-1] - red[0]).max() < 6)
        flipped = bool(green[0, 0] > green[0, -1])
        seen.add((large, flipped, bool(red[0, 0] > 12)))
    assert len(seen) == 8


def test_flip_turns_image_and_mask_together() -> None:
    picture = by_position(6, 9)
    picture = picture._replace(mask=picture.image[..., 1])
    out = TrainAugment((6, 9), scales=[1.0], flip=1.0, distort=False)(picture, 0)
    np.testing.assert_array_equal(out.mask, np.asarray(picture.mask)[:, ::-1])
    np.testing.assert_array_equal(out.image[1], out.mask)


def test_the_draw_depends_on_the_seed_alone() -> None:
    augment, picture = TrainAugment((16, 16)), sample(24, 32)
    first = [augment(picture, seed) for seed in range(20)]
    copy = pickle.loads(pickle.dumps(augment))  # as a worker process gets it
    np.random.seed(1)
    torch.manual_seed(1)
    for seed in reversed(range(20)):
        again = copy(picture, seed)
        assert torch.equal(again.image, first[seed].image)
        assert torch.equal(again.mask, first[seed].mask)
    assert len({out.image.numpy().tobytes() for out in first}) == 20


def test_input_is_left_alone() -> None:
    picture = sample(24, 32)
    before = picture.image.copy(), picture.mask.copy()
    for seed in range(10):
        TrainAugment((24, 32), scales=[1.0])(picture, seed).image.zero_()
    EvalTransform()(picture)
    np.testing.assert_array_equal(picture.image, before[0])
    np.testing.assert_array_equal(picture.mask, before[1])


@settings(max_examples=60, deadline=None)
@given(height=SIDE, width=SIDE, crop=st.tuples(SIDE, SIDE), seed=st.integers(0, 2**63))
def test_any_picture_fills_any_crop(height: int, width: int, crop: tuple[int, int], seed: int) -> None:
    picture = sample(height, width)
    out = TrainAugment(crop)(picture, seed)
    assert out.image.shape == (3, *crop)
    assert out.image.dtype == torch.uint8
    assert out.mask.shape == crop
    assert out.mask.dtype == torch.uint8
    assert set(out.mask.unique().tolist()) <= {*np.unique(picture.mask).tolist(), 255}
    assert (out.name, out.size) == ("x", (height, width))


@settings(max_examples=60, deadline=None)
@given(height=SIDE, width=SIDE, short=SIDE, extra=SIDE)
def test_any_picture_can_be_evaluated(height: int, width: int, short: int, extra: int) -> None:
    picture = sample(height, width)
    out = EvalTransform((short, short + extra))(picture)
    sides = out.image.shape[1:]
    assert all(side > 0 and side % 32 == 0 for side in sides)
    assert min(sides) < short + 32
    assert max(sides) < short + extra + 32
    np.testing.assert_array_equal(out.mask, picture.mask)


def test_evaluation_without_resize_changes_nothing() -> None:
    picture = sample(5, 7)
    out = EvalTransform()(picture)
    np.testing.assert_array_equal(out.image.permute(1, 2, 0), picture.image)
    assert out.mask.dtype == torch.uint8


def test_ade20k_rule() -> None:
    rule = EvalTransform((512, 2048))
    assert rule.input_size((512, 683)) == (512, 704)
    assert rule.input_size((256, 2048)) == (256, 2048)
    assert rule.input_size((2100, 1500)) == (736, 512)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"crop_size": (0, 8)}, r"crop_size.*\(0, 8\).*\[360, 480\]"),
        ({"crop_size": (8, 8), "scales": []}, r"scales.*above 0.*\[1\.0\]"),
        ({"crop_size": (8, 8), "scales": [1, -1]}, r"scales.*above 0, not \[1, -1\]"),
        ({"crop_size": (8, 8), "flip": 2}, "flip=2 must be from 0 to 1; it is a probability"),
    ],
)
def test_bad_settings_of_training(arguments: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        TrainAugment(**arguments)


def test_bad_settings_of_evaluation() -> None:
    with pytest.raises(UserError, match=r"\(short side, long side\).*not \(2048, 512\).*\[512, 2048\]"):
        EvalTransform((2048, 512))


def test_albumentations_asks_the_network_for_nothing() -> None:
    """The variable that forbids it is set before the first import, also where the package is used from Python."""
    program = """
import os, sys

class Watch:
    def find_spec(self, name, *_):
        if name == "albumentations":
            os._exit(0 if os.environ.get("NO_ALBUMENTATIONS_UPDATE") == "1" else 3)

os.environ.pop("NO_ALBUMENTATIONS_UPDATE", None)
sys.meta_path.insert(0, Watch())
import rtseg.data.augment
os._exit(4)
"""
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
