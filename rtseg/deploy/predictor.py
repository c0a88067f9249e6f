"""Images -> class maps in two lines of Python."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from rtseg.data.dataset import default_palette
from rtseg.data.evaluation import resize_for_evaluation
from rtseg.data.files import FILM_SUFFIXES, IMAGE_SUFFIXES
from rtseg.deploy.choice import Choice
from rtseg.deploy.class_map import class_map
from rtseg.deploy.engines import size_of
from rtseg.deploy.exports.read import FORMATS, read_graph
from rtseg.deploy.graph import Graph
from rtseg.deploy.prediction import Prediction
from rtseg.deploy.rgb import to_rgb
from rtseg.deploy.runner import AUTO, Runner
from rtseg.errors import UserError
from rtseg.models.segmenter import Segmenter

_ORDER = "where a network is expected: give the network first, then the images"
_ENGINE = "an engine's own form of a network, without class names: give the checkpoint, or a file of `rtseg export`"
_NO_NETWORKS = (
    {suffix: f"an image, {_ORDER}" for suffix in IMAGE_SUFFIXES}
    | {suffix: f"a film, {_ORDER}" for suffix in FILM_SUFFIXES}
    | {".bin": "the weights of an exported .xml file: give that file", ".engine": _ENGINE, ".plan": _ENGINE}
    | {suffix: "a configuration: give the best.ckpt of the training" for suffix in (".yaml", ".yml")}
)


class Predictor:
    """A network that is called with an image and returns its class map. Any thread may call it, also after a fork.

    Args:
        network: a segmenter, which is not changed, or an exported file.
        engine: what runs it: "auto", the fastest engine here whose class maps are those of float32 PyTorch, or a name
            of `rtseg list backends`, as "openvino:bf16". Lower precision is taken only by name.
        device: where it runs. None takes a GPU where there is one, for an exported file the CPU.

    Attributes:
        runner: runs the network.
        card: the network's description, with the class names.
        device: where it runs.
        fixed_size: (height, width) to which images are resized for an exported file; None where any size is taken.
        palette: RGB of class 0..K-1. The colours are made up where the card has none.
        class_names: of class 0..K-1. "class 0", "class 1", ... where the card has none.
        identity: the network, the size that it sees and its precision, for the record of results; equal for equal
            class maps.

    Raises:
        UserError: see `Runner`.
    """

    def __init__(
        self, network: Segmenter | Graph, *, engine: str = AUTO, device: str | torch.device | None = None
    ) -> None:
        self.card = network.card
        self.runner = Runner(network, engine, device)
        self.device = self.runner.device
        self.palette = self.card.palette or default_palette(self.card.num_classes)
        self.class_names = self.card.class_names or tuple(f"class {k}" for k in range(self.card.num_classes))
        _, height, width = self.runner.shape
        self.fixed_size = (height, width) if height and width else None
        self.identity = self._identity(network)

    def _identity(self, network: Segmenter | Graph) -> str:
        exact = "" if self.runner.is_exact else f", {self.runner.engine}"
        exact += ", upsampled twice" * (self.card.upsampling == "twice")
        if isinstance(network, Graph) and self.fixed_size:
            return f"{self.card.model} {self.runner.weights}, {network.output} of {network.shape}{exact}"
        return f"{self.card.model} {self.runner.weights}, resized to {self.card.eval_resize}{exact}"

    def __call__(self, image: str | Path | Image.Image | np.ndarray) -> np.ndarray:
        """The class of every pixel.

        The image is resized as in its data set's evaluation (`card.eval_resize`), for an exported file of one size to
        that size. The class map has the size of the image.

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
        return self.runner.class_map(self.network_input(whole)[None], (whole.shape[0], whole.shape[1]))[0].numpy()

    def batch(self, images: Sequence[str | Path | Image.Image | np.ndarray]) -> list[np.ndarray]:
        """The class maps of several images; those of one size go through the network together.

        On a GPU this is faster than one after the other, on a CPU hardly.
        """
        whole = [to_rgb(image) for image in images]
        found: list[np.ndarray] = [np.empty(0)] * len(whole)
        inputs = [self.network_input(one) for one in whole]
        for key in dict.fromkeys((one.shape, given.shape) for one, given in zip(whole, inputs, strict=True)):
            where = [i for i in range(len(whole)) if (whole[i].shape, inputs[i].shape) == key]
            height, width = key[0][:2]
            maps = self.runner.class_map(torch.stack([inputs[i] for i in where]), (height, width))
            for i, classes in zip(where, maps, strict=True):
                found[i] = classes.numpy()
        return found

    def predict(self, image: str | Path | Image.Image | np.ndarray) -> Prediction:
        """The class map of an image with its areas and outlines, and margins and probabilities when they are asked for.

        The network runs once, as for `__call__`, which takes the same images.

        Raises:
            UserError: see `__call__`.
        """
        whole = to_rgb(image)
        size, given = (whole.shape[0], whole.shape[1]), self.network_input(whole)[None]
        if not self.runner.has_logits(given):
            classes = self.runner.class_map(given, size)[0].numpy()
            return Prediction(classes, self.class_names, self.palette)
        logits, between = self.runner.logits(given), self.runner.between(size_of(given), size)
        classes = class_map(logits, size, between=between)[0].numpy()
        return Prediction(classes, self.class_names, self.palette, logits, between)

    def logits(self, image: str | Path | Image.Image | np.ndarray) -> Tensor:
        """The network's own logits of an image, (1, K, h, w) float32 at the stride of its head.

        Raises:
            UserError: see `__call__`; or the network is a file that puts out class maps alone.
        """
        return self.runner.logits(self.network_input(to_rgb(image))[None])

    def explain(self, image: str | Path | Image.Image | np.ndarray) -> Choice:
        """The engine for images of this size, what was measured, and when; it is measured now if need be."""
        return self.runner.choice(self.network_input(to_rgb(image))[None])

    def network_input(self, image: np.ndarray) -> Tensor:
        """(H, W, 3) uint8 RGB -> the same at the size that the network sees."""
        if self.fixed_size is None:
            resized = resize_for_evaluation(image, self.card.eval_resize)
        elif self.fixed_size == image.shape[:2]:
            resized = image
        else:
            resized = cv2.resize(image, self.fixed_size[::-1], interpolation=cv2.INTER_LINEAR)
        return torch.from_numpy(np.array(resized, order="C"))

    def to_ids(self, class_map: np.ndarray) -> np.ndarray:
        """Class numbers 0..K-1 -> the ids in the data set's label files, uint8; uint16 where an id exceeds 255."""
        ids = self.card.ids or range(self.card.num_classes)
        return np.array(ids, np.uint8 if max(ids) < 256 else np.uint16)[class_map]


def load(source: str | Path, *, device: str | torch.device | None = None, engine: str = AUTO) -> Predictor:
    """A predictor from weights.

    Args:
        source: a `.ckpt` (its moving average, if it has one), a folder with model.safetensors, a published name
            (`rtseg list weights`), a Hugging Face id, or a file of `rtseg export`. For a file of one size every image
            is resized to it.
        device: where it runs. None takes a GPU where there is one, for an exported file the CPU.
        engine: "auto" takes the fastest engine here whose class maps are those of float32 PyTorch. That is measured at
            the first image, in some ten seconds, and remembered on this machine for this network and size. Any name of
            `rtseg list backends` does without. The environment variable RTSEG_ENGINE says what "auto" is.

    Raises:
        UserError: see `Segmenter.from_pretrained`, `read_graph`, `Runner` and `choose_device`.
    """
    suffix = Path(source).suffix.lower()
    if suffix in FORMATS:
        return Predictor(read_graph(source), engine=engine, device=device)
    if suffix in _NO_NETWORKS:
        raise UserError(f"'{source}' is {_NO_NETWORKS[suffix]}")
    return Predictor(Segmenter.from_pretrained(source), engine=engine, device=device)
