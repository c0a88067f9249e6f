"""What a prediction says is compared with plain NumPy and PyTorch."""

from collections.abc import Callable
from dataclasses import FrozenInstanceError

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from rtseg.data import rle
from rtseg.deploy.class_map import class_map
from rtseg.deploy.prediction import Prediction
from rtseg.errors import UserError

NAMES = ("road", "car", "sky", "tree")
PALETTE = ((0, 0, 0), (1, 1, 1), (2, 2, 2), (3, 3, 3))


def prediction(num_classes: int = 4, size: tuple[int, int] = (33, 47)) -> Prediction:
    logits = torch.randn(1, num_classes, 5, 6, generator=torch.Generator().manual_seed(1))
    classes = class_map(logits, size)[0].numpy()
    return Prediction(classes, NAMES[:num_classes], PALETTE[:num_classes], logits)


def test_areas_are_those_of_the_classes_that_are_there() -> None:
    classes = np.array([[3, 3, 3], [0, 3, 0]], np.uint8)
    areas = Prediction(classes, NAMES, PALETTE).areas
    assert [(a.number, a.name, a.pixels) for a in areas] == [(3, "tree", 4), (0, "road", 2)]
    assert [a.share for a in areas] == [4 / 6, 2 / 6]


def test_margin_and_probability_are_computed_once() -> None:
    found = prediction()
    assert found.logits is not None
    upsampled = F.interpolate(found.logits, (33, 47), mode="bilinear")[0]
    best = upsampled.topk(2, 0).values
    assert np.allclose(found.margin, best[0] - best[1], atol=1e-5)
    assert np.allclose(found.probability, upsampled.softmax(0).amax(0), atol=1e-5)
    assert found.margin is found.margin
    assert found.probability is found.probability


def test_two_steps_are_followed() -> None:
    once = prediction()
    twice = Prediction(once.class_map, NAMES, PALETTE, once.logits, between=(64, 64))
    assert not np.allclose(once.margin, twice.margin, atol=1e-3)
    assert not np.allclose(once.probability, twice.probability, atol=1e-3)


def test_one_class_has_an_infinite_margin_and_probability_one() -> None:
    found = prediction(1)
    assert np.isinf(found.margin).all()
    assert (found.probability == 1).all()


def test_a_class_by_name_and_number() -> None:
    found = prediction()
    assert (found.mask("car") == (found.class_map == 1)).all()
    for number in (1.5, True, -1):
        with pytest.raises(UserError, match=f"there is no class {number}: "):
            found.mask(number)  # type: ignore[arg-type]
    assert found.rle("car") == found.rle(1) == rle.encode(found.class_map == 1)
    assert found.polygons("car") == found.polygons(1)


@pytest.mark.parametrize(("which", "message"), [("caar", "Did you mean 'car'"), (4, "numbers 0 to 3"), (-1, "0 to 3")])
def test_a_class_that_is_not_there(which: str | int, message: str) -> None:
    found = prediction()
    for ask in (found.mask, found.polygons, found.rle):
        with pytest.raises(UserError, match=message):
            ask(which)


@pytest.mark.parametrize("ask", [lambda one: one.margin, lambda one: one.probability])
def test_without_logits_there_is_no_margin(ask: Callable[[Prediction], object]) -> None:
    with pytest.raises(UserError, match="the logits are not known"):
        ask(Prediction(np.zeros((3, 3), np.uint8), NAMES, PALETTE))


def test_it_does_not_change() -> None:
    with pytest.raises(FrozenInstanceError):
        prediction().class_map = np.zeros((1, 1))  # type: ignore[misc]
