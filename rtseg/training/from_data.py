"""Settings that follow the data: what `auto` stands for in a training.

The rules are simple and printed, so that a user can choose otherwise. A chosen value is recorded like any other: in the
run's config.yaml and in its checkpoints. A resumed training takes it from there.
"""

import math
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any, NamedTuple

from jsonargparse import Namespace

from rtseg.data.evaluation import evaluation_size
from rtseg.data.survey import Survey

AUTO = "auto"
KEYS = ("data.batch_size", "data.eval_resize", "data.scales", "data.crop_size", "model.loss.class_weights")
BATCHES = (8, 4, 2)
LARGE_SIDE = 640  # images whose short side is longer are made smaller for the network
EVAL_RESIZE = (512, 2048)
SCALES = (0.75, 1.0, 1.25, 1.5)
MULTIPLE, LEAST_SIDE, MOST_CROP = 32, 64, 512 * 512
EPOCHS, LEAST_STEPS, MOST_STEPS, VALIDATIONS = 80, 500, 20_000, 10
LIGHTEST, HEAVIEST = 0.2, 5.0  # class weights
_SHOWN = 12  # classes in a line


class Choice(NamedTuple):
    """A setting that was chosen: its flag, its value, and why."""

    key: str
    value: Any
    reason: str

    def __str__(self) -> str:
        value = list(self.value) if isinstance(self.value, tuple) else self.value
        return f"  {self.key}={'null' if value is None else value}: {self.reason}"


def choose_batch_size(images: int) -> int:
    """The largest of 8, 4 and 2 that the training images fill."""
    return next((size for size in BATCHES if size <= images), BATCHES[-1])


def choose_eval_resize(size: tuple[int, int]) -> tuple[int, int] | None:
    """(512, 2048) for images of this (height, width) whose short side is longer than 640; else None."""
    return EVAL_RESIZE if min(size) > LARGE_SIDE else None


def choose_scales(size: tuple[int, int], eval_resize: tuple[int, int] | None) -> tuple[float, ...]:
    """Factors around the scale at which evaluation shows the images."""
    scale = 1.0 if eval_resize is None else min(eval_resize[0] / min(size), eval_resize[1] / max(size))
    return tuple(round(factor * scale, 5) for factor in SCALES)


def choose_crop_size(size: tuple[int, int]) -> tuple[int, int]:
    """(height, width) of an image -> the nearest multiples of 32, at least 64, of at most 512 x 512 pixels together."""
    shrink = min(1.0, math.sqrt(MOST_CROP / (size[0] * size[1])))
    height, width = (max(LEAST_SIDE, round(side * shrink / MULTIPLE) * MULTIPLE) for side in size)
    most = MOST_CROP // min(height, width) // MULTIPLE * MULTIPLE  # rounding may have gone above
    return min(height, most), min(width, most)


def choose_class_weights(shares: Sequence[float]) -> tuple[float, ...]:
    """The square root of (median share / share of the class), from 0.2 to 5; 1 for a class that does not occur.

    Args:
        shares: part of the labelled pixels, by class; the median is of those that occur.
    """
    middle = median([share for share in shares if share] or [1.0])
    return tuple(
        round(min(HEAVIEST, max(LIGHTEST, math.sqrt(middle / share))), 2) if share else 1.0 for share in shares
    )


def choose_steps(images: int, batch: int) -> int:
    """80 epochs, but at least 500 and at most 20,000 steps; a multiple of 10.

    Args:
        batch: images of one optimizer step.
    """
    steps = min(MOST_STEPS, max(LEAST_STEPS, EPOCHS * (images // batch)))
    return math.ceil(steps / VALIDATIONS) * VALIDATIONS


def has_length(trainer: Namespace) -> bool:
    """Whether the configuration says how long to train."""
    return trainer.max_steps != -1 or trainer.max_epochs is not None or bool(trainer.fast_dev_run)


def follows_data(config: Namespace) -> bool:
    """Whether a setting is left to the data."""
    return any(config.get(key) == AUTO for key in KEYS) or not has_length(config.trainer)


def take_recorded(config: Namespace, checkpoint: Mapping[str, Any]) -> None:
    """Puts what a checkpoint recorded in the place of `auto`, so that a resumed training chooses nothing anew.

    Args:
        config: of `rtseg fit`, `validate` or `test`; it is changed.
        checkpoint: `read_header`'s.
    """
    settings = checkpoint["settings"]
    for key in KEYS:
        if config.get(key) == AUTO and key in settings:
            config[key] = tuple(settings[key]) if isinstance(settings[key], list) else settings[key]
    if not has_length(config.trainer) and checkpoint.get("total_steps"):
        _set_length(config, checkpoint["total_steps"])
    choose_interval(config.trainer)


def _set_length(config: Namespace, steps: int) -> None:
    config.trainer.max_steps, config.trainer.max_epochs = steps, -1


def choose_interval(trainer: Namespace) -> Choice | None:
    """Ten validations in the whole training, where the configuration leaves their number open.

    Args:
        trainer: it is changed.
    """
    if trainer.check_val_every_n_epoch is not None or trainer.val_check_interval is not None or trainer.fast_dev_run:
        return None
    if trainer.max_steps != -1:
        trainer.val_check_interval = max(1, trainer.max_steps // VALIDATIONS) * trainer.accumulate_grad_batches
        key, every, unit = "val_check_interval", trainer.val_check_interval, "batches"
    else:
        trainer.check_val_every_n_epoch = max(1, (trainer.max_epochs or 1) // VALIDATIONS)
        key, every, unit = "check_val_every_n_epoch", trainer.check_val_every_n_epoch, "epochs"
    return Choice(f"trainer.{key}", every, f"{unit} from one validation to the next, about {VALIDATIONS} in all")


def choose(config: Namespace, survey: Survey) -> list[Choice]:
    """Puts values in the place of each `auto`, and of a length that is not given.

    Args:
        config: it is changed.

    Returns:
        What was chosen, in the order in which it was.
    """
    height, width = survey.size
    images, median_size = len(survey.dataset), f"the median image has {height}x{width}"
    chosen: list[Choice] = []

    def put(key: str, value: Any, reason: str) -> None:
        if config.get(key) == AUTO:
            config[key] = value
            chosen.append(Choice(key, value, reason))

    put("data.batch_size", choose_batch_size(images), f"{images:,} training images; the largest of 8, 4 and 2")
    small = f"; a short side of more than {LARGE_SIDE} is resized to {EVAL_RESIZE[0]}"
    put("data.eval_resize", choose_eval_resize(survey.size), median_size + small)
    resize = config.data.eval_resize
    put("data.scales", choose_scales(survey.size, resize), "around the scale at which validation shows the images")
    shown = evaluation_size(survey.size, resize)
    bounds = f"multiples of {MULTIPLE}, at most {MOST_CROP:,} pixels"
    put("data.crop_size", choose_crop_size(shown), f"the network sees {shown[0]}x{shown[1]}; {bounds}")
    if config.get("model.loss.class_weights") == AUTO:
        weights = choose_class_weights(survey.shares)
        config["model.loss.class_weights"] = weights
        rule = f"square root of (median share / share), from {LIGHTEST:g} to {HEAVIEST:g}"
        if len(weights) > _SHOWN:
            rule += f"; here from {min(weights):g} to {max(weights):g}"
        shown_weights = weights if len(weights) <= _SHOWN else f"{len(weights)} weights"
        chosen.append(Choice("model.loss.class_weights", shown_weights, rule))
    if not has_length(config.trainer):
        parts = config.trainer.accumulate_grad_batches
        steps = choose_steps(images, config.data.batch_size * parts)
        _set_length(config, steps)
        rule = f"{EPOCHS} epochs of {images:,} images, but from {LEAST_STEPS} to {MOST_STEPS:,} steps"
        chosen.append(Choice("trainer.max_steps", steps, rule))
    if every := choose_interval(config.trainer):
        chosen.append(every)
    return chosen
