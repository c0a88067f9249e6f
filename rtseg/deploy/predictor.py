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
from rtseg.data.files import IMAGE_SUFFIXES
from rtseg.deploy.class_map import class_map
from rtseg.deploy.engines import size_of
from rtseg.deploy.explain import Choice
from rtseg.deploy.exports.read import FORMATS, read_graph
from rtseg.deploy.graph import Graph
from rtseg.deploy.pixels import as_input, resized, to_pixels
from rtseg.deploy.prediction import Prediction
from rtseg.deploy.rgb import listed
from rtseg.deploy.runner import AUTO, Runner
from rtseg.deploy.windows.tiles import tiled_class_map
from rtseg.deploy.windows.tiling import Tiling, check_tiles, tiling
from rtseg.errors import UserError
from rtseg.models.network import Network
from rtseg.models.segmenter import Segmenter
from rtseg.paths import FILM_SUFFIXES

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
        network: a segmenter or another network, which is not changed, or an exported file.
        engine: what runs it: "auto", the fastest engine here whose class maps are those of float32 PyTorch, or a name
            of `rtseg list backends`, as "openvino:bf16". Lower precision is taken only by name.
        device: where it runs. None takes a GPU where there is one, for an exported file the CPU.
        tiles: windows in which large images go through the network; None for images as a whole.

    Attributes:
        runner: runs the network.
        card: the network's description, with the class names.
        device: where it runs.
        fixed_size: (height, width) to which images are resized for an exported file; None where any size is taken.
        palette: RGB of class 0..K-1. The colours are made up where the card has none.
        class_names: of class 0..K-1. "class 0", "class 1", ... where the card has none.
        tiles: as given.
        identity: network, sizes and precision in words, for the record of results; equal for equal class maps.

    Raises:
        UserError: see `Runner`; or an exported file cannot take such windows.
    """

    def __init__(
        self,
        network: Network | Graph,
        *,
        engine: str = AUTO,
        device: str | torch.device | None = None,
        tiles: Tiling | None = None,
    ) -> None:
        if tiles and isinstance(network, Graph):
            check_tiles(network, tiles)
        self.tiles = tiles
        self.card = network.card
        self.runner = Runner(network, engine, device)
        self.device = self.runner.device
        self.palette = self.card.palette or default_palette(self.card.num_classes)
        self.class_names = self.card.class_names or tuple(f"class {k}" for k in range(self.card.num_classes))
        _, height, width = self.runner.shape
        self.fixed_size = (height, width) if height and width and not tiles else None
        self.identity = self._identity(network)

    def _identity(self, network: Network | Graph) -> str:
        exact = "" if self.runner.is_exact else f", {self.runner.engine}"
        if self.tiles:
            return f"{self.card.model} {self.runner.weights}, {self.tiles}{exact}"
        exact += ", upsampled twice" * (self.card.upsampling == "twice")
        if isinstance(network, Graph) and (self.fixed_size or network.output != "logits"):
            return f"{self.card.model} {self.runner.weights}, {network.output} of {network.shape}{exact}"
        resize = self.card.eval_resize
        how = "resized to sides of {} and {}".format(*resize) if resize else "at their own size"
        return f"{self.card.model} {self.runner.weights}, images {how}{exact}"

    def __repr__(self) -> str:
        return f"Predictor({self.card.model}, engine {self.runner.engine!r}, on {self.device})"

    def __call__(self, image: str | Path | Image.Image | np.ndarray) -> np.ndarray:
        """The class of every pixel.

        The image is resized as in its data set's evaluation (`card.eval_resize`), for an exported file of one size to
        that size. With `tiles` it keeps its size, and each window is seen alone. The class map has the size of the
        image.

        Args:
            image: a file, a PIL image, or (H, W, 3) uint8 RGB. Any size. Files and PIL images are converted as in
                training: grey becomes RGB, transparency is dropped, 16 bit becomes 8, and the image is turned upright
                by its EXIF orientation. The class map belongs to the upright image. A network of other channels takes
                their files, and arrays as `.npy` files would hold them, see `rtseg.data.channels.read_channels`.

        Returns:
            (H, W) class numbers 0..K-1, uint8 (int16 above 256 classes).

        Raises:
            UserError: the image cannot be read, or the network's logits are not finite.
        """
        return self.classes_of(to_pixels(image, self.card))

    def classes_of(self, whole: np.ndarray) -> np.ndarray:
        """The class map of what `to_pixels` gives: `__call__` would take grey levels for the numbers of a file."""
        if self.tiles and not self.tiles.covers(whole.shape):
            self._check_side(whole.shape)
            return tiled_class_map(
                lambda window: self.runner.logits(as_input(window, self.card)[None]), whole, self.tiles
            )
        return self.runner.class_map(self.network_input(whole)[None], (whole.shape[0], whole.shape[1]))[0].numpy()

    def batch(self, images: Sequence[str | Path | Image.Image | np.ndarray]) -> list[np.ndarray]:
        """The class maps of several images; those of one size go through the network together.

        On a GPU this is faster than one after the other, on a CPU hardly. With `tiles` they go one after the other.
        """
        if self.tiles:
            return [self(image) for image in listed(images)]
        whole = [to_pixels(image, self.card) for image in listed(images)]
        found: list[np.ndarray] = [np.empty(0)] * len(whole)
        inputs = [self.network_input(one) for one in whole]
        for key in dict.fromkeys((one.shape, given.shape) for one, given in zip(whole, inputs, strict=True)):
            where = [i for i in range(len(whole)) if (whole[i].shape, inputs[i].shape) == key]
            maps = self.runner.class_map(torch.stack([inputs[i] for i in where]), (key[0][0], key[0][1]))
            for i, classes in zip(where, maps, strict=True):
                found[i] = classes.numpy()
        return found

    def predict(self, image: str | Path | Image.Image | np.ndarray) -> Prediction:
        """The class map of an image with its areas and outlines, and margins and probabilities when they are asked for.

        The network runs once, as for `__call__`, which takes the same images.

        Raises:
            UserError: see `__call__`.
        """
        return self.prediction_of(to_pixels(image, self.card))

    def prediction_of(self, whole: np.ndarray) -> Prediction:
        """The same of what `to_pixels` gives."""
        if self.tiles and not self.tiles.covers(whole.shape):
            return Prediction(self.classes_of(whole), self.class_names, self.palette)
        size, given = (whole.shape[0], whole.shape[1]), self.network_input(whole)[None]
        if self.runner.puts_out_margins:
            return self._of_margins(given, size)
        if not self.runner.has_logits(given):
            classes = self.runner.class_map(given, size)[0].numpy()
            return Prediction(classes, self.class_names, self.palette)
        logits, between = self.runner.logits(given), self.runner.between(size_of(given), size)
        classes = class_map(logits, size, between=between)[0].numpy()
        return Prediction(classes, self.class_names, self.palette, logits, between)

    def _of_margins(self, given: Tensor, size: tuple[int, int]) -> Prediction:
        """What a file of margins says; its margins hold for the size that it sees alone."""
        if size_of(given) != size:
            classes = self.runner.class_map(given, size)[0].numpy()
            return Prediction(classes, self.class_names, self.palette, file_size=size_of(given))
        maps, margins = self.runner.margin(given)
        return Prediction(maps[0].numpy(), self.class_names, self.palette, file_margin=margins[0].numpy())

    def logits(self, image: str | Path | Image.Image | np.ndarray) -> Tensor:
        """The network's own logits of an image, (1, K, h, w) float32 at the stride of its head.

        `tiles` are left out: the network sees the image as a whole.

        Raises:
            UserError: see `__call__`; or the network is a file that puts out class maps alone.
        """
        return self.runner.logits(self.network_input(to_pixels(image, self.card))[None])

    def explain(self, image: str | Path | Image.Image | np.ndarray) -> Choice:
        """The engine for images of this size, what was measured, and when; it is measured now if need be."""
        whole = to_pixels(image, self.card)
        first = whole[: self.tiles.size[0], : self.tiles.size[1]] if self.tiles else whole
        return self.runner.choice(self.network_input(first)[None])

    def network_input(self, image: np.ndarray) -> Tensor:
        """What `to_pixels` gives -> the same at the size that the network sees, as engines take it."""
        if self.tiles:
            self._check_side(image.shape)
            return as_input(image, self.card)
        if self.fixed_size is None:
            return as_input(resize_for_evaluation(image, self.card.eval_resize), self.card)
        if self.fixed_size == image.shape[:2]:
            return as_input(image, self.card)
        return as_input(resized(image, self.fixed_size, cv2.INTER_LINEAR), self.card)

    def _check_side(self, shape: Sequence[int]) -> None:
        """Raises: UserError where a side of an image is shorter than the windows that an exported file takes."""
        for what, side, taken in zip(("high", "wide"), shape[:2], self.runner.shape[1:], strict=True):
            if taken and side < taken:
                raise UserError(
                    f"the image is {side} pixels {what}, and the exported file takes windows of {taken}: leave the "
                    "windows out for this image (--tile), or give the checkpoint, which takes any size"
                )

    def to_ids(self, class_map: np.ndarray) -> np.ndarray:
        """Class numbers 0..K-1 -> the ids in the data set's label files, uint8; uint16 where an id exceeds 255."""
        ids = self.card.ids or range(self.card.num_classes)
        return np.array(ids, np.uint8 if max(ids) < 256 else np.uint16)[class_map]


def load(
    source: str | Path,
    *,
    device: str | torch.device | None = None,
    engine: str = AUTO,
    tile: tuple[int, int] | None = None,
    overlap: int | None = None,
) -> Predictor:
    """A predictor from weights.

    Args:
        source: a `.ckpt` (its moving average, if it has one), a folder with model.safetensors, a published name
            (`rtseg list weights`), a Hugging Face id, or a file of `rtseg export`; one of a fixed size resizes images.
        device: where it runs. None takes a GPU where there is one, for an exported file the CPU.
        engine: "auto" takes the fastest engine here whose class maps are those of float32 PyTorch. That is measured at
            the first image, in ten seconds to a minute, and remembered on this machine for this network and size. Any
            name of `rtseg list backends` does without. The environment variable RTSEG_ENGINE says what "auto" is.
        tile: (height, width) of windows in which larger images go through the network, so that the memory does not
            follow the image. Attention is then within a window, and images keep their size.
        overlap: pixels that neighbouring windows share; None takes an eighth of the window's shorter side.

    Raises:
        UserError: see `Segmenter.from_pretrained`, `read_graph`, `Predictor`, `Tiling` and `choose_device`.
    """
    tiles = tiling(tile, overlap)
    suffix = Path(source).suffix.lower()
    if suffix in FORMATS:
        return Predictor(read_graph(source), engine=engine, device=device, tiles=tiles)
    if suffix in _NO_NETWORKS:
        raise UserError(f"'{source}' is {_NO_NETWORKS[suffix]}")
    return Predictor(Segmenter.from_pretrained(source), engine=engine, device=device, tiles=tiles)
