"""An image and its class map -> the bytes of the files that `rtseg predict` writes."""

import io
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from rtseg.checks import check_between, check_one_of
from rtseg.deploy.drawing.jpeg import jpeg
from rtseg.deploy.drawing.overlay import colorize, overlay
from rtseg.deploy.drawing.overlay_colors import distinct_colors
from rtseg.deploy.drawing.overlay_legend import OverlayLegend
from rtseg.deploy.drawing.png import compress_rows, grey_png, palette_png
from rtseg.deploy.drawing.row_bands import bands
from rtseg.deploy.folder.result_names import FILMS
from rtseg.deploy.folder.submission import check_folder, find_submission
from rtseg.deploy.predictor import Predictor
from rtseg.deploy.video.steady import check_steady
from rtseg.errors import UserError


@dataclass(frozen=True)
class Outputs:
    """What is written for each image, and for each film.

    Args:
        overlays: what is for the eye, too; else the class maps alone.
        alpha: share of the colour in an overlay, 0..1.
        margin: the margin of each pixel, too.
        submission: name of a benchmark whose test server gets the class maps; then nothing else may be written.
        steady: class maps of films are steadied (`rtseg.deploy.video.steady`).
        film: one of `FILMS`: what is shown of a film; beside it are always its class maps.
        fps: images per second of numbered images; None for 25.

    Raises:
        UserError: `alpha` is out of range, no such benchmark is known, or more is to be written for it; or a film is to
            be side by side with nothing.
    """

    overlays: bool = True
    alpha: float = 0.5
    margin: bool = False
    submission: str | None = None
    steady: bool = False
    film: str = "overlay"
    fps: float | None = None

    def __post_init__(self) -> None:
        if self.submission is not None:
            find_submission(self.submission)
            if self.margin or self.overlays:
                raise UserError("--submission writes class maps alone: a server would take margins for them; leave "
                                "--margin out")  # fmt: skip
        check_one_of("--film", self.film, FILMS)
        if self.film == "side-by-side" and not self.overlays:
            raise UserError("--film side-by-side shows a film beside its overlay, and --no-overlay draws none")
        if self.fps is not None:
            check_between("--fps", self.fps, 0.001, 1000, "it is images per second of numbered images")
        check_between("--alpha", self.alpha, 0, 1, "0 is the image alone, 1 the colours alone")

    def check(self, predictor: Predictor) -> None:
        """Raises: UserError where margins or steady class maps are asked for and the logits of the whole image are not
        known; or where a server takes other classes.
        """
        if self.submission is not None:
            find_submission(self.submission).check(predictor.card)
        if self.margin and predictor.tiles:
            raise UserError(
                "--margin needs the logits of the whole image, which --tile does not keep; leave out one of the two"
            )
        if self.margin and not predictor.runner.has_source_margins:
            raise UserError(
                "--margin needs logits or margins, and this exported file or engine puts out class maps alone: give "
                "the checkpoint or a file exported without --result class_map, or leave --margin out"
            )
        if self.steady:
            check_steady(predictor)

    def check_images(self, images: Sequence[str | Path]) -> None:
        """Raises: UserError where there are images beside the films, and class maps are to be steady."""
        if self.steady and images:
            raise UserError(
                f"--steady is of films, and '{images[0]}' is none: leave one of the two out, or give numbered "
                "images as a film, as 'folder/%06d.png'"
            )

    def check_names(self, names: Collection[str], folder: Path) -> None:
        """Raises: UserError where a server would not know an image by its name, or would find other files."""
        if self.submission is not None:
            find_submission(self.submission).check_names(names)
            check_folder(folder, names)


class ImageFiles:
    """Encodes the results of one network; may be called by several threads at once.

    Args:
        predictor: whose class maps they are.
        outputs: what is encoded.

    Attributes:
        colors: RGB of class 0..K-1 in overlays, see `rtseg.deploy.drawing.overlay_colors`.
    """

    def __init__(self, predictor: Predictor, outputs: Outputs) -> None:
        self._predictor, self._outputs = predictor, outputs
        self.colors = distinct_colors(predictor.palette)
        self._legend = OverlayLegend(predictor.class_names, self.colors)

    def encode(self, image: np.ndarray, classes: np.ndarray, counts: np.ndarray) -> tuple[bytes, ...]:
        """The files in the order of `rtseg.deploy.folder.result_names.result_files`, or the first of them alone.

        Args:
            image: (H, W, 3) uint8 RGB.
            classes: (H, W) class numbers.
            counts: pixels of class 0..K-1 in `classes`.

        Raises:
            UserError: a file cannot hold so many pixels.
        """
        numbers = self._number_files(classes)
        return (*numbers, self._overlay(image, classes, counts)) if self._outputs.overlays else numbers

    def _number_files(self, classes: np.ndarray) -> tuple[bytes, ...]:
        """The class map, and the same in colours where overlays are written."""
        numbers = self._predictor.to_ids(classes)
        rows = compress_rows(numbers)
        class_map = grey_png(numbers, rows)
        return (class_map, self._colours(classes, numbers, rows)) if self._outputs.overlays else (class_map,)

    def _colours(self, classes: np.ndarray, numbers: np.ndarray, rows: bytes) -> bytes:
        """A PNG whose palette has the colours; its numbers are the ids where these fit, else class numbers."""
        palette, ids = self._predictor.palette, self._predictor.card.ids or range(len(self._predictor.palette))
        if len(palette) > 256:
            encoded = io.BytesIO()
            Image.fromarray(colorize(classes, palette)).save(encoded, "PNG", compress_level=3)
            return encoded.getvalue()
        if numbers.dtype != np.uint8:
            return palette_png(classes, compress_rows(classes), palette)
        table = np.zeros((max(ids) + 1, 3), np.uint8)
        table[list(ids)] = palette
        return palette_png(numbers, rows, table)

    def _overlay(self, image: np.ndarray, classes: np.ndarray, counts: np.ndarray) -> bytes:
        """A JPEG of what `drawing` draws."""
        height, draw = self.drawing(image, classes, counts)
        encoded = jpeg(height, classes.shape[1], draw)
        if encoded is None:
            many = "{1}x{0}".format(*classes.shape)
            raise UserError(f"a JPEG cannot hold {many} pixels (width x height); --no-overlay writes none")
        return encoded

    def drawing(
        self, image: np.ndarray, classes: np.ndarray, counts: np.ndarray
    ) -> tuple[int, Callable[[slice], np.ndarray]]:
        """The image tinted by its classes, and below it their names; arguments as of `encode`.

        Returns:
            Its height, and what draws some of its rows, (rows, W, 3) uint8 BGR.
        """
        height, width = classes.shape
        legend = np.empty((self._legend.height(height, width) if self._outputs.alpha > 0 else 0, width, 3), np.uint8)
        if len(legend):
            self._legend.draw(legend, counts.tolist())

        def draw(rows: slice) -> np.ndarray:
            drawn = np.empty((rows.stop - rows.start, width, 3), np.uint8)
            own = slice(min(rows.start, height), min(rows.stop, height))
            many = own.stop - own.start
            overlay(image, classes, self.colors, self._outputs.alpha, outlines=True, rows=own, out=drawn[:many])
            drawn[many:] = legend[max(0, rows.start - height) : max(0, rows.stop - height)]
            for band in bands(*drawn.shape[:2]):
                drawn[band] = cv2.cvtColor(drawn[band], cv2.COLOR_RGB2BGR)
            return drawn

        return height + len(legend), draw
