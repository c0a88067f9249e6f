"""A network in 8 bits that may lose what its user allows, for OpenVINO or for ONNX Runtime.

mIoU is counted on validation images, ranges of the feature maps are taken from training images. Layers that hurt stay
in float. What holds is compared with float32, and with bfloat16 where the engine has it.

H, W size of the images that the graph takes, K classes.
"""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from rtseg.checks import check_between, check_whole
from rtseg.data import create_dataset
from rtseg.data.dataset import SegmentationDataset
from rtseg.deploy.class_map import class_map
from rtseg.deploy.engines.precision import INT8
from rtseg.deploy.exports.description import Description
from rtseg.deploy.exports.int8_onnx import quantize_onnx
from rtseg.deploy.exports.int8_openvino import quantize_openvino
from rtseg.deploy.exports.onnx_file import onnx_model
from rtseg.deploy.exports.program import trace
from rtseg.deploy.exports.proof import Proof
from rtseg.deploy.exports.proving import prove
from rtseg.deploy.exports.scores import Images, Quantized, Scored, check_worth, score, scores_table
from rtseg.deploy.graph import OPEN, Format, Graph, OpenShape
from rtseg.errors import UserError
from rtseg.models.model_card import ModelCard
from rtseg.models.network import Network
from rtseg.models.weights import weights_hash
from rtseg.output.table import show
from rtseg.registry import UnknownNameError
from rtseg.terminal import say

QUANTIZERS: Mapping[Format, Callable[[bytes, Images, Images, float], Quantized]] = {
    "onnx": quantize_onnx,
    "xml": quantize_openvino,
}
_SPARE = 1.0  # per cent of the pixels that another processor may round otherwise than this one


@dataclass(frozen=True)
class Int8:
    """What is asked for, by the options of `rtseg export`.

    Attributes:
        data: folder of a data set.
        dataset: its kind; None takes that of the network.
        max_drop: points of mIoU that may be lost, where mIoU goes to 100.
        max_images: training images, and validation images, at most.
    """

    data: Path
    dataset: str | None = None
    max_drop: float = 0.5
    max_images: int = 100

    def __post_init__(self) -> None:
        check_between("--max-drop", self.max_drop, 0, 100)
        check_whole("--max-images", self.max_images, 1)


def export_int8(
    network: Network, shape: OpenShape, format: Format, asked: Int8, image: Path | None = None
) -> tuple[Graph, Proof]:
    """A network's graph in 8 bits, which loses no more mIoU than allowed and is faster than in float.

    What was measured is shown, whether it holds or not. The tolerance of its proof is what it reaches here, less a per
    cent.

    Args:
        shape: (1, H, W) of the images; open sizes for "onnx" alone, which then sees images at their own sizes.
        format: one of `QUANTIZERS`.
        image: to prove it with; a street is drawn otherwise.

    Raises:
        NotWorthError: nothing in 8 bits that holds is faster.
        UserError: another shape; the data set is not the network's; a library is missing.
    """
    if network.card.channels is not None:
        raise UserError("--int8 is for networks of RGB images so far: leave it out for this one of other channels")
    batch, height, width = shape
    size = None if height is None or width is None else (height, width)
    if shape != OPEN and (batch != 1 or size is None):
        raise UserError("a file in 8 bits takes one image (leave --batch-size out), or with --open-size any number")
    if size is None and format == "xml":
        # On processors with AMX such a file ends the process (OpenVINO 2026).
        raise UserError("OpenVINO's 8 bits take one size: give --input-size, or export .onnx with --open-size")
    training, validation = (Images(part, asked.max_images, size) for part in data_of(network.card, asked))
    traced = trace(network, shape, "logits")
    model = onnx_model(traced, shape, "logits").SerializeToString()
    quantized, _ = quantize(format, model, training, validation, asked.max_drop)
    run = next(run for name, run in quantized.runs.items() if name.startswith("int8"))

    def least(pixels: np.ndarray, classes: np.ndarray) -> float:
        logits = torch.from_numpy(run(pixels[None])).permute(0, 3, 1, 2)
        equal = 100 * (class_map(logits, classes.shape)[0].numpy() == classes).mean()
        return max(0.1, math.floor(10 * (float(equal) - _SPARE)) / 10)

    proof = prove(network, shape, image, least, most_error=INT8.most_logits_error)
    weights = weights_hash(network)
    content, beside = quantized.content(
        Description(network.card, weights, "logits", shape, traced.stride, "int8", proof)
    )
    graph = Graph(content, network.card, weights, "logits", shape, format=format, beside=beside, precision="int8")
    return graph, proof


def quantize(
    format: Format, model: bytes, training: Images, validation: Images, max_drop: float
) -> tuple[Quantized, list[Scored]]:
    """An ONNX graph in 8 bits for one of `QUANTIZERS`, and the scores, which are shown.

    Args:
        model: takes the two's images, (1, H, W, 3) uint8, gives (1, h, w, K) logits.
        max_drop: see `Int8`.

    Raises:
        NotWorthError: see `check_worth`.
    """
    say(
        f"int8: ranges from {len(training.indices)} training images, mIoU on {len(validation.indices)} validation "
        "images. This takes a minute, and several more if layers must return to float"
    )
    begin = time.perf_counter()
    quantized = QUANTIZERS[format](model, training, validation, max_drop)
    say(f"int8: quantised in {time.perf_counter() - begin:.0f} s; in float are {quantized.in_float}")
    scores = score(quantized.runs, validation)
    show(scores_table(scores, len(validation.indices), quantized.engine))
    best = check_worth(scores, max_drop)
    say(f"int8: the fastest that holds is '{best.precision}'; {quantized.how}")
    return quantized, scores


def data_of(card: ModelCard, asked: Int8) -> tuple[SegmentationDataset, SegmentationDataset]:
    """Training and validation images of the network's data set.

    Raises:
        UserError: no such data set there, or of other classes than the network's.
    """
    name = asked.dataset or card.dataset
    if name is None:
        raise UserError("the network does not say which data set it was trained on: give its kind with --dataset")
    try:
        parts = create_dataset(name, asked.data, "train"), create_dataset(name, asked.data, "val")
    except UnknownNameError as error:
        raise UnknownNameError(f"{error.unknown} (--dataset)", error.known) from None
    classes = len(parts[1].labels.names)
    if classes != card.num_classes:
        raise UserError(
            f"'{name}' has {classes} classes and the network {card.num_classes}: give the data set that it was trained "
            "on, with --data and --dataset"
        )
    return parts
