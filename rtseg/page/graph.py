"""The network as a file for onnxruntime-web: grey levels as float32 in, logits at the network's own stride out.

K classes, h, w the size of the logits.
"""

from pathlib import Path
from typing import NamedTuple

import torch

from rtseg.deploy.class_map import class_map
from rtseg.deploy.exports.onnx_file import onnx_model
from rtseg.deploy.exports.program import INPUT, OUTPUTS, trace
from rtseg.deploy.exports.proof import LEAST_EQUAL_PERCENT, Proof
from rtseg.deploy.exports.proving import prove
from rtseg.deploy.exports.read import FORMATS, read_proven
from rtseg.deploy.graph import OpenShape
from rtseg.errors import UserError, first_line, require
from rtseg.models.model_card import ModelCard
from rtseg.models.segmenter import Segmenter

OUTPUT = OUTPUTS["logits"][0]


class PageGraph(NamedTuple):
    """A network for the page.

    Attributes:
        model: an ONNX file's bytes: (1, H, W, 3) images -> (1, h, w, K) float32 logits.
        card: the network's.
        size: (H, W) of the images; None where it takes any.
        dtype: of the images, "float32" or "uint8", 0 to 255.
        proof: an image and its class map.
    """

    model: bytes
    card: ModelCard
    size: tuple[int, int] | None
    dtype: str
    proof: Proof


def page_graph(source: str, size: tuple[int, int] | None) -> PageGraph:
    """A network's graph, which gives the class maps of plain PyTorch in ONNX Runtime here.

    Args:
        source: what `Segmenter.from_pretrained` takes, or an .onnx file of `rtseg export`.
        size: (H, W) to which the page resizes each image; None for any, as `rtseg predict` does.

    Raises:
        UserError: see `Segmenter.from_pretrained`, `read_proven` and `trace`; the network takes other images than RGB
            of 8 bits; a file that the page cannot use; ONNX Runtime is missing, or gives another class map.
    """
    require("onnxruntime", "onnx")
    graph = _exported(Path(source), size) if Path(source).suffix.lower() in FORMATS else _built(source, size)
    _check(graph)
    return graph


def _built(source: str, size: tuple[int, int] | None) -> PageGraph:
    segmenter = Segmenter.from_pretrained(source)
    _check_channels(segmenter.card)
    shape: OpenShape = (1, *(size or (None, None)))
    proto = onnx_model(trace(segmenter, shape, "logits", floats=True), shape, "logits")
    model = proto.SerializeToString(deterministic=True)
    return PageGraph(model, segmenter.card, size, "float32", prove(segmenter, shape))


def _exported(file: Path, size: tuple[int, int] | None) -> PageGraph:
    graph, proof = read_proven(file)
    _check_channels(graph.card)
    fits = graph.format == "onnx" and graph.output == "logits" and graph.precision == "fp32"
    if not fits or graph.shape[0] not in (1, None):
        raise UserError(
            f"'{file}' is .{graph.format}, {graph.output}, {graph.precision}; the page takes .onnx files of logits in "
            "float32, for one image or any number: give the checkpoint"
        )
    if proof is None:
        raise UserError(f"'{file}' has no proof, since an older rtseg exported it: give the checkpoint")
    _, height, width = graph.shape
    own = (height, width) if height and width else None
    if size is not None and own not in (None, size):
        raise UserError(
            f"'{file}' takes images of {height}x{width} (height x width): leave --size out, or give the checkpoint"
        )
    if own is None and (height or width):
        raise UserError(f"'{file}' leaves one side of its images open: give the checkpoint")
    return PageGraph(graph.model, graph.card, own or size, "uint8", proof)


def _check_channels(card: ModelCard) -> None:
    if card.channels is not None:
        raise UserError(
            f"this network takes images of {card.channels} channels, and browsers read RGB of 8 bits: use "
            "`rtseg predict`"
        )


def _check(graph: PageGraph) -> None:
    """Raises: UserError where ONNX Runtime on this machine does not give the proof's class map."""
    onnxruntime = require("onnxruntime", "onnx")
    image = graph.proof.image[None]
    try:
        session = onnxruntime.InferenceSession(graph.model, providers=["CPUExecutionProvider"])
        (logits,) = session.run([OUTPUT], {INPUT: image.astype(graph.dtype)})
    except Exception as error:  # ONNX Runtime's own classes, one for every kind of failure
        raise UserError(f"ONNX Runtime cannot run the page's network: {first_line(error)}") from None
    height, width = graph.proof.class_map.shape
    found = class_map(torch.from_numpy(logits).permute(0, 3, 1, 2), (height, width))[0].numpy()
    percent = graph.proof.equal_percent(found)
    if percent < LEAST_EQUAL_PERCENT["onnx"]:
        raise UserError(
            f"the page's network differs from PyTorch: {percent:.3f} % of the pixels are equal. Nothing was written; "
            "please report this network and its options"
        )
