"""Average precision of boxes and masks, as COCO counts it.

N objects of an image, H, W its height and width.
"""

from itertools import zip_longest
from typing import Any

import numpy as np
import torch.distributed as dist
from torch import Tensor
from torchmetrics.detection import MeanAveragePrecision

from rtseg.tasks.instances.coco_library import backend
from rtseg.tasks.instances.detections import Detections
from rtseg.tasks.instances.samples import Objects

# torchmetrics' own thresholds are float32: its 0.6 is above 0.6, and IoUs of small masks are such fractions.
_IOUS, _RECALLS = np.linspace(0.5, 0.95, 10).tolist(), np.linspace(0, 1, 101).tolist()
_MOST = [1, 10, 100]  # detections of an image; torchmetrics gives -1 for all where 100 is missing
_KINDS = {"mask": "segm", "box": "bbox"}
_SCORES = {
    "ap": "map", "ap50": "map_50", "ap75": "map_75", "ap_small": "map_small", "ap_medium": "map_medium",
    "ap_large": "map_large", "ar": "mar_100",
}  # fmt: skip


class InstanceScores:
    """Counts images, and scores all of them, also over processes with unequal numbers of images."""

    def __init__(self) -> None:
        self._metric = _metric()

    def update(self, found: Detections, objects: Objects) -> None:
        """Counts one image with all of its annotations, crowds included."""
        prediction = {
            "boxes": found.boxes.float(), "labels": found.labels, "scores": found.scores.float(),
            "masks": found.masks,
        }  # fmt: skip
        target = {
            "boxes": objects.boxes, "labels": objects.labels, "masks": objects.masks,
            "iscrowd": objects.crowd.int(), "area": objects.area,
        }  # fmt: skip
        self._metric.update([_on_cpu(prediction)], [_on_cpu(target)])

    def compute(self, names: tuple[str, ...]) -> dict[str, float]:
        """The scores, and forgets the images.

        Args:
            names: of the classes.

        Returns:
            mask_ap, mask_ap50, mask_ap75, mask_ap_small, mask_ap_medium, mask_ap_large, mask_ar (at 100 detections),
            and the same of boxes; mask_ap_<class> and box_ap_<class> of each class. NaN where there are no objects.
        """
        metric, self._metric = self._of_all_processes(), _metric()
        found: dict[str, Any] = metric.compute()
        labels = sorted(
            {int(k) for part in (metric.detection_labels, metric.groundtruth_labels) for x in part for k in x}
        )
        scores: dict[str, float] = {}
        for kind, prefix in _KINDS.items():
            scores |= {f"{kind}_{name}": _or_nan(found[f"{prefix}_{key}"]) for name, key in _SCORES.items()}
            scores |= {f"{kind}_ap_{name}": float("nan") for name in names}
            if f"{prefix}_precision" not in found:  # nothing was counted
                continue
            precision: Tensor = found[f"{prefix}_precision"]  # by threshold, recall, class, area, number of detections
            for place, label in enumerate(labels):
                values = precision[:, :, place, 0, -1]
                if (values > -1).any():
                    scores[f"{kind}_ap_{names[label]}"] = float(values[values > -1].mean())
        return scores

    def _of_all_processes(self) -> MeanAveragePrecision:
        """torchmetrics itself gathers masks only of equal numbers of images."""
        if not (dist.is_available() and dist.is_initialized()):
            return self._metric
        own = {name: getattr(self._metric, name) for name in self._metric.metric_state}
        parts: list[Any] = [None] * dist.get_world_size()
        dist.all_gather_object(parts, own)
        metric = _metric()
        for name in own:
            # In the order of the files, since of detections with equal scores the first counts first.
            turns = zip_longest(*(part[name] for part in parts))
            setattr(metric, name, [entry for turn in turns for entry in turn if entry is not None])
        metric._update_count = 1  # it warns where nothing was counted by `update`
        return metric


def _metric() -> MeanAveragePrecision:
    metric = MeanAveragePrecision(
        iou_type=("bbox", "segm"),
        iou_thresholds=_IOUS,
        rec_thresholds=_RECALLS,
        max_detection_thresholds=_MOST,
        extended_summary=True,
        backend=backend(),
        sync_on_compute=False,
    )
    metric.warn_on_many_detections = False
    return metric


def _on_cpu(values: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key: value.detach().cpu() for key, value in values.items()}


def _or_nan(value: Tensor) -> float:
    """COCO's code says -1 where there is nothing to score."""
    number = float(value)
    return number if number >= 0 else float("nan")
