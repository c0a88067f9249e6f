"""Choosing the image that an exported file proves itself with: one on which the usual mistakes show.

H, W size of the image, K classes, h, w size of the logits.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from rtseg.deploy.class_map import class_map_and_margin
from rtseg.deploy.engines import create_engine
from rtseg.deploy.engines.precision import FP32
from rtseg.deploy.exports.proof import LEAST_EQUAL_PERCENT, Proof
from rtseg.deploy.exports.samples import Samples
from rtseg.deploy.fuse import deploy
from rtseg.deploy.graph import OpenShape, Output
from rtseg.deploy.pixels import as_input, drawn_levels, resized, to_pixels
from rtseg.errors import UserError
from rtseg.layers.normalize import IMAGENET_MEAN, IMAGENET_STD, Normalize
from rtseg.models.model_card import ModelCard
from rtseg.models.network import Network
from rtseg.scenes import draw_scene

_OPEN = (161, 223)  # height and width where they are open: odd, so that no rounding of sizes is left out
_DRAWN = (160, 224)  # at most about so much is drawn, then enlarged: such an image needs few bytes
_TRIALS = 6
_STEP = 16  # of the grey levels of a drawn image, for the same reason
_HALF = (0.5, 0.5, 0.5)


Least = Callable[[np.ndarray, np.ndarray], float]  # an image and its class map -> the least per cent of equal pixels


def prove(
    network: Network,
    shape: OpenShape,
    image: Path | None = None,
    least: Least | None = None,
    *,
    output: Output = "logits",
    most_error: float = FP32.most_logits_error,
) -> Proof:
    """The first image on which each of the usual mistakes moves more pixels than rounding may in any format; else the
    best.

    Args:
        shape: (B, H, W) that the file takes.
        image: the file of an image to try first; it is resized to a fixed size.
        least: the tolerance for an image and the class map of plain PyTorch; None takes that of float32.
        output: of the file. Of class maps alone there are no samples.
        most_error: the tolerance of the samples.

    Raises:
        UserError: the image cannot be read, or the logits are not finite.
    """
    size = (shape[1] or _OPEN[0], shape[2] or _OPEN[1])
    reference = create_engine("reference", network, (1, *size))
    mistakes = _Mistakes(network)
    best: Proof | None = None
    for source, pixels in _candidates(size, image, network.card):
        images = torch.from_numpy(pixels)[None]
        with torch.inference_mode():
            logits = reference.logits(reference.prepare(images))
            classes = reference.classes(logits, size)[0].numpy()
            expected = classes.astype(np.uint8 if network.card.num_classes <= 256 else np.uint16)
            percent = least(pixels, classes) if least else FP32.least_equal_percent
            samples = _samples(logits, size, output, most_error)
            proof = Proof(pixels, expected, percent, source, samples=samples)
            wrong = {name: proof.equal_percent(found[0].numpy()) for name, found in mistakes.class_maps(images).items()}
        most = min(proof.least_equal_percent, *LEAST_EQUAL_PERCENT.values())
        proof = replace(proof, unseen=tuple(name for name, percent in wrong.items() if percent >= most))
        if proof.is_small and (best is None or len(proof.unseen) < len(best.unseen)):
            best = proof
        if best is not None and not best.unseen:
            break
    if best is None:
        raise UserError(f"no image of {size[0]}x{size[1]} is small enough to be stored: export another size")
    return best


def _samples(logits: Tensor, size: tuple[int, int], output: Output, most_error: float) -> Samples | None:
    """(1, K, h, w) logits of an image of `size` -> what a file of them, or of margins, is compared with."""
    if output == "class_map":
        return None
    if output == "logits":
        return Samples.of("logits", logits[0].permute(1, 2, 0).numpy(), most_error)
    return Samples.of("margin", class_map_and_margin(logits, size)[1][0].numpy(), most_error)


def _candidates(size: tuple[int, int], image: Path | None, card: ModelCard) -> Iterator[tuple[str, np.ndarray]]:
    """Images of one size, each with what it is."""
    if image is not None:
        given = resized(to_pixels(image, card), size, cv2.INTER_AREA)
        yield "an image of yours", as_input(given, card).numpy()
    for seed in range(_TRIALS):
        drawn = _draw(seed, size)
        yield f"drawn street {seed}", drawn if card.channels is None else drawn_levels(drawn, card)


def _draw(seed: int, size: tuple[int, int]) -> np.ndarray:
    """(H, W, 3) uint8: a street of few grey levels and large pixels."""
    times = max(1, *(side // most for side, most in zip(size, _DRAWN, strict=True)))
    height, width = (max(48, -(-side // times)) for side in size)
    image, _ = draw_scene(np.random.default_rng(seed), (height, width))
    image = cv2.medianBlur(image, 3) // _STEP * _STEP + _STEP // 2
    return np.ascontiguousarray(image.repeat(times, 0).repeat(times, 1)[: size[0], : size[1]])


class _Mistakes:
    """What goes wrong around an exported network."""

    def __init__(self, network: Network) -> None:
        self._network = deploy(network, memory_format=torch.contiguous_format, fold=False)
        card = network.card
        wrong: tuple[Sequence[float], Sequence[float]] = (_HALF, _HALF)
        if card.mean == _HALF:
            wrong = IMAGENET_MEAN, IMAGENET_STD
        if card.channels is not None:
            wrong = tuple(mean + std for mean, std in zip(card.mean, card.std, strict=True)), card.std
        self._wrong_mean, self._card = Normalize(*wrong), card

    def class_maps(self, images: Tensor) -> dict[str, Tensor]:
        """(1, H, W, C) -> the class map (1, H, W) that each gives, by its name."""
        size = images.shape[1:3]
        logits = self._logits(images)
        other_mean = self._network.logits(self._wrong_mean(images.permute(0, 3, 1, 2)).contiguous())
        order = "BGR instead of RGB" if self._card.channels is None else "channels in another order"
        turned = {order: _classes(self._logits(images.flip(-1)), size)} if self._card.in_channels > 1 else {}
        return {
            **turned,
            "another mean": _classes(other_mean, size),
            "logits upsampled by nearest neighbour": F.interpolate(logits, size=size, mode="nearest").argmax(1),
            "logits upsampled with aligned corners": _classes(logits, size, align_corners=True),
            "an image resized before": _classes(self._logits(_smaller(images)), size),
        }

    def _logits(self, images: Tensor) -> Tensor:
        return self._network.logits(self._network.prepare(images))


def _classes(logits: Tensor, size: torch.Size, *, align_corners: bool = False) -> Tensor:
    return F.interpolate(logits, size=size, mode="bilinear", align_corners=align_corners).argmax(1)


def _smaller(images: Tensor) -> Tensor:
    """Resized by an eighth, which is less than people resize by."""
    height, width = (max(1, side * 7 // 8) for side in images.shape[1:3])
    return torch.from_numpy(resized(images[0].numpy(), (height, width), cv2.INTER_LINEAR))[None]
