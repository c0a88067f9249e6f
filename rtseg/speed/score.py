"""How accurate an engine is: the mIoU of what is timed."""

import numpy as np
import torch

from rtseg.data.dataset import SegmentationDataset
from rtseg.deploy.engines import Engine
from rtseg.deploy.graph import fits, written
from rtseg.errors import UserError
from rtseg.metrics import confusion_matrix, mean_iou


@torch.inference_mode()
def score(engine: Engine, dataset: SegmentationDataset) -> float:
    """mIoU, 0..1, over the images of a data set as they are.

    Raises:
        UserError: an image of another size than the engine was built for, or a bad file.
    """
    classes = len(dataset.labels.names)
    confusion = torch.zeros(classes, classes, dtype=torch.int64)
    for sample in map(dataset.__getitem__, range(len(dataset))):
        if not fits(engine.shape, (1, *sample.size)):
            raise UserError(
                f"'{sample.name}' is {sample.size[0]}x{sample.size[1]}, and {written(engine.shape[1:])} is measured: "
                f"images are scored at their own size, so give --input-size {sample.size[0]} {sample.size[1]}"
            )
        image = _input(sample.image, engine)[None].to(engine.device)
        confusion += confusion_matrix(engine.run(image)[0].cpu(), torch.from_numpy(sample.mask), classes)
    return mean_iou(confusion).item()


def _input(image: np.ndarray, engine: Engine) -> torch.Tensor:
    return torch.from_numpy(image if engine.channels is None else image.astype(np.float32))
