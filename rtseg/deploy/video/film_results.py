"""The results of a film, frame after frame: drawn by several threads, then written in order into its files."""

from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple, Protocol

import cv2
import numpy as np

from rtseg.deploy.folder.image_files import ImageFiles, Outputs
from rtseg.deploy.folder.legend import shares_sentence
from rtseg.deploy.folder.results import Results
from rtseg.deploy.prediction import count_classes
from rtseg.deploy.predictor import Predictor
from rtseg.deploy.video.writer import H264, FilmFile, Lossless, Mp4v, PngFolder, remove_result
from rtseg.errors import UserError
from rtseg.output.folders import make_folder
from rtseg.terminal import counted, say


class Drawn(NamedTuple):
    """A frame's results: overlay (H, W, 3) BGR or None, (H, W) ids, pixels of class 0..K-1."""

    overlay: np.ndarray | None
    ids: np.ndarray
    counts: np.ndarray


class FilmPaths(NamedTuple):
    """The results that a film can have; beside its overlay, or the frames of it, are its class maps or theirs."""

    overlay: Path
    side_by_side: Path
    overlay_frames: Path
    classes: Path
    class_frames: Path


def result_paths(folder: Path, name: str) -> FilmPaths:
    """The results of a film that has this name in a folder."""
    endings = ("_overlay.mp4", "_side_by_side.mp4", "_overlay", "_classes.mkv", "_classes")
    return FilmPaths(*(folder / f"{name}{ending}" for ending in endings))


class Written(Protocol):
    """Where the frames of a film go. `draw` may be called by several threads at once, the others by one at a time.

    Attributes:
        frames: how many are written.
    """

    frames: int

    def draw(self, image: np.ndarray, classes: np.ndarray) -> Drawn:
        """What is written of a frame, (H, W, 3) uint8 RGB, and of its (H, W) class numbers."""

    def write(self, drawn: Drawn, at: float) -> None:
        """Adds a frame, `at` seconds after the first. Raises: UserError where it cannot be written."""

    def close(self) -> None:
        """Ends what is written. Raises: UserError."""

    def summarise(self) -> None:
        """Says what was written."""


def draw_frame(
    files: ImageFiles, predictor: Predictor, outputs: Outputs, image: np.ndarray, classes: np.ndarray
) -> Drawn:
    """What is written of a frame.

    Args:
        files: draw.
        predictor: whose class maps they are.
        outputs: what is drawn.
        image: (H, W, 3) uint8 RGB.
        classes: (H, W) class numbers.
    """
    counts, overlay = count_classes(classes, predictor.card.num_classes), None
    if outputs.overlays:
        height, draw = files.drawing(image, classes, counts)
        overlay = draw(slice(0, height))
        if outputs.film == "side-by-side":
            beside = np.full_like(overlay, 255)  # below it is white, as the legend is
            cv2.cvtColor(image, cv2.COLOR_RGB2BGR, dst=beside[: len(image)])
            overlay = np.concatenate([beside, overlay], axis=1)
    return Drawn(overlay, predictor.to_ids(classes), counts)


class FilmResults:
    """The files of a film or a stream, see `Written`. The first frame begins them, and says how large they are.

    Args:
        results: the folder.
        name: of the files in it.
        line: what the record says of the source; its "name" is what people are told.
        rate: images per second, about.
        program: ffmpeg, or None.
        sound: the film whose sound the overlay gets; None for none.

    Attributes:
        frames: how many are written.
    """

    def __init__(
        self,
        results: Results,
        name: str,
        line: Mapping[str, Any],
        rate: float,
        program: str | None,
        sound: Path | None = None,
    ) -> None:
        self._results, self._line, self._rate, self._program, self._sound = results, line, rate, program, sound
        self._title = PurePosixPath(line["name"]).name
        paths, kind = result_paths(results.folder, name), results.outputs.film
        self._shown = {"side-by-side": paths.side_by_side, "frames": paths.overlay_frames}.get(kind, paths.overlay)
        self._classes = paths.class_frames if kind == "frames" or program is None else paths.classes
        self._paths = paths
        self._pixels = np.zeros(results.predictor.card.num_classes, np.int64)
        self._files: list[FilmFile] = []
        self._notes: list[str] = []
        self.frames = 0

    def draw(self, image: np.ndarray, classes: np.ndarray) -> Drawn:
        """As `draw_frame`."""
        results = self._results
        return draw_frame(results.image_files, results.predictor, results.outputs, image, classes)

    def write(self, drawn: Drawn, at: float) -> None:
        """Adds a frame; all are of one size.

        Args:
            drawn: by `draw`.
            at: seconds from the first frame to this one, more than those of the frame before.

        Raises:
            UserError: it cannot be written. What was written before plays.
        """
        if not self._files:
            self._open(drawn)
        frames = [frame for frame in (drawn.overlay, drawn.ids) if frame is not None]
        for file, frame in zip(self._files, frames, strict=True):
            file.write(frame, at)
        self._pixels += drawn.counts
        self.frames += 1

    def _open(self, first: Drawn) -> None:
        make_folder(self._classes.parent)
        for path in set(self._paths) - {self._classes, *[self._shown] * (first.overlay is not None)}:
            self._remove_earlier(path)
        program, rate = self._program, self._rate
        if first.overlay is not None:
            self._files.append(self._open_shown(self._shown, first.overlay))
        if self._classes == self._paths.class_frames or program is None:
            self._files.append(PngFolder(self._classes))
        else:
            self._files.append(Lossless(program, self._classes, first.ids, rate))

    def _remove_earlier(self, path: Path) -> None:
        """Removes a result of another kind; PNG files only where the record says that they were of this film."""
        if path in (self._paths.overlay_frames, self._paths.class_frames):
            if path.is_dir() and self._line["name"] in self._results.earlier:
                remove_result(path)
        else:
            remove_result(path)

    def _open_shown(self, path: Path, first: np.ndarray) -> FilmFile:
        size = (first.shape[0], first.shape[1])
        if path == self._paths.overlay_frames:
            return PngFolder(path)
        if self._program is None:
            return Mp4v(path, size, self._rate)
        return H264(self._program, self._sound, path, size, self._rate)

    def close(self) -> None:
        """Ends the files and adds a line to the record, then raises the first error.

        Raises:
            UserError: a file cannot be ended.
        """
        failed: list[UserError] = []
        for file in self._files:
            try:
                self._notes += filter(None, [file.close()])
            except UserError as error:
                failed.append(error)
        if self.frames:
            there = {str(k): int(self._pixels[k]) for k in np.flatnonzero(self._pixels)}
            self._results.record({**self._line, "frames": self.frames, "pixels": there})
        if failed:
            raise failed[0]

    def summarise(self) -> None:
        """Says what there is to say of the files, what was written, and the share of each class."""
        for note in self._notes:
            say(f"{self._title}: {note}")
        say(f"{self._title}: {counted(self.frames, 'frame')}. In '{self._results.folder}':")
        each = "a PNG of each frame"
        if self._results.outputs.overlays:
            kind = "the film with its classes" + f", {each}" * (self._shown == self._paths.overlay_frames)
            say(f"  {self._shown.name}: {kind}; legend.png: what their colours mean")
        kind = each if self._classes == self._paths.class_frames else "a film without loss (FFV1)"
        say(f"  {self._classes.name}: the class maps, {kind}, grey, each pixel the id of its class")
        say(f"Classes: {shares_sentence(self._results.predictor.class_names, self._pixels.tolist())}")
