"""A quantised graph against the float one: mIoU on the same images, time in turns, and whether it pays.

H, W size of the images that a graph takes, K classes.
"""

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

import cv2
import numpy as np
import torch

from rtseg.data.dataset import SegmentationDataset
from rtseg.deploy.class_map import class_map
from rtseg.deploy.openvino_core import core
from rtseg.errors import UserError
from rtseg.metrics import confusion_matrix, mean_iou
from rtseg.output.table import Cell, Column, Table

Size = tuple[int, int]  # (H, W)
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


class Images:
    """A part of a data set, as the graph takes it: resized to its size, scored at the image's own."""

    def __init__(self, dataset: SegmentationDataset, most: int, size: Size) -> None:
        self.dataset = dataset
        self.indices = [round(i) for i in np.linspace(0, len(dataset) - 1, min(most, len(dataset)))]
        self.size = size

    def image(self, index: int) -> np.ndarray:
        """(1, H, W, 3) uint8."""
        return self._resized(self.dataset[index].image)

    def _resized(self, image: np.ndarray) -> np.ndarray:
        if image.shape[:2] != self.size:
            image = cv2.resize(image, self.size[::-1], interpolation=cv2.INTER_LINEAR)
        return image[None]

    def class_maps(self, compiled: Any, indices: Iterable[int]) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """The class map of each image and its mask, (height, width) of the image's own size."""
        request = compiled.create_infer_request()
        for sample in map(self.dataset.__getitem__, indices):
            result = request.infer([self._resized(sample.image)], share_inputs=True, share_outputs=True)
            logits = torch.from_numpy(result[0]).permute(0, 3, 1, 2)
            yield class_map(logits, sample.size)[0], torch.from_numpy(sample.mask)


def miou_of(images: Images, compiled: Any, indices: Iterable[int], num_classes: int) -> tuple[float, list[float]]:
    """mIoU, 0..1, and that of each image alone, by which NNCF chooses images to rank layers with."""
    each = [confusion_matrix(*maps, num_classes) for maps in images.class_maps(compiled, indices)]
    return mean_iou(torch.stack(each).sum(0)).item(), [mean_iou(one).item() for one in each]


def score(model: Any, quantized: Any, images: Images, num_classes: int) -> list[Scored]:
    """Both graphs at the precisions that they can run in here, float32 first; those in float before those in int8."""
    hints = ["f32"] + ["bf16"] * ("BF16" in core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"))
    names = {"f32": "fp32", "bf16": "bf16"}
    compiled = {names[hint]: compile_at(model, hint) for hint in hints}
    compiled |= {f"int8, rest {names[hint]}": compile_at(quantized, hint) for hint in hints}
    confusion = {name: torch.zeros(num_classes, num_classes, dtype=torch.int64) for name in compiled}
    worst = dict.fromkeys(compiled, 1.0)
    for index in images.indices:
        expected = None
        for name, graph in compiled.items():
            ((classes, mask),) = images.class_maps(graph, [index])
            expected = classes if expected is None else expected
            confusion[name] += confusion_matrix(classes, mask, num_classes)
            worst[name] = min(worst[name], (classes == expected).double().mean().item())
    times = _time_in_turns(compiled, [images.image(index) for index in images.indices[:4]])
    return [Scored(name, 100 * mean_iou(confusion[name]).item(), 100 * worst[name], times[name]) for name in compiled]


def compile_at(model: Any, hint: str) -> Any:
    """A model compiled for this processor; what is not in 8 bits is computed at the precision of the hint."""
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": hint,
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
    }
    return core().compile_model(model, "CPU", settings)


def _time_in_turns(compiled: Mapping[str, Any], images: list[np.ndarray]) -> dict[str, float]:
    """Median milliseconds of each, one run after the other so that other work on the machine meets all alike."""
    requests = {name: graph.create_infer_request() for name, graph in compiled.items()}
    times: dict[str, list[float]] = {name: [] for name in compiled}
    begin, rounds = time.perf_counter(), 0
    while rounds < _LEAST_ROUNDS or time.perf_counter() - begin < _SECONDS:
        for name, request in requests.items():
            for timed in (False, True):  # the first of the two finds the caches full of another's weights
                start = time.perf_counter()
                request.infer([images[rounds % len(images)]], share_inputs=True, share_outputs=True)
                times[name] += [time.perf_counter() - start] if timed else []
        rounds += 1
    return {name: 1000 * median(own) for name, own in times.items()}


def scores_table(scores: list[Scored], number: int) -> Table:
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
    return Table(f"OpenVINO, {number} validation images", columns, rows)


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
