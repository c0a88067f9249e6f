"""How accurate a network is on a stream, which does not wait for it.

Each class map is scored against the frame that is current when the map is ready ("Real-Time Semantic Segmentation
Networks should be Latency Aware", https://arxiv.org/abs/2004.02574). A network takes the newest frame as soon as it is
free; the frames in between are dropped. So one number has both speed and accuracy.

The clock is computed from measured latencies, and nothing waits: a pass takes as long as its predictions do.
"""

import itertools
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from rtseg.data.dataset import SegmentationDataset
from rtseg.deploy.prediction import Prediction
from rtseg.deploy.video.steady import Steady
from rtseg.errors import UserError
from rtseg.metrics import confusion_matrix, mean_iou
from rtseg.speed.flicker import Flicker

Found = np.ndarray | Prediction
_WARM_UP = 3  # predictions: the first builds the engine
_NUMBERED = re.compile(r"(.*?)(\d+)(\D*)", re.DOTALL)  # what stands before and behind the last number of a name


@dataclass
class Clock:
    """Which frames of a stream a network takes, and which frame is current when each class map is ready.

    Frame i arrives i / fps seconds after the first.

    Args:
        fps: frames a second.

    Attributes:
        next: number of the frame that is taken next.
    """

    fps: float
    next: int = 0
    _free: float = 0.0

    def take(self, seconds: float) -> int:
        """The next frame is taken, and its class map is ready `seconds` later. -> the frame that is current then."""
        begin = max(self._free, self.next / self.fps)
        self._free = begin + seconds
        current = max(self.next, int(self._free * self.fps))
        self.next = max(self.next + 1, current)
        return current


@dataclass
class Played:
    """What came of a stream at one rate.

    K classes.

    Attributes:
        fps: the rate.
        confusion: (K, K) int64 of the class maps, each against the frame that was current when it was ready.
        taken: frames that the network took.
        behind: of each class map, how many frames had arrived since its own.
        frames: of the stream.
    """

    fps: float
    confusion: torch.Tensor
    frames: int = 0
    taken: int = 0
    behind: list[int] = field(default_factory=list)

    @property
    def mean_iou(self) -> float:
        """0..1; NaN where no class map was ready before the stream ended."""
        return mean_iou(self.confusion).item() if self.behind else float("nan")


@dataclass(frozen=True)
class Streamed:
    """A network on an engine.

    Attributes:
        plain: mIoU of all frames, each against its own mask, 0..1.
        seconds: from a frame in memory to its class map, of each frame.
        played: at each rate.
        flicker: of the class maps of all frames, see `Flicker`; None where no pixel stood still, or the frames are not
            RGB of 8 bits.
        still: the share of the pixels that do not move between neighbouring frames, see `Flicker`; None as there.
    """

    plain: float
    seconds: Sequence[float]
    played: Sequence[Played]
    flicker: float | None = None
    still: float | None = None


def stream(
    predicts: Sequence[Callable[[np.ndarray], Found]], dataset: SegmentationDataset, rates: Sequence[float]
) -> list[Streamed]:
    """Predicts every frame once, in order, and plays the stream at each rate with these class maps and latencies.

    Args:
        predicts: one or several ways, which take turns at each frame: (H, W, 3) uint8 RGB -> (H, W) class numbers; or
            -> a prediction, whose class map is then steadied. This counts in the latency, and follows at each rate the
            frames that are taken.
        dataset: the frames in their order, with masks.
        rates: frames a second.

    Returns:
        What came of each way.

    Raises:
        UserError: frames of several sizes, or a bad file.
    """
    for predict in predicts:
        for _ in range(_WARM_UP):
            predict(dataset[0].image)
    scores = [_Score(predict, dataset, rates) for predict in predicts]
    for number, (image, mask) in enumerate(_frames(dataset)):
        for score in scores:
            score.add(number, image, torch.from_numpy(mask))
    return [score.streamed() for score in scores]


def series(names: Sequence[str]) -> list[str]:
    """What stands before the numbers of the frames' names: one text for a film, several for several.

    Raises:
        UserError: frames of one film are not in the order of their numbers.
    """
    parts = [match.groups() if (match := _NUMBERED.fullmatch(name)) else (name, "0", "") for name in names]
    for (one, two), (name, after) in zip(itertools.pairwise(parts), itertools.pairwise(names), strict=True):
        if (one[0], one[2]) == (two[0], two[2]) and int(two[1]) < int(one[1]):
            raise UserError(
                f"the frames are not in order: '{name}' comes before '{after}', since names are sorted as texts. Give "
                "their numbers equally many digits"
            )
    return list(dict.fromkeys(before for before, _, _ in parts))


def _frames(dataset: SegmentationDataset) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Image and mask of each frame.

    Raises:
        UserError: frames of several sizes, or a bad file.
    """
    size = None
    for number in range(len(dataset)):
        sample = dataset[number]
        size = size or sample.size
        if sample.size != size:
            raise UserError(
                f"'{sample.name}' is {sample.size[0]}x{sample.size[1]} and the first frame {size[0]}x{size[1]} (height "
                "x width): the frames of a stream have one size; give the frames of one film"
            )
        yield sample.image, sample.mask


class _ClassMaps:
    """The class maps of frames that are taken one after another, each as it is or steadied."""

    def __init__(self) -> None:
        self._steady = Steady()

    def of(self, image: np.ndarray, found: Found, seconds: float) -> tuple[np.ndarray, float]:
        """The class map of a frame, and how long it took, given how long the prediction did."""
        if isinstance(found, np.ndarray):
            return found, seconds
        begin = time.perf_counter()
        classes = self._steady.next(image, found)
        return classes, seconds + time.perf_counter() - begin


class _Score:
    """What comes of one way to predict the frames, one after another."""

    def __init__(
        self, predict: Callable[[np.ndarray], Found], dataset: SegmentationDataset, rates: Sequence[float]
    ) -> None:
        self._predict, self._classes = predict, len(dataset.labels.names)
        self._confusion = torch.zeros(self._classes, self._classes, dtype=torch.int64)
        self._players = [_Player(rate, self._classes) for rate in rates]
        self._maps, self._seconds = _ClassMaps(), list[float]()
        self._flicker = Flicker() if dataset.channels is None else None

    def add(self, number: int, image: np.ndarray, mask: torch.Tensor) -> None:
        """The next frame."""
        begin = time.perf_counter()
        found = self._predict(image)
        predicted = time.perf_counter() - begin
        classes, took = self._maps.of(image, found, predicted)
        self._seconds.append(took)
        self._confusion += confusion_matrix(torch.from_numpy(classes), mask, self._classes)
        for player in self._players:
            player.arrives(number, image, found, mask, predicted)
        if self._flicker:
            self._flicker.add(image, classes)

    def streamed(self) -> Streamed:
        """What came of it so far."""
        flicker, still = (self._flicker.share, self._flicker.still) if self._flicker else (None, None)
        return Streamed(
            mean_iou(self._confusion).item(), self._seconds, [player.played for player in self._players], flicker, still
        )


class _Player:
    """A stream at one rate, whose frames arrive one after the other."""

    def __init__(self, fps: float, classes: int) -> None:
        self.played = Played(fps, torch.zeros(classes, classes, dtype=torch.int64))
        self._clock, self._classes, self._maps = Clock(fps), classes, _ClassMaps()
        self._due: tuple[int, int, torch.Tensor] | None = None  # the class map that is not scored yet: own, current

    def arrives(self, number: int, image: np.ndarray, found: Found, mask: torch.Tensor, seconds: float) -> None:
        """A frame with what is predicted if it is taken, and how long this takes."""
        self.played.frames += 1
        self._score(number, mask)
        if number == self._clock.next:
            self.played.taken += 1
            classes, took = self._maps.of(image, found, seconds)
            self._due = number, self._clock.take(took), torch.from_numpy(classes)
            self._score(number, mask)

    def _score(self, number: int, mask: torch.Tensor) -> None:
        """Scores the class map that is ready while this frame is current."""
        if self._due is not None and self._due[1] == number:
            own, _, found = self._due
            self.played.confusion += confusion_matrix(found, mask, self._classes)
            self.played.behind.append(number - own)
            self._due = None
