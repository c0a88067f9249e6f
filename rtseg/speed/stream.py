"""How accurate a network is on a stream, which does not wait for it.

Each class map is scored against the frame that is current when the map is ready ("Real-Time Semantic Segmentation
Networks should be Latency Aware", https://arxiv.org/abs/2004.02574). A network takes the newest frame as soon as it is
free; the frames in between are dropped. So one number has both speed and accuracy.

The clock is computed from measured latencies, and nothing waits: a pass takes as long as its predictions do.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from rtseg.data.dataset import SegmentationDataset
from rtseg.errors import UserError
from rtseg.metrics import confusion_matrix, mean_iou

_WARM_UP = 3  # predictions: the first builds the engine


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
    """

    plain: float
    seconds: Sequence[float]
    played: Sequence[Played]


def stream(
    predict: Callable[[np.ndarray], np.ndarray], dataset: SegmentationDataset, rates: Sequence[float]
) -> Streamed:
    """Predicts every frame once, in order, and plays the stream at each rate with these class maps and latencies.

    Args:
        predict: (H, W, 3) uint8 RGB -> (H, W) class numbers.
        dataset: the frames in their order, with masks.
        rates: frames a second.

    Raises:
        UserError: frames of several sizes, or a bad file.
    """
    classes = len(dataset.labels.names)
    for _ in range(_WARM_UP):
        predict(dataset[0].image)
    plain, seconds = torch.zeros(classes, classes, dtype=torch.int64), []
    players = [_Player(rate, classes) for rate in rates]
    for number, (image, mask) in enumerate(_frames(dataset)):
        begin = time.perf_counter()
        classes_found = predict(image)
        seconds.append(time.perf_counter() - begin)
        found, truth = torch.from_numpy(classes_found), torch.from_numpy(mask)
        plain += confusion_matrix(found, truth, classes)
        for player in players:
            player.arrives(number, found, truth, seconds[-1])
    return Streamed(mean_iou(plain).item(), seconds, [player.played for player in players])


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


class _Player:
    """A stream at one rate, whose frames arrive one after the other."""

    def __init__(self, fps: float, classes: int) -> None:
        self.played = Played(fps, torch.zeros(classes, classes, dtype=torch.int64))
        self._clock, self._classes = Clock(fps), classes
        self._due: tuple[int, int, torch.Tensor] | None = None  # the class map that is not scored yet: own, current

    def arrives(self, number: int, found: torch.Tensor, mask: torch.Tensor, seconds: float) -> None:
        """A frame with its class map, were it taken, and its latency."""
        self.played.frames += 1
        self._score(number, mask)
        if number == self._clock.next:
            self.played.taken += 1
            self._due = number, self._clock.take(seconds), found
            self._score(number, mask)

    def _score(self, number: int, mask: torch.Tensor) -> None:
        """Scores the class map that is ready while this frame is current."""
        if self._due is not None and self._due[1] == number:
            own, _, found = self._due
            self.played.confusion += confusion_matrix(found, mask, self._classes)
            self.played.behind.append(number - own)
            self._due = None
