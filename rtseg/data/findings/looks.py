"""What was seen in a file and in a data set. The faults are found in this, so that each file is read once."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from rtseg.data.dataset import IGNORE, LabelSpace
from rtseg.data.gathering import Search, Unpaired

GREY_COLOURS = "grey colours"
NUMBERS, COLOURS = ("numbers", "palette"), ("colours", GREY_COLOURS)  # forms of masks


@dataclass(frozen=True)
class ImageLook:
    """An image file, decoded whole.

    Attributes:
        fault: why it cannot be read; None where it can.
        damage: what the decoder said while it went on.
        size: (height, width), turned upright.
        turned: its EXIF orientation, 1 where it stands upright.
        form: "RGB, 8 bits" and the like.
        transparent: share of the pixels that are not opaque.
        digest: of the pixels.
        pattern: 256 bits that are alike for images that look alike, as hexadecimal digits.
        canonical: the same of the image turned and mirrored into one of its eight positions.
        contrast: standard deviation of the grey levels.
        mean, square: mean of each channel and of its square, levels / 255.
    """

    fault: str | None = None
    damage: str = ""
    size: tuple[int, int] = (0, 0)
    turned: int = 1
    form: str = ""
    transparent: float = 0.0
    digest: str = ""
    pattern: str = ""
    canonical: str = ""
    contrast: float = 0.0
    mean: tuple[float, ...] = ()
    square: tuple[float, ...] = ()


@dataclass(frozen=True)
class MaskLook:
    """A label file, decoded whole, before anything is known of its classes.

    Attributes:
        fault: why it cannot be read; None where it can.
        size: (height, width).
        form: "numbers"; "palette", whose indices are the numbers; "colours"; or "grey colours", three equal channels.
        values: number, or colour as 0xrrggbb -> its pixels; of more than 1,024 the commonest.
        distinct: how many values there are.
        border: how many neighbours, to the right and below, differ.
        between: how many pixels of each value lie between smaller and larger ones, one or two pixels wide.
        thin: the values that nowhere fill 3 x 3 pixels.
        palette: colour of each number that occurs, as #rrggbb.
        digest: of the pixels.
    """

    fault: str | None = None
    size: tuple[int, int] = (0, 0)
    form: str = "numbers"
    values: Mapping[int, int] = field(default_factory=dict)
    distinct: int = 0
    border: int = 0
    between: Mapping[int, int] = field(default_factory=dict)
    thin: Sequence[int] = ()
    palette: Mapping[int, str] = field(default_factory=dict)
    digest: str = ""

    @property
    def pixels(self) -> int:
        return self.size[0] * self.size[1]


def as_json(look: ImageLook | MaskLook) -> dict[str, Any]:
    """What `from_json` takes."""
    return asdict(look)


def image_from_json(facts: Mapping[str, Any]) -> ImageLook:
    """Raises: TypeError, ValueError where these are no facts of an image."""
    lists = {key: tuple(facts[key]) for key in ("size", "mean", "square")}
    return ImageLook(**{**facts, **lists})


def mask_from_json(facts: Mapping[str, Any]) -> MaskLook:
    """Raises: TypeError, ValueError, AttributeError where these are no facts of a mask."""
    numbers = {key: {int(k): v for k, v in facts[key].items()} for key in ("values", "between", "palette")}
    return MaskLook(**{**facts, "size": tuple(facts["size"]), **numbers})


@dataclass(frozen=True)
class Split:
    """One split: pair k has the files `pairs[k]`.

    Attributes:
        name: "train", "val", "test".
        whole: pairs of the split, where only some were looked at.
    """

    name: str
    pairs: Sequence[tuple[Path, Path]]
    images: Sequence[ImageLook]
    masks: Sequence[MaskLook]
    whole: int

    @property
    def all_seen(self) -> bool:
        return self.whole == len(self.pairs)

    @property
    def image_files(self) -> list[Path]:
        return [image for image, _ in self.pairs]

    @property
    def mask_files(self) -> list[Path]:
        return [mask for _, mask in self.pairs]


@dataclass(frozen=True)
class Seen:
    """All that was seen of a data set.

    Attributes:
        root: as the user gave it.
        splits: in the order train, val, test; those that are there.
        labels: the classes.
        meanings: number or colour in a mask -> class 0..K-1, or 255 for ignore.
        colours: whether masks are to hold colours.
        searches, unpaired: what the data set told while it looked for files.
        channels: of the images, at full depth; None for RGB of 8 bits.
    """

    root: Path
    splits: Sequence[Split]
    labels: LabelSpace
    meanings: Mapping[int, int]
    colours: bool = False
    searches: Sequence[Search] = ()
    unpaired: Sequence[Unpaired] = ()
    channels: int | None = None

    def split(self, name: str) -> Split | None:
        """None where it is not there."""
        return next((split for split in self.splits if split.name == name), None)

    @cached_property
    def masks(self) -> dict[Path, MaskLook]:
        """The masks of all splits that could be read, each once."""
        return {
            mask: look
            for split in self.splits
            for (_, mask), look in zip(split.pairs, split.masks, strict=True)
            if look.fault is None
        }

    @cached_property
    def usable(self) -> dict[Path, MaskLook]:
        """Those of them that are of the kind that is wanted: numbers, or colours."""
        wanted = COLOURS if self.colours else NUMBERS
        return {path: look for path, look in self.masks.items() if look.form in wanted}

    def value(self, look: MaskLook, level: int) -> int:
        """A value of a mask as `meanings` has it: of three equal channels the colour."""
        return level * 0x010101 if self.colours and look.form == GREY_COLOURS else level

    def classes(self, look: MaskLook) -> np.ndarray:
        """Pixels of each class of a mask, K numbers; then the ignored ones; then those that mean nothing."""
        counts = np.zeros(len(self.labels.names) + 2, np.int64)
        for level, number in look.values.items():
            label = self.meanings.get(self.value(look, level), -1)
            counts[-2 if label == IGNORE else label] += number
        counts[-1] += look.pixels - counts.sum()  # of values that are not listed
        return counts

    def written(self, value: int) -> str:
        """A value of a mask as text."""
        return f"#{value:06x}" if self.colours else str(value)
