"""Checks an engine before it is timed: its class maps are compared with those of plain float32 PyTorch on images.

The measure is the share of equal pixels. An untrained network separates its classes by hardly more than rounding, so
there the share says nothing about an engine. Its logits are compared with the reference's instead.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rtseg.deploy.class_map import class_map_by_groups
from rtseg.deploy.engines import FP32, Engine, size_of
from rtseg.errors import UserError


@dataclass(frozen=True)
class Parity:
    """How an engine agrees with the reference.

    Attributes:
        equal_percent: of all pixels of all images.
        logits_error: root mean square of the difference over that of the reference's logits about their mean; None
            where the engine gives class maps alone.
        gate: what decides, "equal_percent" or "logits_error". Two others refuse at once: "finite" where logits are NaN
            or infinite, and of untrained networks "class_map" where the class map is not that of the engine's own
            logits, plainly upsampled; `equal_percent` is then the share of those.
        threshold: of the gate.
        passed: whether it may be timed.
    """

    equal_percent: float
    logits_error: float | None
    gate: str
    threshold: float
    passed: bool
    pictures: int

    def refusal(self) -> str:
        """The reason why the row is not timed."""
        if self.gate == "finite":
            return "its logits are not finite"
        if self.gate == "class_map":
            return f"{self.equal_percent:.3f} % of the class map is that of its own logits, plainly upsampled"
        if self.gate == "equal_percent":
            return f"{self.equal_percent:.3f} % of the pixels are the reference's, {self.threshold:g} % are asked"
        return f"logits differ by {self.logits_error:.2g} of their spread, {self.threshold:g} is allowed"


@torch.inference_mode()
def measure_parity(
    engine: Engine, reference: Engine, batches: Sequence[Tensor], *, trained: bool, least_percent: float | None
) -> Parity:
    """Compares `engine` with `reference`.

    Args:
        batches: (B, H, W, 3) uint8 each, of the shape that both were built for.
        least_percent: overrides the threshold, and makes the equal pixels decide.

    Raises:
        UserError: logits or a class map of another shape than the reference's, or no whole numbers.
    """
    allowed = engine.precisions[engine.precision]
    equal, errors, own = [], [], []
    for images in batches:
        if engine.has_logits and reference.has_logits:
            expected = reference.logits(reference.prepare(images)).cpu().double()
            found = engine.logits(engine.prepare(images))
            _check_shape("logits", found, expected)
            found, size = found.clone(), size_of(images)
            own.append(_equal(engine.classes(found, size), class_map_by_groups(found, size)))
            difference = (found.cpu().double() - expected).square().mean().sqrt()
            errors.append((difference / expected.std().clamp_min(1e-30)).item())
        equal.append(_equal(engine.run(images), reference.run(images)))
    percent = 100 * sum(equal) / len(equal)
    if not all(map(math.isfinite, errors)):
        return Parity(percent, None, "finite", 100.0, False, len(batches))
    error = max(errors) if errors else None
    if trained or error is None or least_percent is not None:
        threshold = allowed.least_equal_percent if least_percent is None else least_percent
        return Parity(percent, error, "equal_percent", threshold, percent >= threshold, len(batches))
    if (worst := 100 * min(own)) < FP32.least_equal_percent:  # the step behind the logits must hold too
        return Parity(worst, error, "class_map", FP32.least_equal_percent, False, len(batches))
    threshold = allowed.most_logits_error
    return Parity(percent, error, "logits_error", threshold, error <= threshold, len(batches))


def _equal(classes: Tensor, expected: Tensor) -> float:
    _check_shape("class map", classes, expected)
    if classes.is_floating_point():
        raise UserError(f"its class map holds {classes.dtype}, not whole numbers")
    return (classes.long() == expected.long()).float().mean().item()


def _check_shape(what: str, found: Tensor, expected: Tensor) -> None:
    """Raises: UserError where the shapes differ: broadcasting would compare one value with many."""
    if not isinstance(found, Tensor):
        raise UserError(f"its {what}: {type(found).__name__}, not a tensor")
    if found.shape != expected.shape:
        raise UserError(f"the shape of its {what} is {tuple(found.shape)}, not {tuple(expected.shape)}")
