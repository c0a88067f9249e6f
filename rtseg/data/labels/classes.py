"""The classes of a converted set, and what becomes of pixels that nobody labelled."""

import os
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from rtseg.data.dataset import IGNORE, MOST_CLASSES, default_palette
from rtseg.data.header import upright_size
from rtseg.data.labels.source import UNLABELLED, BrokenLabelsError, Bytes, Color, Labelled, Size, Source
from rtseg.errors import UserError

Unlabelled = Literal["background", "ignore"]
_BACKGROUND = "background"
_NO_CLASS = ("ignore", "__ignore__", "_ignore_")  # names of classes that mean: this does not count
_LOOKED_AT = 200  # images, for the question what unlabelled pixels are


class Classes(NamedTuple):
    """The classes of the result.

    Attributes:
        table: number in a drawn mask -> number there. UNLABELLED stays itself where nobody said what it is.
    """

    names: tuple[str, ...]
    palette: tuple[Color, ...]
    table: np.ndarray


def result_classes(source: Source, unlabelled: Unlabelled | None) -> Classes:
    """Those of the source without what is called `ignore`, and with `background` in front if it is needed.

    Raises:
        UserError: none is left, or `background` is one too many.
    """
    kept = [k for k, name in enumerate(source.names) if name.lower() not in _NO_CLASS]
    if dropped := [name for name in source.names if name.lower() in _NO_CLASS]:
        source.notes.append(f"Class '{dropped[0]}' became ignored pixels, by its name.")
    names = [source.names[k] for k in kept]
    colors = [source.palette[k] for k in kept] if source.palette else list(default_palette(len(kept)))
    ground = next((k for k, name in enumerate(names) if name.lower().strip("_") == _BACKGROUND), None)
    added = unlabelled == _BACKGROUND and ground is None
    table = np.full(256, IGNORE, np.uint8)
    table[kept] = np.arange(len(kept)) + added
    if added:
        names, colors = [_BACKGROUND, *names], [(0, 0, 0), *colors]
    if not 1 <= len(names) <= MOST_CLASSES:
        raise UserError(
            f"there are {len(names)} classes with `background`; a data set has 1 to {MOST_CLASSES}: merge some in the "
            "label tool, or give --unlabelled ignore"
        )
    table[UNLABELLED] = {None: UNLABELLED, "ignore": IGNORE, _BACKGROUND: ground or 0}[unlabelled]
    return Classes(tuple(names), tuple(colors), table)


def check_asked(source: Source, images: Sequence[Labelled]) -> None:
    """Looks at some images, spread over all. Raises: UserError where pixels in them are unlabelled."""
    places = np.linspace(0, len(images) - 1, min(len(images), _LOOKED_AT)).astype(int)
    looked = [_unlabelled(images[k]) for k in places]
    unlabelled, pixels = sum(one for one, _ in looked), sum(all_of for _, all_of in looked)
    if unlabelled:
        some = "" if len(looked) == len(images) else f"{len(looked)} of "
        raise question(source.nobody, unlabelled, pixels, f"{some}the {len(images)} images")


def _unlabelled(image: Labelled) -> tuple[int, int]:
    """Unlabelled pixels of an image, and all of them; none of an image that cannot be used, which is said later."""
    try:
        labels = image.draw(_size_for_labels(image)).labels
    except UserError:
        return 0, 0
    return int((labels == UNLABELLED).sum()), labels.size


def question(nobody: str, unlabelled: int, pixels: int, where: str) -> UserError:
    """The error about pixels that are unlabelled where nobody said what that means.

    Args:
        nobody: see `Source`.
        unlabelled, pixels: their number, and that of all, in `where`.
    """
    return UserError(
        f"{unlabelled:,} pixels ({100 * unlabelled / pixels:.1f} % of {where}) {nobody}. What are they? "
        "Give --unlabelled background if all that is not labelled is something else, which the network shall learn as "
        "a class of its own; give --unlabelled ignore if it may be anything, so that it counts neither in training nor "
        "in scores"
    )


def _size_for_labels(image: Labelled) -> Size:
    """The (height, width) that the labels are drawn for. Raises: BrokenLabelsError where the image cannot be read."""
    if image.size is not None:
        return image.size
    if isinstance(image.image, Bytes):
        return 0, 0  # it comes with a mask, which has a size of its own
    size = upright_size(image.image) if os.path.isfile(image.image) else None
    if size is None:
        raise BrokenLabelsError("images that are missing or cannot be read", str(image.image))
    return size
