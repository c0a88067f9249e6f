"""Images -> class maps: two lines of Python, or a folder at once."""

import errno
import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image
from rich.progress import track
from torch import Tensor

from rtseg.checks import check_between
from rtseg.data.dataset import default_palette
from rtseg.data.evaluation import resize_for_evaluation
from rtseg.data.files import FILM_SUFFIXES, IMAGE_SUFFIXES, find_pictures, read_image
from rtseg.deploy.device import choose_device
from rtseg.deploy.export import OnnxGraph, read_onnx
from rtseg.deploy.fixed_size import FixedSize
from rtseg.deploy.fuse import deploy
from rtseg.deploy.overlay import overlay
from rtseg.deploy.result_names import result_names
from rtseg.deploy.rgb import to_rgb
from rtseg.disk import refused
from rtseg.errors import UserError
from rtseg.models.segmenter import Segmenter
from rtseg.output.folders import check_empty, make_folder, write_whole
from rtseg.output.lock import locked_folder
from rtseg.terminal import Console

_ORDER = "where a network is expected: give the network first, then the images"
_GRAPH = "another program's form of a network, without the class names and colours that are needed here: give the "
_NO_NETWORKS = (
    {suffix: f"an image, {_ORDER}" for suffix in IMAGE_SUFFIXES}
    | {suffix: f"a film, {_ORDER}" for suffix in FILM_SUFFIXES}
    | {suffix: f"{_GRAPH}checkpoint, or its .onnx by `rtseg export`" for suffix in (".xml", ".bin", ".engine", ".plan")}
    | {suffix: "a configuration: give the best.ckpt of the training" for suffix in (".yaml", ".yml")}
)
_ALIKE = 20  # first images that fail for one reason: it is the network's


class Predictor:
    """A network that is called with an image and returns its class map.

    Args:
        network: a segmenter, of which a copy is taken, or an exported graph.
        device: where it runs; None takes a GPU where there is one, and for a graph the CPU.

    Attributes:
        card: the network's description, class names among it.
        device: where it runs.
        fixed_size: (height, width) to which a graph's images are resized; None where the network takes any.
        palette: RGB of class 0..K-1; made up where the card has none.
    """

    def __init__(self, network: Segmenter | OnnxGraph, *, device: str | torch.device | None = None) -> None:
        self.card = network.card
        self.fixed_size: tuple[int, int] | None = None
        self.palette = self.card.palette or default_palette(self.card.num_classes)
        if isinstance(network, OnnxGraph):
            graph = FixedSize(network, device)
            self._network: Callable[[Tensor, tuple[int, int]], Tensor] = graph
            self._resize, self.device, self.fixed_size = graph.resize, graph.device, graph.size
        else:
            self.device = choose_device(device)
            self._network = partial(deploy(network).to(self.device), check=True)
            self._resize = partial(resize_for_evaluation, resize=self.card.eval_resize)

    def __call__(self, image: str | Path | Image.Image | np.ndarray) -> np.ndarray:
        """The class of every pixel. The network sees the image at the size at which its data set's evaluation does
        (`card.eval_resize`), an exported graph at its own; the class map has the image's own.

        Args:
            image: a file, a PIL image, or (H, W, 3) uint8 RGB. Any size. Of files and PIL images grey ones become RGB,
                transparency is dropped, 16 bit becomes 8, and an EXIF orientation is applied, as in training: the class
                map belongs to the upright image.

        Returns:
            (H, W) class numbers 0..K-1, uint8 (int16 above 256 classes).

        Raises:
            UserError: no readable image; the network's logits are not finite.
        """
        whole = to_rgb(image)
        resized = np.array(self._resize(whole), order="C")
        with torch.inference_mode():
            size = (whole.shape[0], whole.shape[1])
            return self._network(torch.from_numpy(resized).to(self.device), size).cpu().numpy()

    def to_ids(self, class_map: np.ndarray) -> np.ndarray:
        """Class numbers 0..K-1 -> those of the data set's own label files; uint8, or uint16 where one exceeds 255."""
        ids = self.card.ids or range(self.card.num_classes)
        return np.array(ids, np.uint8 if max(ids) < 256 else np.uint16)[class_map]


def load(path_or_id: str | Path, *, device: str | torch.device | None = None) -> Predictor:
    """A predictor from weights: a `.ckpt` (its moving average, if it has one), a folder with model.safetensors, a
    Hugging Face id, or an `.onnx` file of `rtseg export`, which takes images of its own size alone.

    Raises:
        UserError: see `Segmenter.from_pretrained`, `read_onnx` and `choose_device`.
    """
    suffix = Path(path_or_id).suffix.lower()
    if suffix == ".onnx":
        return Predictor(read_onnx(path_or_id), device=device)
    if suffix in _NO_NETWORKS:
        raise UserError(f"'{path_or_id}' is {_NO_NETWORKS[suffix]}")
    return Predictor(Segmenter.from_pretrained(path_or_id), device=device)


def predict_files(
    predictor: Predictor,
    sources: Sequence[str | Path],
    out_dir: str | Path,
    *,
    overwrite: bool = False,
    alpha: float = 0.5,
    max_pixels: int = 2**26,
) -> dict[Path, str]:
    """Writes for each image `<name>.png`, its class map in the data set's ids, and `<name>_overlay.jpg`, for the eye.

    Names keep the folders below a source; one that the system does not take is shortened by a digest. Whatever goes
    wrong with one image is reported at the end and stops nothing.

    Args:
        sources: images, folders (searched to the bottom) and globs.
        out_dir: made if missing.
        overwrite: write into a folder that is not empty.
        alpha: share of the colour in the overlay, 0..1.
        max_pixels: larger images fail, before they are decoded. RTFormer-Slim takes 55 bytes a pixel: at the default,
            67 million, 3.7 GB.

    Returns:
        The images that failed, with the reason; empty when all went well.

    Raises:
        UserError: a source without images; `out_dir` cannot be written to, or holds something and `overwrite` is
            off, or another command works in it; results would replace a source; `alpha` or `max_pixels` is out of
            range; the first 20 images fail for one reason, which is then not theirs; the disk is full.
    """
    out_dir = Path(out_dir).expanduser()
    check_between("alpha", alpha, 0, 1, "0 is the image alone, 1 the colours alone")
    check_between("--max-pixels", max_pixels, 1, 2**30, "it is width x height; OpenCV decodes no more")
    with locked_folder(out_dir):
        if not overwrite:
            check_empty(out_dir, "give another folder, or --overwrite to replace results in it")
        return _predict_files(predictor, sources, out_dir, alpha, max_pixels)


def _predict_files(
    predictor: Predictor, sources: Sequence[str | Path], out_dir: Path, alpha: float, max_pixels: int
) -> dict[Path, str]:
    names, shortened = result_names([found for source in sources for found in _expand(str(source), out_dir)], out_dir)
    for path, name in names.items():
        for result in (out_dir / f"{name}.png", out_dir / f"{name}_overlay.jpg"):
            if Path(os.path.abspath(result)) in names:
                raise UserError(f"the results of '{path}' would overwrite the image '{result}': give another folder")
    failed: dict[Path, str] = {}
    console = Console(stderr=True)
    if predictor.fixed_size:
        height, width = predictor.fixed_size
        console.print(
            f"images are resized to {height}x{width} (height x width), the only size that this file takes; class maps "
            "have the images' own. Its checkpoint, which takes any size, sees more",
            soft_wrap=True,
        )
    for number, (path, name) in enumerate(track(names.items(), description="predict", console=console), 1):
        try:
            image = read_image(path, max_pixels)
            classes = predictor(image)
            drawn = overlay(image, classes, predictor.palette, alpha)
            _write(out_dir / f"{name}.png", predictor.to_ids(classes))
            _write(out_dir / f"{name}_overlay.jpg", cv2.cvtColor(drawn, cv2.COLOR_RGB2BGR))
        except Exception as error:  # whatever one image does to reader, network or writer
            if _disk_is_full(error):
                raise
            failed[path] = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
            if number == len(failed) == _ALIKE and len(set(failed.values())) == 1:
                raise UserError(f"the first {_ALIKE} images fail for one reason: {failed[path]}") from error
    if shortened:
        many = f" and {len(shortened) - 1} more" if len(shortened) > 1 else ""
        console.print(
            f"names that are too long for results are cut and end in a digest: '{shortened[0]}'{many}", soft_wrap=True
        )
    for path, reason in failed.items():
        named = reason if path.name in reason else f"{path}: {reason}"
        console.print(f"not predicted: {named}", style="red", soft_wrap=True)
    if failed:
        console.print(f"{len(failed)} of {len(names)} images were not predicted", style="red")
    return failed


def _disk_is_full(error: Exception) -> bool:
    """Or read-only: no other image would be written either. A disk's broken place may be that of one image."""
    reason = refused(error)
    return reason is not None and reason.errno != errno.EIO


def _expand(source: str, out_dir: Path) -> list[tuple[Path, Path]]:
    """(root, image) of one source; output names are relative to the root."""
    root, found = find_pictures(source)
    # Results of an earlier run in a folder inside the source are not predicted.
    if Path(source).is_file() or not out_dir.absolute().is_relative_to(root.absolute()):
        return [(root, image) for image in found]
    if out_dir.absolute() != root.absolute():
        found = [image for image in found if not image.absolute().is_relative_to(out_dir.absolute())]
    if not found:
        raise UserError(f"no images in '{source}' but the results of an earlier run in '{out_dir}'")
    return [(root, image) for image in found]


def _write(path: Path, pixels: np.ndarray) -> None:
    """Grey or BGR."""
    encoded, data = cv2.imencode(path.suffix, pixels)
    if not encoded:
        raise UserError(f"'{path}' cannot hold {pixels.shape[1]}x{pixels.shape[0]} pixels (width x height)")
    make_folder(path.parent)
    write_whole(path, data.tobytes())
