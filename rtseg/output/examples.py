"""Examples on disk: image, predicted and true classes, as a training writes them and the report reads them.

A folder holds `0_image.jpg`, `0_prediction.png`, `0_truth.png`, `1_image.jpg` and so on; `names.json` lists the names
and is written last, so that a folder with it is complete. The class maps are palette PNGs: the pixel is the class, 255
is not labelled, and an image viewer shows the classes' colours.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from rtseg.errors import UserError
from rtseg.output.folders import write_whole
from rtseg.output.json_file import read_json

UNLABELLED = 255
WRONG, IGNORED = (214, 0, 108), (128, 128, 128)  # colours of the error map
NAMES = "names.json"
_LONGEST = 640  # pixels of a side; larger ones are made smaller
_GAP = 8  # pixels between the panels of a grid


class Example(NamedTuple):
    """One image of a validation.

    Attributes:
        name: the file's.
        image: (H, W, 3) uint8 RGB.
        prediction, truth: (H, W) uint8 class numbers; 255 in the truth is not labelled.
    """

    name: str
    image: np.ndarray
    prediction: np.ndarray
    truth: np.ndarray

    @property
    def wrong(self) -> np.ndarray:
        """(H, W) bool: labelled, and predicted as another class."""
        return (self.prediction != self.truth) & (self.truth != UNLABELLED)

    @property
    def wrong_share(self) -> float | None:
        """Wrong pixels / labelled pixels; None where nothing is labelled."""
        labelled = np.count_nonzero(self.truth != UNLABELLED)
        return np.count_nonzero(self.wrong) / labelled if labelled else None


def shrunk(example: Example, longest: int = _LONGEST) -> Example:
    """The example with no side above `longest` pixels, all three parts at the size of the truth."""
    height, width = example.truth.shape
    factor = min(1.0, longest / max(height, width))
    size = max(1, round(width * factor)), max(1, round(height * factor))
    image = np.asarray(Image.fromarray(example.image).resize(size, Image.Resampling.BILINEAR))
    maps = (
        np.asarray(Image.fromarray(part).resize(size, Image.Resampling.NEAREST))
        for part in (example.prediction, example.truth)
    )
    return Example(example.name, image, *maps)


def palette_image(class_map: np.ndarray, palette: Sequence[tuple[int, int, int]]) -> Image.Image:
    """(H, W) uint8 class numbers as an image with a palette; a number without a colour is black."""
    image = Image.fromarray(class_map).convert("P")
    levels = [level for colour in palette for level in colour][: 3 * UNLABELLED]
    image.putpalette(levels + [0] * (768 - len(levels)))
    return image


def write_examples(folder: Path, examples: Sequence[Example], palette: Sequence[tuple[int, int, int]]) -> None:
    """Writes the files of a folder, which is made.

    Args:
        palette: RGB of class 0..K-1.

    Raises:
        UserError: the disk refuses.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / NAMES).unlink(missing_ok=True)
    for k, example in enumerate(examples):
        Image.fromarray(example.image).save(folder / f"{k}_image.jpg", quality=88)
        palette_image(example.prediction, palette).save(folder / f"{k}_prediction.png")  # not optimised: that renumbers
        palette_image(example.truth, palette).save(folder / f"{k}_truth.png")
    write_whole(folder / NAMES, json.dumps([example.name for example in examples]) + "\n")


def read_examples(folder: Path) -> list[Example]:
    """What `write_examples` wrote.

    Raises:
        UserError: a file is missing or damaged, or is not of its neighbours' size; the message names it.
    """
    names = read_json(folder / NAMES)
    if not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        raise UserError(f"'{folder / NAMES}' is not a list of names; remove the folder")
    examples = []
    for k, name in enumerate(names):
        image, prediction, truth = (
            _read(folder / f"{k}_{part}", mode)
            for part, mode in (("image.jpg", "RGB"), ("prediction.png", "P"), ("truth.png", "P"))
        )
        if not image.shape[:2] == prediction.shape == truth.shape:
            raise UserError(f"'{folder}': image, prediction and truth number {k} differ in size; remove the folder")
        examples.append(Example(name, image, prediction, truth))
    return examples


def _read(file: Path, mode: str) -> np.ndarray:
    try:
        with Image.open(file) as image:
            if image.mode != mode:
                raise UserError(f"{file}: an image of mode {image.mode} where {mode} is expected; remove its folder")
            return np.asarray(image)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UserError(f"{file}: not a readable image ({error}); remove its folder") from None


def grid(examples: Sequence[Example], palette: Sequence[tuple[int, int, int]], width: int) -> np.ndarray:
    """One image of all: a row an example; image, prediction, truth and wrong pixels, each `width` wide.

    Returns:
        (H, W, 3) uint8 RGB, white between the panels.
    """
    rows = []
    for example in examples:
        height, across = example.truth.shape
        size = width, max(1, round(width * height / across))
        faded = 255 - (255 - example.image.mean(2, keepdims=True)) * 0.35
        errors = np.repeat(faded, 3, 2).astype(np.uint8)
        errors[example.wrong] = WRONG
        maps = (np.asarray(palette_image(part, palette).convert("RGB")) for part in (example.prediction, example.truth))
        panels = [np.asarray(Image.fromarray(panel).resize(size)) for panel in (example.image, *maps, errors)]
        rows.append(np.concatenate([np.pad(p, ((0, _GAP), (0, _GAP), (0, 0)), constant_values=255) for p in panels], 1))
    return np.concatenate(rows, 0)[:-_GAP, :-_GAP]
