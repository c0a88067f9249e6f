"""The images of a run, small enough to travel inside the page."""

import base64
import io
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from rtseg.errors import UserError
from rtseg.output.examples import IGNORED, UNLABELLED, WRONG, Example, palette_image, read_examples
from rtseg.studies.report.figures import percent
from rtseg.studies.report.run_folder import Run

_OVERLAYS = 6  # shown, spread over predictions/
_ROOM = 1_200_000  # bytes for all examples
Colour = tuple[int, int, int]


class Panel(NamedTuple):
    """One image of the page.

    Attributes:
        kind: "image", "prediction", "truth", "errors", "grid" or "overlay".
        source: data URI.
        size: (width, height) in pixels.
    """

    kind: str
    source: str
    size: tuple[int, int]
    alt: str


class Row(NamedTuple):
    """One validation image with its panels, and the share of its labelled pixels that is wrong."""

    name: str
    wrong: str
    panels: list[Panel]


@dataclass(frozen=True)
class Validation:
    """The validation images.

    Attributes:
        when: in the training.
        grid: of a run that kept no single images: all of them as one image.
        present: classes that the truth of a row shows.
        unlabelled: whether some pixels are not labelled.
        wrong, ignored: CSS colours of the error map.
    """

    when: str
    rows: list[Row]
    grid: Panel | None = None
    present: frozenset[int] = frozenset()
    unlabelled: bool = False
    wrong: str = "#{:02x}{:02x}{:02x}".format(*WRONG)
    ignored: str = "#{:02x}{:02x}{:02x}".format(*IGNORED)


class Overlay(NamedTuple):
    """A prediction over its image."""

    name: str
    panel: Panel


def validation(run: Run) -> Validation | None:
    """The validation images of a run; None where it has none."""
    if run.picture is None:
        return None
    step = int(run.picture.stem[5:])
    best = run.log.best
    when = "at the best validation" if best and step == best["step"] + 1 else f"after {step} steps"
    if not run.picture.is_dir():
        alt = f"Rows of image, prediction and truth, {when}"
        return Validation(when, [], _photo("grid", _read(run.picture), alt, 960, 900_000))
    examples = read_examples(run.picture)
    palette = [entry.color for entry in run.classes]
    room = _ROOM // max(1, len(examples))
    present = {int(k) for example in examples for k in np.unique(example.truth)}
    return Validation(
        when,
        [_row(example, palette, room) for example in examples],
        present=frozenset(present - {UNLABELLED}),
        unlabelled=UNLABELLED in present,
    )


def _row(example: Example, palette: list[Colour], room: int) -> Row:
    share = example.wrong_share
    errors = np.where(example.truth == UNLABELLED, 2, example.wrong).astype(np.uint8)
    map_of_errors = palette_image(errors, [(0, 0, 0), WRONG, IGNORED])
    # Right pixels are transparent, so that the map follows light and dark.
    map_of_errors.info["transparency"] = bytes([0, 255, 110])
    maps = {
        "prediction": palette_image(example.prediction, palette),
        "truth": palette_image(example.truth, palette),
        "errors": map_of_errors,
    }
    return Row(
        example.name,
        "nothing is labelled" if share is None else f"{percent(share)} of the labelled pixels are wrong",
        [
            _photo("image", Image.fromarray(example.image), f"{example.name}: image", 640, room * 2 // 5),
            *_class_maps(maps, example.name, room // 5),
        ],
    )


def overlays(run: Run) -> list[Overlay]:
    """A handful of the run's predictions over their images."""
    count = min(_OVERLAYS, len(run.overlays))
    chosen = [run.overlays[round(k * (len(run.overlays) - 1) / max(count - 1, 1))] for k in range(count)]
    found = []
    for path in chosen:
        name = path.relative_to(run.folder / "predictions").as_posix().removesuffix("_overlay.jpg")
        alt = f"{name}: tinted by its predicted classes"
        found.append(Overlay(name, _photo("overlay", _read(path), alt, 640, 130_000)))
    return found


def _read(path: Path) -> Image.Image:
    try:
        with Image.open(path) as file:
            return file.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UserError(f"{path}: not a readable image ({error}); remove it, or write it again") from None


def _photo(kind: str, image: Image.Image, alt: str, width: int, most: int) -> Panel:
    """As a JPEG, at most `width` wide and about `most` bytes large."""
    image.thumbnail((width, 4 * width))
    for quality in (86, 75, 60, 40):
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=quality, optimize=True, subsampling=0 if quality > 60 else 2)
        if buffer.tell() <= most:
            break
    return Panel(kind, _data_uri("jpeg", buffer), image.size, alt)


def _class_maps(maps: dict[str, Image.Image], name: str, most: int) -> list[Panel]:
    """As PNGs, whose colours are exact, of one size; made smaller until each is at most about `most` bytes large."""
    while True:
        panels, largest = [], 0
        for kind, image in maps.items():
            buffer = io.BytesIO()
            image.save(buffer, "PNG", optimize=True)
            largest = max(largest, buffer.tell())
            panels.append(Panel(kind, _data_uri("png", buffer), image.size, f"{name}: {kind}"))
        width, height = image.size
        if largest <= most or min(width, height) < 16:
            return panels
        size = width * 3 // 4, height * 3 // 4
        maps = {kind: image.resize(size, Image.Resampling.NEAREST) for kind, image in maps.items()}


def _data_uri(kind: str, buffer: io.BytesIO) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"
