"""Precisions of engines, and how far the results of each may be from float32's before a row of figures is refused."""

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Precision:
    """What an engine computes in.

    Attributes:
        dtype: PyTorch's type of it; None where PyTorch has no products in it.
        least_equal_percent: of a trained network's pixels, how many must have the class that plain float32 gives them.
        most_logits_error: of an untrained network: the largest root mean square difference of its logits, over the
            standard deviation of the reference's logits.
        calibrated: whether its ranges are taken from images.
    """

    name: str
    dtype: torch.dtype | None
    least_equal_percent: float
    most_logits_error: float
    calibrated: bool = False


# float32 in another order may move a pixel between two classes that are equal but for rounding; 8 and 16 bits move more
FP32 = Precision("fp32", torch.float32, least_equal_percent=99.99, most_logits_error=1e-3)
BF16 = Precision("bf16", torch.bfloat16, least_equal_percent=99.5, most_logits_error=0.1)
FP16 = Precision("fp16", torch.float16, least_equal_percent=99.5, most_logits_error=0.1)
INT8 = Precision("int8", None, least_equal_percent=99.0, most_logits_error=0.5, calibrated=True)


def by_name(*offered: Precision) -> dict[str, Precision]:
    """By name, as an engine declares them."""
    return {precision.name: precision for precision in offered}
