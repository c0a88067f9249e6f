"""The size of an export's images where nobody gave one."""

from rtseg.deploy.graph import OpenShape
from rtseg.models.model_card import ModelCard
from rtseg.terminal import say

_USUAL = (512, 512)  # of a network whose card has no size


def shape_for(asked: OpenShape | int, card: ModelCard) -> OpenShape:
    """(B, H, W) of the images, each None where it is open.

    Args:
        asked: the shape; or B alone, and then the size that the network was trained at is taken, which is said.
    """
    if not isinstance(asked, int):
        return asked
    height, width = card.input_size or _USUAL
    why = (
        "the size that the network was trained at" if card.input_size else "since its card has no size of the training"
    )
    say(f"Images of {height}x{width} (height x width), {why}; --input-size takes another, --open-size any")
    return asked, height, width
