"""No number of a configuration may be NaN or infinite: every one of them is tried, by the types that they are given."""

import dataclasses
import math
from collections.abc import Iterator
from typing import Any, get_args, get_origin, get_type_hints

import pytest

from pretrain.datamodule import ImageNetData
from pretrain.module import ClassificationModule
from rtseg.attention import list_attentions
from rtseg.attention.grammar import parse_branch
from rtseg.attention.registry import get_mechanism
from rtseg.errors import UserError
from rtseg.models import create_model, list_heads, list_models
from rtseg.models.backbone import backbone_options
from rtseg.models.heads import head_options
from rtseg.speed.conditions import Conditions
from rtseg.training.callbacks.fps_monitor import FPSMonitor
from rtseg.training.datamodule import SegmentationData
from rtseg.training.losses import LossConfig
from rtseg.training.module import SegmentationModule
from rtseg.training.optim import OptimConfig

# What a training is given, with the arguments that have no default.
GIVEN: list[tuple[type, dict[str, Any]]] = [
    (SegmentationModule, {}),
    (SegmentationData, {"dataset": "camvid", "root": "nowhere"}),
    (ClassificationModule, {}),
    (ImageNetData, {"root": "nowhere"}),
    (FPSMonitor, {}),
    (Conditions, {}),
]


def poisoned(kind: Any, bad: float) -> Any:
    """A value of this type with `bad` in it; None where the type has no float."""
    if kind is float:
        return bad
    parts = [poisoned(part, bad) for part in get_args(kind)]
    if get_origin(kind) is tuple and any(part is not None for part in parts):
        return tuple(1.0 if place else bad for place in range(len(parts)))
    if get_origin(kind) is dict:
        return None if parts[1] is None else {"aux": parts[1]}
    return next((part for part in parts if part is not None), None)


def numbers(owner: Any, given: dict[str, Any]) -> Iterator[tuple[Any, dict[str, Any], str, Any]]:
    """Every argument with a float in it, those of the dataclasses among the arguments too."""
    for name, kind in get_type_hints(owner if dataclasses.is_dataclass(owner) else owner.__init__).items():
        if dataclasses.is_dataclass(kind):
            yield from numbers(kind, {})
        elif name != "return" and poisoned(kind, 0.0) is not None:
            yield owner, given, name, kind


CASES = [case for owner, given in GIVEN for case in numbers(owner, given)]


def test_the_walk_meets_every_kind() -> None:
    met = {f"{owner.__name__}.{name}" for owner, _, name, _ in CASES}
    assert len(CASES) > 35
    assert {
        "OptimConfig.lr", "OptimConfig.betas", "LossConfig.class_weights", "LossConfig.weights", "MixConfig.mixup",
        "AugmentConfig.scale", "SegmentationData.scales", "SegmentationModule.ema_decay", "FPSMonitor.seconds",
    } <= met  # fmt: skip


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_no_number_may_be_other_than_finite(bad: float) -> None:
    for owner, given, name, kind in CASES:
        arguments = {**given, name: poisoned(kind, bad)}
        with pytest.raises(UserError, match=name):
            owner(**arguments)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_no_option_of_a_network_may_be_other_than_finite(bad: float) -> None:
    options: list[tuple[str, dict[str, Any], Any]] = [(name, {}, backbone_options(name)) for name in list_models()]
    options += [("rtformer_slim", {"head": head}, head_options(head)) for head in list_heads()]
    tried = 0
    for model, arguments, defaults in options:
        for name in (name for name, default in defaults.items() if isinstance(default, float)):
            tried += 1
            chosen: dict[str, Any] = {**arguments, name: bad}
            with pytest.raises(UserError, match=f"{name}={bad} must be a finite number"):
                create_model(model, 5, **chosen)
    for attention in list_attentions():
        for name in (name for name, kind in get_mechanism(attention).options().items() if kind is float):
            tried += 1
            with pytest.raises(UserError, match=f"{name}={bad}"):
                parse_branch(f"{attention}:{name}={bad}")
    assert tried >= 3


@pytest.mark.parametrize(
    ("config", "argument", "says"),
    [
        (LossConfig, {"class_weights": (0.0, 0.0)}, "all 0, and nothing is learnt"),
        (LossConfig, {"class_weights": (1.0, -1.0)}, "must be at least 0; 0 switches it off"),
        (OptimConfig, {"betas": (0.9, 1.0)}, "at least 0 and below 1"),
        (OptimConfig, {"lr": 10**400}, "must be above 0"),
    ],
)
def test_numbers_out_of_range(config: type, argument: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says):
        config(**argument)


def test_a_width_beyond_any_memory_is_refused() -> None:
    with pytest.raises(UserError, match="base_channels=1000000000 must be a whole number of at least 1 and at most"):
        create_model("rtformer_slim", 5, base_channels=10**9)
