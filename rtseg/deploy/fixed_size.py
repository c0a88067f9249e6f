"""An exported graph for images of any size. The graph takes one size, so images are resized to it.

B batch, H, W size of the graph's images, K classes, h, w the size of its logits.
"""

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from rtseg.deploy.class_map import check_logits, class_map
from rtseg.deploy.engines import create_engine, reference_for
from rtseg.deploy.graph import Graph


class FixedSize:
    """A graph in ONNX Runtime.

    Args:
        graph: of any batch size; one image is repeated to fill the batch.
        device: where it runs; None takes the CPU.

    Attributes:
        size: (H, W) of its images.
        device: where it runs.

    Raises:
        UserError: ONNX Runtime is missing, or cannot run the graph on this device.
    """

    def __init__(self, graph: Graph, device: torch.device | str | None = None) -> None:
        self._engine = create_engine(reference_for(graph), graph, graph.shape, device=device)
        batch, height, width = graph.shape
        assert batch
        assert height
        assert width
        self._batch, self.size = batch, (height, width)
        self.device = self._engine.device

    def resize(self, image: np.ndarray) -> np.ndarray:
        """(height, width, 3) uint8 -> (H, W, 3). The proportions may change."""
        if image.shape[:2] == self.size:
            return image
        return cv2.resize(image, self.size[::-1], interpolation=cv2.INTER_LINEAR)

    def __call__(self, image: Tensor, size: tuple[int, int]) -> Tensor:
        """(H, W, 3) uint8 -> class map of `size`.

        Logits are upsampled to it. A class map that the graph puts out is resized by nearest neighbour.

        Raises:
            UserError: the logits are not finite.
        """
        images = image.expand(self._batch, *image.shape).contiguous()
        if self._engine.has_logits:
            logits = self._engine.logits(images)[:1]
            check_logits(logits)
            return class_map(logits, size)[0]
        classes = self._engine.run(images)[:1, None]
        dtype = torch.uint8 if classes.max() < 256 else torch.int16
        return F.interpolate(classes.double(), size, mode="nearest-exact")[0, 0].to(dtype)
