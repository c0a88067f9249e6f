"""A network in 8 bits that may lose what its user allows: OpenVINO's graph, quantised by NNCF with accuracy control.

mIoU is counted on validation images, ranges of the feature maps are taken from training images. Layers that hurt stay
in float. What holds is compared with float32, and with bfloat16 where the processor has it.

H, W size of the images that the graph takes, K classes.
"""

import contextlib
import importlib
import logging
import math
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rtseg.checks import check_between, check_whole
from rtseg.data import create_dataset
from rtseg.data.dataset import SegmentationDataset
from rtseg.deploy.class_map import class_map
from rtseg.deploy.engines.precision import INT8
from rtseg.deploy.exports.description import Description
from rtseg.deploy.exports.onnx_file import onnx_model
from rtseg.deploy.exports.openvino_file import save_openvino
from rtseg.deploy.exports.program import trace
from rtseg.deploy.exports.proof import Proof
from rtseg.deploy.exports.proving import prove
from rtseg.deploy.exports.scores import Images, Scored, check_worth, compile_at, miou_of, score, scores_table
from rtseg.deploy.exports.seal import BLANK, seal
from rtseg.deploy.graph import Graph, OpenShape
from rtseg.deploy.openvino_core import core
from rtseg.errors import UserError, require
from rtseg.models.model_card import ModelCard
from rtseg.models.network import Network
from rtseg.models.weights import weights_hash
from rtseg.output.table import show
from rtseg.terminal import say

_RANKED_WITH = 8  # validation images on which the layers are ranked, those that lost most
_MOST_LAYERS = 20  # that return to float, before it is given up
_SPARE = 1.0  # per cent of the pixels that another processor may round otherwise than this one
_QUANTISED = ("Convolution", "GroupConvolution", "MatMul")


@dataclass(frozen=True)
class Int8:
    """What is asked for.

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
        check_between("max_drop", self.max_drop, 0, 100)
        check_whole("max_images", self.max_images, 1)


def export_int8(network: Network, shape: OpenShape, asked: Int8, image: Path | None = None) -> tuple[Graph, Proof]:
    """OpenVINO's graph of a network in 8 bits, which loses no more mIoU than allowed and is faster than in float.

    What was measured is shown, whether it holds or not. The tolerance of its proof is what it reaches here, less a per
    cent.

    Args:
        shape: (1, H, W) of the images.
        image: to prove it with; a street is drawn otherwise.

    Raises:
        NotWorthError: nothing in 8 bits that holds is faster.
        UserError: another shape; the data set is not the network's; OpenVINO or NNCF is missing.
    """
    batch, height, width = shape
    if batch != 1 or height is None or width is None:
        # With open sizes OpenVINO's 8 bits end the process on processors with AMX (OpenVINO 2026).
        raise UserError("a file in 8 bits takes one image of one size: give --input-size, and no --open-size or batch")
    for library in ("openvino", "nncf"):
        require(library, "openvino")
    training, validation = (Images(part, asked.max_images, (height, width)) for part in data_of(network.card, asked))
    traced = trace(network, shape, "logits")
    model = core().read_model(onnx_model(traced, shape, "logits").SerializeToString(), b"")
    quantized, scores = quantize(model, training, validation, asked.max_drop)
    best = check_worth(scores, asked.max_drop)
    say(
        f"int8: the fastest that holds is '{best.precision}'; `openvino` runs the rest in fp32, `openvino:bf16` in bf16"
    )
    request = compile_at(quantized, "f32").create_infer_request()

    def least(pixels: np.ndarray, classes: np.ndarray) -> float:
        logits = torch.from_numpy(request.infer([pixels[None]])[0]).permute(0, 3, 1, 2)
        equal = 100 * (class_map(logits, (height, width))[0].numpy() == classes).mean()
        return max(0.1, math.floor(10 * (float(equal) - _SPARE)) / 10)

    proof = prove(network, shape, image, least, most_error=INT8.most_logits_error)
    weights = weights_hash(network)
    description = Description(network.card, weights, "logits", shape, traced.stride, "int8", proof)
    xml, beside = save_openvino(quantized, description.text(BLANK))
    return Graph(seal(xml, beside), network.card, weights, "logits", shape, format="xml", beside=beside), proof


def quantize(model: Any, training: Images, validation: Images, max_drop: float) -> tuple[Any, list[Scored]]:
    """An `openvino.Model` with the layers in 8 bits that can be, as far as the mIoU allows, and the scores of both.

    Args:
        model: takes images of the two's size, (1, H, W, 3) uint8, gives (1, h, w, K) logits.
        max_drop: see `Int8`.
    """
    nncf = importlib.import_module("nncf")
    num_classes = len(validation.dataset.labels.names)
    say(
        f"int8: ranges from {len(training.indices)} training images, mIoU on {len(validation.indices)} validation "
        "images. This takes a minute, and several more if layers must return to float"
    )
    begin = time.perf_counter()
    with _quiet(nncf):
        quantized = nncf.quantize_with_accuracy_control(
            model,
            nncf.Dataset(training.indices, training.image),
            nncf.Dataset(validation.indices, validation.image),
            lambda compiled, indices: miou_of(validation, compiled, indices, num_classes),
            max_drop=max_drop / 100,
            subset_size=len(training.indices),
            target_device=nncf.TargetDevice.CPU,
            advanced_accuracy_restorer_parameters=nncf.AdvancedAccuracyRestorerParameters(
                max_num_iterations=_MOST_LAYERS, ranking_subset_size=_RANKED_WITH, num_ranking_workers=1
            ),
        )
    say(f"int8: quantised in {time.perf_counter() - begin:.0f} s; {_in_float(quantized)}")
    scores = score(model, quantized, validation, num_classes)
    show(scores_table(scores, len(validation.indices)))
    return quantized, scores


def data_of(card: ModelCard, asked: Int8) -> tuple[SegmentationDataset, SegmentationDataset]:
    """Training and validation images of the network's data set.

    Raises:
        UserError: no such data set there, or of other classes than the network's.
    """
    name = asked.dataset or card.dataset
    if name is None:
        raise UserError("the network does not say which data set it was trained on: give its kind with --dataset")
    parts = create_dataset(name, asked.data, "train"), create_dataset(name, asked.data, "val")
    classes = len(parts[1].labels.names)
    if classes != card.num_classes:
        raise UserError(
            f"'{name}' has {classes} classes and the network {card.num_classes}: give the data set that it was trained "
            "on, with --data and --dataset"
        )
    return parts


def _in_float(model: Any) -> str:
    """How many of the layers that could be in 8 bits are not."""
    layers = [layer for layer in model.get_ops() if layer.get_type_name() in _QUANTISED]
    left = [layer for layer in layers if _source(layer) != "FakeQuantize"]
    return f"{len(left)} of {len(layers)} convolutions and matrix products are in float"


def _source(layer: Any) -> str:
    return str(layer.input_value(0).get_node().get_type_name())


@contextlib.contextmanager
def _quiet(nncf: Any) -> Iterator[None]:
    """Without NNCF's messages; its bars go to stderr, since stdout is for results."""
    nncf.set_log_level(logging.ERROR)
    with contextlib.redirect_stdout(sys.stderr):
        yield
