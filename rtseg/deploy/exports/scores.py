"""A quantised graph against the float one: mIoU on the same images, time in turns, and whether it pays.

H, W size of the images that a graph takes, K classes.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from statistics import median

import cv2
import numpy as np
import torch

from rtseg.data.dataset import SegmentationDataset
from rtseg.deploy.class_map import class_map
from rtseg.deploy.exports.description import Description
from rtseg.errors import UserError
from rtseg.metrics import confusion_matrix, mean_iou
from rtseg.output.table import Cell, Column, Table

Size = tuple[int, int]  # (H, W)
Run = Callable[[np.ndarray], np.ndarray]  # (1, H, W, 3) uint8 -> (1, h, w, K) logits, which the next call may overwrite
RANKED_WITH = 8  # validation images on which the layers are ranked, those that lost most
MOST_LAYERS = 20  # that return to float, before it is given up
_LEAST_ROUNDS, _SECONDS = 10, 5.0  # of the turns that the precisions take


class NotWorthError(UserError):
    """8 bits lose more than allowed, or are not faster."""


@dataclass(frozen=True)
class Scored:
    """A graph at a precision.

    Attributes:
        miou: 0..100.
        equal_percent: on the image where it is worst: of the pixels, those with float32's class.
        ms: median time of the network alone, an image.
    """

    precision: str
    miou: float
    equal_percent: float
    ms: float


@dataclass(frozen=True)
class Quantized:
    """A network in 8 bits beside itself in float.

    Attributes:
        engine: the library that runs both, for people.
        runs: by precision, float32 first; the names of those in 8 bits begin with "int8".
        in_float: which layers stay in float, in words.
        how: which engine runs the file at which precision, in words.
        content: the file that a description makes of it, and the one beside it.
    """

    engine: str
    runs: Mapping[str, Run]
    in_float: str
    how: str
    content: Callable[[Description], tuple[bytes, bytes]]


class Images:
    """A part of a data set, as the graph takes it: resized to its size if it has one, scored at the image's own."""

    def __init__(self, dataset: SegmentationDataset, most: int, size: Size | None) -> None:
        self.dataset = dataset
        self.indices = [round(i) for i in np.linspace(0, len(dataset) - 1, min(most, len(dataset)))]
        self.size = size

    def image(self, index: int) -> np.ndarray:
        """(1, H, W, 3) uint8."""
        return self._resized(self.dataset[index].image)

    def _resized(self, image: np.ndarray) -> np.ndarray:
        if self.size is not None and image.shape[:2] != self.size:
            image = cv2.resize(image, self.size[::-1], interpolation=cv2.INTER_LINEAR)
        return image[None]

    @property
    def num_classes(self) -> int:
        return len(self.dataset.labels.names)

    def class_maps(self, run: Run, indices: Iterable[int]) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """The class map of each image and its mask, (height, width) of the image's own size."""
        for sample in map(self.dataset.__getitem__, indices):
            logits = torch.from_numpy(run(self._resized(sample.image))).permute(0, 3, 1, 2)
            yield class_map(logits, sample.size)[0], torch.from_numpy(sample.mask)


def miou_of(images: Images, run: Run, indices: Iterable[int]) -> tuple[float, list[float]]:
    """mIoU, 0..1, and that of each image alone, by which images are chosen to rank layers with."""
    each = [confusion_matrix(*maps, images.num_classes) for maps in images.class_maps(run, indices)]
    return mean_iou(torch.stack(each).sum(0)).item(), [mean_iou(one).item() for one in each]


def score(runs: Mapping[str, Run], images: Images) -> list[Scored]:
    """The graphs in float and in int8 by the precision that they run in, float32 first."""
    confusion = {name: torch.zeros(images.num_classes, images.num_classes, dtype=torch.int64) for name in runs}
    worst = dict.fromkeys(runs, 1.0)
    for index in images.indices:
        expected = None
        for name, run in runs.items():
            ((classes, mask),) = images.class_maps(run, [index])
            expected = classes if expected is None else expected
            confusion[name] += confusion_matrix(classes, mask, images.num_classes)
            worst[name] = min(worst[name], (classes == expected).double().mean().item())
    times = _time_in_turns(runs, [images.image(index) for index in images.indices[:4]])
    return [Scored(name, 100 * mean_iou(confusion[name]).item(), 100 * worst[name], times[name]) for name in runs]


def _time_in_turns(runs: Mapping[str, Run], images: list[np.ndarray]) -> dict[str, float]:
    """Median milliseconds of each, one run after the other so that other work on the machine meets all alike."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    begin, rounds = time.perf_counter(), 0
    while rounds < _LEAST_ROUNDS or time.perf_counter() - begin < _SECONDS:
        for name, run in runs.items():
            for timed in (False, True):  # the first of the two finds the caches full of another's weights
                start = time.perf_counter()
                run(images[rounds % len(images)])
                times[name] += [time.perf_counter() - start] if timed else []
        rounds += 1
    return {name: 1000 * median(own) for name, own in times.items()}


def scores_table(scores: list[Scored], number: int, engine: str) -> Table:
    """What is shown, whether it holds or not."""
    columns = [
        Column("precision", left=True),
        Column("mIoU", "%", "{:.2f}"),
        Column("lost", "points", "{:.2f}"),
        Column("worst image", "% as fp32", "{:.2f}"),
        Column("network alone", "ms", "{:.1f}"),
        Column("times fp32", form="{:.2f}"),
    ]
    first = scores[0]
    rows: list[list[Cell]] = [
        [s.precision, s.miou, first.miou - s.miou, s.equal_percent, s.ms, first.ms / s.ms] for s in scores
    ]
    return Table(f"{engine}, {number} validation images", columns, rows)


def check_worth(scores: list[Scored], max_drop: float) -> Scored:
    """The fastest in int8 that holds.

    Raises:
        NotWorthError: none holds, or one in float that holds is at least as fast.
    """
    best = scores[0].miou

    def fastest(int8: bool) -> Scored | None:
        holds = [s for s in scores if s.precision.startswith("int8") == int8 and best - s.miou <= max_drop]
        return min(holds, key=lambda one: one.ms, default=None)

    chosen, plain = fastest(True), fastest(False)
    assert plain is not None  # float32 itself loses nothing
    if chosen is None:
        closest = max((s for s in scores if s.precision.startswith("int8")), key=lambda one: one.miou)
        raise NotWorthError(
            f"in int8 the network loses {best - closest.miou:.2f} points of mIoU ({closest.miou:.2f} % instead of "
            f"{best:.2f} %), and {max_drop} are allowed: allow more with --max-drop, or export it without --int8"
        )
    if chosen.ms >= plain.ms:
        raise NotWorthError(
            f"int8 does not pay on this processor: {chosen.ms:.1f} ms an image, where {plain.precision} takes "
            f"{plain.ms:.1f} ms and loses {max(0.0, best - plain.miou):.2f} points of mIoU. Export it without --int8"
        )
    return chosen
