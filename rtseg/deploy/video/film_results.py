"""The results of a film, frame after frame: drawn by several threads, then written in order into its files."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np

from rtseg.deploy.folder.legend import shares_sentence
from rtseg.deploy.folder.results import Results
from rtseg.deploy.prediction import count_classes
from rtseg.deploy.video.writer import H264, FilmFile, Lossless, Mp4v, PngFolder, remove_classes
from rtseg.errors import UserError
from rtseg.output.folders import make_folder
from rtseg.terminal import counted, say


class Drawn(NamedTuple):
    """A frame's results: overlay (H, W, 3) BGR or None, (H, W) ids, pixels of class 0..K-1."""

    overlay: np.ndarray | None
    ids: np.ndarray
    counts: np.ndarray


def result_paths(folder: Path, name: str) -> tuple[Path, Path, Path]:
    """The results of a film: overlay, class maps as a film, and the folder of class maps where there is no ffmpeg."""
    return folder / f"{name}_overlay.mp4", folder / f"{name}_classes.mkv", folder / f"{name}_classes"


class FilmResults:
    """The files of a film or a stream. They are begun with the first frame, which says how large they are.

    `draw` may be called by several threads at once, the others by one at a time.

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
        self._overlay, film, folder = result_paths(results.folder, name)
        self._classes, self._other = (film, folder) if program else (folder, film)
        self._pixels = np.zeros(results.predictor.card.num_classes, np.int64)
        self._files: list[FilmFile] = []
        self._notes: list[str] = []
        self.frames = 0

    def draw(self, image: np.ndarray, classes: np.ndarray) -> Drawn:
        """What is written of a frame.

        Args:
            image: (H, W, 3) uint8 RGB.
            classes: (H, W) class numbers.
        """
        predictor = self._results.predictor
        counts = count_classes(classes, predictor.card.num_classes)
        overlay = None
        if self._results.outputs.overlays:
            height, draw = self._results.image_files.drawing(image, classes, counts)
            overlay = draw(slice(0, height))
        return Drawn(overlay, predictor.to_ids(classes), counts)

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
        remove_classes(self._other)
        program, rate = self._program, self._rate
        if first.overlay is None:
            self._overlay.unlink(missing_ok=True)
        else:
            size = (first.overlay.shape[0], first.overlay.shape[1])
            make = partial(H264, program, self._sound) if program else Mp4v
            self._files.append(make(self._overlay, size, rate))
        self._files.append(Lossless(program, self._classes, first.ids, rate) if program else PngFolder(self._classes))

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
        if self._results.outputs.overlays:
            say(f"  {self._overlay.name}: the film with its classes; legend.png: what their colours mean")
        kind = "a film without loss (FFV1)" if self._program else "a PNG of each frame"
        say(f"  {self._classes.name}: the class maps, {kind}, grey, each pixel the id of its class")
        say(f"Classes: {shares_sentence(self._results.predictor.class_names, self._pixels.tolist())}")
