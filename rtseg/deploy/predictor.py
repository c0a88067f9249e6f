"""Images -> class maps in two lines of Python."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from rtseg.data.dataset import default_palette
from rtseg.data.evaluation import resize_for_evaluation
from rtseg.data.files import FILM_SUFFIXES, IMAGE_SUFFIXES
from rtseg.deploy.device import choose_device
from rtseg.deploy.exports.onnx_file import read_onnx
from rtseg.deploy.fixed_size import FixedSize
from rtseg.deploy.fuse import deploy
from rtseg.deploy.graph import Graph
from rtseg.deploy.rgb import to_rgb
from rtseg.errors import UserError
from rtseg.models.segmenter import Segmenter
from rtseg.models.weights import weights_hash

_ORDER = "where a network is expected: give the network first, then the images"
_GRAPH = "another program's form of a network, without the class names and colours that are needed here: give the "
_NO_NETWORKS = (
    {suffix: f"an image, {_ORDER}" for suffix in IMAGE_SUFFIXES}
    | {suffix: f"a film, {_ORDER}" for suffix in FILM_SUFFIXES}
    | {suffix: f"{_GRAPH}checkpoint, or its .onnx by `rtseg export`" for suffix in (".xml", ".bin", ".engine", ".plan")}
    | {suffix: "a configuration: give the best.ckpt of the training" for suffix in (".yaml", ".yml")}
)


class Predictor:
    """A network that is called with an image and returns its class map.

    Args:
        network: a segmenter, which is copied, or an exported graph.
        device: where it runs. None takes a GPU where there is one; a graph then runs on the CPU.

    Attributes:
        card: the network's description, with the class names.
        device: where it runs.
        fixed_size: (height, width) to which images are resized for a graph; None where the network takes any size.
        palette: RGB of class 0..K-1. The colours are made up where the card has none.
        class_names: of class 0..K-1. "class 0", "class 1", ... where the card has none.
        identity: the network and the size that it sees, for the record of results; equal for equal class maps.
    """

    def __init__(self, network: Segmenter | Graph, *, device: str | torch.device | None = None) -> None:
        self.card = network.card
        self.fixed_size: tuple[int, int] | None = None
        self.palette = self.card.palette or default_palette(self.card.num_classes)
        self.class_names = self.card.class_names or tuple(f"class {k}" for k in range(self.card.num_classes))
        if isinstance(network, Graph):
            graph = FixedSize(network, device)
            self._network: Callable[[Tensor, tuple[int, int]], Tensor] = graph
            self._resize, self.device, self.fixed_size = graph.resize, graph.device, graph.size
            self.identity = f"{self.card.model} {network.weights}, {network.output} of {network.shape}"
        else:
            self.device = choose_device(device)
            self._network = partial(deploy(network).to(self.device), check=True)
            self._resize = partial(resize_for_evaluation, resize=self.card.eval_resize)
            self.identity = f"{self.card.model} {weights_hash(network)}, resized to {self.card.eval_resize}"

    def __call__(self, image: str | Path | Image.Image | np.ndarray) -> np.ndarray:
        """The class of every pixel.

        The image is resized as in its data set's evaluation (`card.eval_resize`), for an exported graph to the graph's
        size. The class map has the size of the image.

        Args:
            image: a file, a PIL image, or (H, W, 3) uint8 RGB. Any size. Files and PIL images are converted as in
                training: grey becomes RGB, transparency is dropped, 16 bit becomes 8, and the image is turned upright
                by its EXIF orientation. The class map belongs to the upright image.

        Returns:
            (H, W) class numbers 0..K-1, uint8 (int16 above 256 classes).

        Raises:
            UserError: the image cannot be read, or the network's logits are not finite.
        """
        whole = to_rgb(image)
        resized = np.array(self._resize(whole), order="C")
        with torch.inference_mode():
            size = (whole.shape[0], whole.shape[1])
            return self._network(torch.from_numpy(resized).to(self.device), size).cpu().numpy()

    def to_ids(self, class_map: np.ndarray) -> np.ndarray:
        """Class numbers 0..K-1 -> the ids in the data set's label files, uint8; uint16 where an id exceeds 255."""
        ids = self.card.ids or range(self.card.num_classes)
        return np.array(ids, np.uint8 if max(ids) < 256 else np.uint16)[class_map]


def load(path_or_id: str | Path, *, device: str | torch.device | None = None) -> Predictor:
    """A predictor from weights.

    Args:
        path_or_id: a `.ckpt` (its moving average, if it has one), a folder with model.safetensors, a Hugging Face id,
            or an `.onnx` file of `rtseg export`, for which every image is resized to the size of the export.
        device: where it runs. None takes a GPU where there is one.

    Raises:
        UserError: see `Segmenter.from_pretrained`, `read_onnx` and `choose_device`.
    """
    suffix = Path(path_or_id).suffix.lower()
    if suffix == ".onnx":
        return Predictor(read_onnx(path_or_id), device=device)
    if suffix in _NO_NETWORKS:
        raise UserError(f"'{path_or_id}' is {_NO_NETWORKS[suffix]}")
    return Predictor(Segmenter.from_pretrained(path_or_id), device=device)
