"""What a reader of a label tool's files hands to the conversion."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from rtseg.data.dataset import MOST_CLASSES
from rtseg.data.faults import Broken, Faults
from rtseg.data.files import IMAGE_SUFFIXES
from rtseg.data.image_space import CHANNEL_SUFFIXES
from rtseg.errors import UserError

UNLABELLED = 254  # in a drawn mask: nobody has said what the pixel is. IGNORE: somebody said that it does not count
Color = tuple[int, int, int]
Size = tuple[int, int]
ANY_IMAGE = (*IMAGE_SUFFIXES, *CHANNEL_SUFFIXES)
_LOST = 8  # files named in an error

# What is counted while masks are drawn: the key, and what is said of it.
OVERLAPPED, CLIPPED, CROSSED, EMPTY, TURNED = "overlapped", "clipped", "crossed", "empty", "turned"


class BrokenLabelsError(UserError):
    """One image or its labels cannot be used.

    Args:
        kind: what is wrong, after a number: its first word is a plural in s.
        name: what it is wrong with.
    """

    def __init__(self, kind: str, name: str) -> None:
        super().__init__(f"{kind}: {name}")
        self.kind, self.name = kind, name


class Drawn(NamedTuple):
    """The mask of an image.

    Attributes:
        labels: (H, W) uint8: class, UNLABELLED or IGNORE.
        counts: of OVERLAPPED, in pixels, and of CLIPPED, CROSSED and EMPTY, in shapes.
    """

    labels: np.ndarray
    counts: Counter[str]


class Bytes(NamedTuple):
    """An image that is no file of its own.

    Attributes:
        read: returns the content of an image file.
        suffix: of that file, such as ".png".
    """

    read: Callable[[], bytes]
    suffix: str


class Labelled(NamedTuple):
    """An image and its labels.

    Attributes:
        name: of the results: a path without ending, below the folder of images.
        image: the file, which need not exist.
        draw: (height, width) of the image -> its mask. Raises: BrokenLabelsError.
        split: train, val, test, or None where the source does not say.
        size: (height, width) that the labels were drawn for; None: that of the image.
    """

    name: str
    image: Path | Bytes
    draw: Callable[[Size], Drawn]
    split: str | None = None
    size: Size | None = None


@dataclass
class Source:
    """A labelled set of images.

    Attributes:
        format: as it is said to people.
        names: of the classes.
        images: that can be used so far.
        palette: colours of the classes; None: the source has none.
        faults: what cannot be used, of the files alone.
        notes: sentences on what was understood how.
        nobody: what the pixels are that nobody labelled, for the question about them.
        above: which object has a pixel that two claim.

    Raises:
        UserError: there are no classes or no images, too many classes, or two of one name.
    """

    format: str
    names: tuple[str, ...]
    images: list[Labelled]
    palette: tuple[Color, ...] | None = None
    faults: Faults = field(default_factory=Faults)
    notes: list[str] = field(default_factory=list)
    nobody: str = "belong to no labelled object"
    above: str = "smaller (of equal areas the later one in the file)"

    def __post_init__(self) -> None:
        if not 1 <= len(self.names) <= MOST_CLASSES:
            raise UserError(
                f"the {self.format} source names {len(self.names):,} classes; a data set has 1 to {MOST_CLASSES}: "
                + ("merge some in the label tool" if self.names else "give the classes names in the label tool")
            )
        twice = [name for name, number in Counter(self.names).items() if number > 1]
        if twice:
            raise UserError(f"two classes are called '{twice[0]}': give each class a name of its own in the label tool")
        if not self.images and not self.faults.found:
            raise UserError(f"the {self.format} source lists no images: give one with some")


class Asked(NamedTuple):
    """What a reader is told.

    Attributes:
        images: folder of the images, where the user gave one.
        broken: whether an annotation that cannot be used is left out, or stops the conversion.
    """

    images: Path | None = None
    broken: Broken = "refuse"


SKIP = "--broken skip"


_SPLITS = {
    "train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "test": "test",
    "testing": "test",
}  # fmt: skip


def split_of(folder: str) -> str | None:
    """The split that a folder or a list is named after; None: it is named after something else."""
    return _SPLITS.get(folder.lower())


def split_within(stem: str) -> str | None:
    """The split that one of the words in a file's name is: val of instances_val2017."""
    words = "".join(letter if letter.isalpha() else " " for letter in stem).split()
    return next(filter(None, map(split_of, words)), None)


def listed(names: Sequence[str]) -> str:
    """Some names, and how many more there are."""
    more = f" and {len(names) - _LOST} more" if len(names) > _LOST else ""
    return ", ".join(names[:_LOST]) + more
