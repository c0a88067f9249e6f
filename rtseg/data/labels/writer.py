"""One image and its mask, written as data set `folder` reads them."""

import os
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from rtseg.data.files import read_image
from rtseg.data.header import upright_size
from rtseg.data.image_space import CHANNEL_SUFFIXES
from rtseg.data.intact import seems_whole
from rtseg.data.labels.classes import Classes, question
from rtseg.data.labels.source import ANY_IMAGE, TURNED, UNLABELLED, BrokenLabelsError, Bytes, Color, Drawn, Labelled
from rtseg.errors import UserError

_IGNORED = (224, 224, 192)  # the colour of ignored pixels, as VOC has it
_ORIENTATION = 0x0112
_OF_CHANNELS = (".tif", ".tiff", *CHANNEL_SUFFIXES)
# EXIF's numbers that swap the sides -> how the file's pixels are turned to be upright.
_TURNS = {
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class Writer(NamedTuple):
    """Writes images and masks below a folder."""

    folder: Path
    classes: Classes
    link: bool
    nobody: str

    def write(self, image: Labelled) -> tuple[np.ndarray, Counter[str]]:
        """Returns the pixels of each number of the drawn mask, and its counts.

        Raises:
            BrokenLabelsError: the image or its labels cannot be used.
            UserError: pixels are unlabelled, and nobody said what they are.
        """
        suffix = image.image.suffix.lower()
        if suffix not in ANY_IMAGE:
            raise BrokenLabelsError(f"images of another kind than {', '.join(ANY_IMAGE)}", f"{image.name}{suffix}")
        target = self.folder / "images" / str(image.split) / f"{image.name}{suffix}"
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._write_image(image.image, target)
            drawn, turned = _drawn(image, target)
        except UserError:
            target.unlink(missing_ok=True)
            raise
        pixels = np.bincount(drawn.labels.ravel(), minlength=256)
        labels = self.classes.table[drawn.labels]
        if self.classes.table[UNLABELLED] == UNLABELLED and pixels[UNLABELLED]:
            raise question(self.nobody, pixels[UNLABELLED], drawn.labels.size, f"image '{image.name}'")
        mask = self.folder / "masks" / str(image.split) / f"{image.name}.png"
        mask.parent.mkdir(parents=True, exist_ok=True)
        picture = Image.fromarray(labels, "P")
        picture.putpalette(_palette_bytes(self.classes.palette))
        picture.save(mask)
        return pixels, drawn.counts + Counter({TURNED: int(turned)})

    def _write_image(self, image: Path | Bytes, target: Path) -> None:
        if isinstance(image, Bytes):
            target.write_bytes(image.read())
        elif not os.path.isfile(image):
            raise BrokenLabelsError("images that are missing", str(image))
        elif self.link:
            target.symlink_to(image.absolute())
        else:
            shutil.copyfile(image, target)
        if not seems_whole(target):
            try:
                read_image(target)
            except UserError as error:
                if target.suffix.lower() in _OF_CHANNELS and upright_size(target) is not None:
                    return  # RGB alone is read so
                reason = str(error).replace(str(target), "").strip(": ")
                raise BrokenLabelsError("images that cannot be read", f"{target.name}: {reason}") from None


def _drawn(image: Labelled, file: Path) -> tuple[Drawn, bool]:
    """The mask at the size of the upright image, and whether it was turned to be so.

    Some tools label the pixels as the file has them. If only these have the size of the labels, EXIF's tag says how the
    labels are turned.

    Raises:
        BrokenLabelsError: the labels are of another size.
    """
    size = upright_size(file)
    if size is None:
        raise BrokenLabelsError("images that cannot be read", image.name)
    drawn = image.draw(image.size or size)
    found = drawn.labels.shape
    if found == size:
        return drawn, False
    if found == size[::-1] and (turn := _turn(file)) is not None:
        return drawn._replace(labels=np.array(Image.fromarray(drawn.labels).transpose(turn))), True
    raise BrokenLabelsError(
        "images of another size than their labels",
        f"{image.name}: {size[0]}x{size[1]}, labels {found[0]}x{found[1]} (height x width)",
    )


def _turn(file: Path) -> Image.Transpose | None:
    """How EXIF turns an image where that swaps its sides."""
    try:
        with Image.open(file) as opened:
            return _TURNS.get(opened.getexif().get(_ORIENTATION, 1))
    except OSError:  # a file that Pillow does not read has no EXIF that anybody obeys
        return None


def _palette_bytes(palette: Sequence[Color]) -> bytes:
    """Colours of 256 numbers: those of the classes, grey for ignore, as people see it."""
    colors = [*palette, *[(0, 0, 0)] * (255 - len(palette)), _IGNORED]
    return bytes(level for color in colors for level in color)
