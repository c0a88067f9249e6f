"""Disparities of pairs of image files, as files.

H, W height and width.
"""

from pathlib import Path

import cv2
import numpy as np
import torch
from rich.progress import track

from rtseg.data.files import IMAGE_SUFFIXES, read_image
from rtseg.data.walk import find_files
from rtseg.deploy.device import choose_device
from rtseg.errors import UserError
from rtseg.layers.normalize import Normalize
from rtseg.output.folders import check_empty, make_folder, write_whole
from rtseg.output.lock import locked_folder
from rtseg.paths import check_alike
from rtseg.tasks.stereo.disparity_files import LARGEST, write_disparity_png
from rtseg.tasks.stereo.psmnet import PSMNet
from rtseg.tasks.stereo.weights import load_network
from rtseg.terminal import Console, counted


class StereoPredictor:
    """A pair of images -> the disparity of each pixel of the left one.

    Args:
        source: a .ckpt of `rtseg stereo fit`, or a folder with model.safetensors.
        device: None takes a GPU where there is one.

    Raises:
        UserError: see `load_network`.
    """

    def __init__(self, source: str | Path, device: str | None = None) -> None:
        self.device = choose_device(device)
        network, self.card = load_network(source)
        self.network: PSMNet = network.to(self.device)
        self.normalize = Normalize(self.card.mean, self.card.std).to(self.device)

    @torch.inference_mode()
    def __call__(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        """(H, W, 3) uint8 RGB each -> (H, W) float32 in pixels.

        Raises:
            UserError: the images differ in size, or an inserted attention needs more memory than there is.
        """
        if left.shape != right.shape:
            raise UserError(
                f"the left image is {left.shape[0]}x{left.shape[1]} (height x width), the right one "
                f"{right.shape[0]}x{right.shape[1]}: give a rectified pair of one size"
            )
        images = (torch.from_numpy(image).to(self.device).permute(2, 0, 1)[None] for image in (left, right))
        disparity: np.ndarray = self.network(*map(self.normalize, images))[0].float().cpu().numpy()
        return disparity


def find_image_pairs(left: Path, right: Path) -> list[tuple[Path, Path]]:
    """The files of two folders that have equal names, or two files as they are.

    Raises:
        UserError: a left image without right one, no image, or a folder and a file.
    """
    check_alike(left, right)
    if not left.is_dir():
        return [(left, right)]
    lefts = find_files(left, IMAGE_SUFFIXES)
    if not lefts:
        raise UserError(f"no images in '{left}': looked for {', '.join(IMAGE_SUFFIXES)}")
    lost = [path for path in lefts if not (right / path.name).is_file()]
    if lost:
        raise UserError(
            f"{lost[0]} has no right image ({len(lost)} of {len(lefts)}); looked for {right / lost[0].name}"
        )
    stems: dict[str, Path] = {}
    for path in lefts:
        if stems.setdefault(path.stem, path) is not path:
            raise UserError(f"{stems[path.stem]} and {path} would both become {path.stem}.png; rename one")
    return [(path, right / path.name) for path in lefts]


def _result_names(left: Path) -> tuple[str, str]:
    """File names of the disparities, and of those in colour."""
    return f"{left.stem}.png", f"{left.stem}_colour.png"


def coloured(disparity: np.ndarray, largest: float) -> np.ndarray:
    """(H, W) -> (H, W, 3) uint8 BGR: 0 is dark blue, `largest` dark red."""
    levels = np.clip(255 * disparity / max(largest, 1e-6), 0, 255).astype(np.uint8)
    return np.asarray(cv2.applyColorMap(levels, cv2.COLORMAP_TURBO))


def predict_files(
    source: str, left: Path, right: Path, output: Path, *, device: str | None = None, overwrite: bool = False
) -> str:
    """Writes NAME.png (16 bits, 1/256 pixel) and NAME_colour.png for each pair; returns what was done, a sentence.

    The colours of a pair reach to its own largest disparity.

    Raises:
        UserError: see `StereoPredictor` and `find_image_pairs`; an image cannot be read, or the results not be written.
    """
    pairs = find_image_pairs(left, right)
    output = output.expanduser()
    read = {path.resolve() for pair in pairs for path in pair}
    for one, _ in pairs:
        if over := read & {(output / name).resolve() for name in _result_names(one)}:
            raise UserError(f"the results of '{one}' would overwrite the image '{over.pop()}': give another folder")
    with locked_folder(output):
        if not overwrite:
            check_empty(output, "give another folder, or --overwrite to replace results in it")
        predictor = StereoPredictor(source, device)
        make_folder(output)
        cut = 0
        for one, other in track(pairs, "predicting", console=Console(stderr=True), disable=len(pairs) == 1):
            try:
                disparity = predictor(read_image(one), read_image(other))
            except UserError as error:
                raise UserError(f"{one}: {error}" if str(one) not in str(error) else str(error)) from None
            values, colour = (output / name for name in _result_names(one))
            write_disparity_png(values, disparity)
            cut += int((disparity > LARGEST).sum())
            _, colours = cv2.imencode(".png", coloured(disparity, float(disparity.max())))
            write_whole(colour, colours.tobytes())
    number = len(pairs)
    done = f"{output}: disparities of {counted(number, 'pair')} (NAME.png, 1/256 pixel), and in colour"
    return done + f". {cut:,} pixels are larger than the {LARGEST:.1f} that a PNG can hold, and have that" * bool(cut)
