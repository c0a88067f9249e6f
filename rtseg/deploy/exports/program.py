"""A network as PyTorch's exported program: uint8 images in, logits or class maps out, sizes fixed or open.

B batch, H, W image size, h, w the size of the logits, K classes. With `card.channels` images are
float32 grey levels of so many channels.
"""

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.export import ExportedProgram

from rtseg.deploy.fuse import DeployedSegmenter, deploy
from rtseg.deploy.graph import OpenShape, Output
from rtseg.deploy.pixels import example_input
from rtseg.errors import UserError
from rtseg.models.network import Network

INPUT = "pictures"  # the input's name in every file that was ever written
OUTPUTS: dict[Output, tuple[str, ...]] = {
    "logits": ("logits",),
    "class_map": ("class_map",),
    "class_map_margin": ("class_map", "margin"),
}
_EXAMPLE = (2, 192, 256)  # where a size is open; no two are equal, or the exporter takes them for one


def output_named(name: str) -> Output:
    """Raises: UserError where a graph cannot put this out."""
    for output in OUTPUTS:
        if output == name:
            return output
    raise UserError(f"--result {name}: choose {', '.join(OUTPUTS)}")


class _Logits(nn.Module):
    """(B, H, W, 3) uint8 -> (B, h, w, K): the classes of a position side by side, as `class_map` wants them."""

    def __init__(self, network: DeployedSegmenter) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Any:
        return self.network.logits(self.network.prepare(images)).permute(0, 2, 3, 1)

    def upsampled(self, images: Tensor) -> Tensor:
        """-> (B, K, H, W)."""
        logits = self.network.logits(self.network.prepare(images))
        return F.interpolate(logits, size=images.shape[1:3], mode="bilinear", align_corners=False)


class _ClassMap(_Logits):
    """(B, H, W, 3) uint8 -> (B, H, W) int64."""

    def forward(self, images: Tensor) -> Any:
        return self.upsampled(images).argmax(1)


class _ClassMapMargin(_Logits):
    """(B, H, W, 3) uint8 -> class map (B, H, W) int64, and best minus second logit (B, H, W) float32."""

    def forward(self, images: Tensor) -> Any:
        logits = self.upsampled(images)
        best, second = logits.topk(2, dim=1).values.unbind(1)
        return logits.argmax(1), best - second


_MODULES = {"logits": _Logits, "class_map": _ClassMap, "class_map_margin": _ClassMapMargin}


@dataclass(frozen=True)
class Traced:
    """A network's program.

    Attributes:
        program: it says nothing of where its code comes from: no path of this machine, equal bytes on every machine.
        images: (B, H, W, 3) uint8 or float32, with which it was traced.
        stride: side of the image's square that a position of the logits stands for; None where it is no one number.
    """

    program: ExportedProgram
    images: Tensor
    stride: int | None


def trace(network: Network, shape: OpenShape, output: Output, *, floats: bool = False) -> Traced:
    """The program of a network in float32, BatchNorm folded.

    Args:
        shape: (B, H, W) of the images; any number is taken where it is None.
        floats: take grey levels as float32 where engines give uint8, which browsers' GPUs do not have.

    Raises:
        UserError: a size that the network does not take, or a margin of a single class.
    """
    if output == "class_map_margin" and network.card.num_classes < 2:
        raise UserError(
            "a margin is the lead over the second class, and this network has one class: export the class map"
        )
    deployed = deploy(network, memory_format=torch.contiguous_format).float().cpu()
    module = _MODULES[output](deployed).eval()
    example = tuple(side or usual for side, usual in zip(shape, _EXAMPLE, strict=True))
    images = example_input(network.card, example)
    images = images.float() if floats else images
    with torch.inference_mode():
        # A size that the network does not take is refused here, in its own words.
        logits = deployed.logits(deployed.prepare(images))
    opened = {axis: torch.export.Dim.DYNAMIC for axis, side in enumerate(shape) if side is None}
    # Sizes of one position then get no branch of their own, which would be refused later.
    oblivious = torch.fx.experimental._config.patch(backed_size_oblivious=True)  # type: ignore[attr-defined]
    with quiet(), oblivious:
        program = torch.export.export(module, (images,), dynamic_shapes=(opened,))
    for part in program.graph_module.modules():
        for node in part.graph.nodes if isinstance(part, torch.fx.GraphModule) else ():
            node.meta = {key: value for key, value in node.meta.items() if key in ("val", "tensor_meta")}
    return Traced(program, images, _stride(images.shape[1:3], logits.shape[2:]))


def _stride(size: Sequence[int], of_logits: Sequence[int]) -> int | None:
    stride = round(size[0] / of_logits[0])
    return stride if [-(-side // stride) for side in size] == list(of_logits) else None


@contextmanager
def quiet() -> Iterator[None]:
    """Without PyTorch's loggers, which print whole graphs; what fails is raised."""
    disabled = logging.root.manager.disable
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.CRITICAL)
        try:
            yield
        finally:
            logging.disable(disabled)
