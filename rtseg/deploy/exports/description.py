"""What an exported file says of itself: one JSON text under the key "rtseg", the same in every format.

docs/run-it-elsewhere.md has the contract for programs without rtseg.
"""

import json
from dataclasses import dataclass
from typing import Any, Self

from rtseg.deploy.exports.program import INPUT, OUTPUTS, output_named
from rtseg.deploy.exports.proof import Proof
from rtseg.deploy.graph import OpenShape, Output
from rtseg.errors import UserError
from rtseg.models.model_card import ModelCard
from rtseg.version import VERSION

KEY = "rtseg"
FORMAT = 3  # 2 had no samples in the proof; 1 had neither this number nor a proof
_DESCRIBED = {
    "logits": {"layout": "NHWC", "dtype": "float32", "meaning": "logits of all classes, at the stride"},
    "class_map": {"layout": "NHW", "dtype": "int64", "meaning": "class numbers 0 to K-1"},
    "margin": {"layout": "NHW", "dtype": "float32", "meaning": "best minus second logit"},
}

_UPSAMPLED_TO = {"once": "the image", "twice": "the size that the file sees, then the size of the image"}


@dataclass(frozen=True)
class Description:
    """What is said.

    Attributes:
        card, weights: the network's, by `weights_hash`.
        output, shape: see `Graph`.
        stride: side of the image's square that one position of the logits stands for; None where it is no one number.
        precision: what it computes in.
        proof: None for a graph that is not written to a file.
    """

    card: ModelCard
    weights: str
    output: Output
    shape: OpenShape
    stride: int | None
    precision: str = "fp32"
    proof: Proof | None = None

    def text(self, digest: str, class_map: str = "int64") -> str:
        """As it stands in a file.

        Args:
            digest: what stands under that key.
            class_map: type of its numbers, which the format decides.
        """
        outputs = {**_DESCRIBED, "class_map": {**_DESCRIBED["class_map"], "dtype": class_map}}
        entries = {
            "format": FORMAT,
            "digest": digest,
            "rtseg": VERSION,
            "weights": self.weights,
            "precision": self.precision,
            "output": self.output,
            "shape": self.shape,
            "input": {
                "name": INPUT, "layout": "NHWC", **_values(self.card),
                "orientation": "upright: apply the EXIF orientation first",
                "size": "any" if None in self.shape[1:] else "fixed",
                "resize": self.card.eval_resize,
            },
            "outputs": [{"name": name, **outputs[name]} for name in OUTPUTS[self.output]],
            "upsampling": {
                "stride": self.stride, "to": _UPSAMPLED_TO[self.card.upsampling],
                "mode": "bilinear", "align_corners": False,
                "then": "argmax over the classes, the first of equals",
            },
            "card": self.card.to_dict(),
            "proof": self.proof and self.proof.to_dict(),
        }  # fmt: skip
        return json.dumps(entries)

    @classmethod
    def read(cls, entries: Any, name: str) -> Self:
        """The inverse of `text`.

        Args:
            entries: the text as JSON.
            name: of the file, for errors.

        Raises:
            UserError: it is damaged, or of a newer version.
        """
        try:
            number = entries["format"]
            if isinstance(number, int) and number > FORMAT:
                raise NewerError(
                    f"{name} was exported by a newer rtseg (format {number}; this one reads up to {FORMAT}): "
                    "pip install --upgrade rtseg, or export the checkpoint again with this one"
                )
            if number >= 3 and entries["proof"] and "samples" not in entries["proof"]:
                raise ValueError("its proof has no samples")
            batch, height, width = map(_side, entries["shape"])
            return cls(
                ModelCard.from_dict(entries["card"]),
                str(entries["weights"]),
                output_named(entries["output"]),
                (batch, height, width),
                _side(entries["upsampling"]["stride"]),
                str(entries["precision"]),
                entries["proof"] and Proof.from_dict(entries["proof"]),
            )
        except NewerError:
            raise
        except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
            raise UserError(f"{name}: its description of the network is damaged ({error!r}): export it again") from None


def _values(card: ModelCard) -> dict[str, Any]:
    """What one number of the input is."""
    if card.channels is None:
        return {"colours": "RGB", "dtype": "uint8", "range": [0, 255]}
    levels = "8 bits as they are, 16 bits / 257, floats x 255"
    return {"channels": card.channels, "dtype": "float32", "range": [0, 255], "levels": levels}


class NewerError(UserError):
    """A file of a newer version, of which nothing else is said."""


def _side(value: Any) -> int | None:
    if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
        raise ValueError(f"{value!r} is no size")
    return value
