"""An exported network: the bytes of its file, and what it says of itself.

B batch, H, W image size, h, w the size of the logits, K classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from rtseg.errors import UserError
from rtseg.models.model_card import ModelCard

Output = Literal["logits", "class_map", "class_map_margin"]
Format = Literal["onnx", "xml", "mnn", "pt2"]  # endings of files
CLASS_TYPES: dict[Format, str] = {"onnx": "int64", "xml": "int64", "mnn": "int32", "pt2": "int64"}  # MNN has no int64
Shape = tuple[int, int, int]  # (B, H, W)
OpenShape = tuple[int | None, int | None, int | None]  # None where any number is taken
OPEN: OpenShape = (None, None, None)


@dataclass(frozen=True)
class Graph:
    """An exported network.

    Attributes:
        model: the file's bytes.
        format: which kind of file.
        beside: the bytes of the file that belongs to it: the .bin of an OpenVINO file.
        precision: what it computes in, "fp32" or "int8".
        card, weights: the network's, by `weights_hash`.
        output: "logits" (B, h, w, K) float32, or "class_map" (B, H, W), plainly upsampled inside of the graph, or
            "class_map_margin", with (B, H, W) float32 behind it: best minus second of the upsampled logits.
        shape: (B, H, W) of the images; None where it takes any number.
        name: for messages.
    """

    model: bytes
    card: ModelCard
    weights: str
    output: Output
    shape: OpenShape
    name: str = "the exported graph"
    format: Format = "onnx"
    beside: bytes = b""
    precision: str = "fp32"

    def check(self, shape: OpenShape, output: Output) -> None:
        """Raises:
        UserError: it takes images of another shape, or puts out something else.
        """
        if not fits(self.shape, shape):
            asked = " ".join(str(side) for side in shape[1:])
            wanted = "--open-size" if None in shape else f"--batch-size {shape[0]} --input-size {asked}"
            raise UserError(
                f"{self.name} takes {written(self.shape)} images (batch x height x width), not {written(shape)}. "
                f"Export the checkpoint again with {wanted}; or use `rtseg predict`, which resizes images of any size "
                "(docs/deploy.md)"
            )
        if output != self.output:
            raise UserError(
                f"{self.name} puts out {self.output}, and {output} is needed: export it from the checkpoint"
            )


def fits(own: OpenShape, asked: Sequence[int | None]) -> bool:
    """Whether what takes images of shape `own` takes those of shape `asked`."""
    return all(mine is None or mine == other for mine, other in zip(own, asked, strict=True))


def written(shape: Sequence[int | None]) -> str:
    """A shape for a message: "1x512x512", "any" where a number is open."""
    return "x".join("any" if side is None else str(side) for side in shape)
