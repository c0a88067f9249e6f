"""Weights of a network for RGB in one for another number of channels: the first convolution is adapted.

timm's rule (`timm.models.adapt_input_conv`). One channel gets the sum of the three colours' weights, so that a grey
image gives what the RGB network made of it in three equal channels. Several channels get the colours' weights in turn
(red, green, blue, red, ...), times 3 / C, so that the sum over channels keeps its size.
"""

from collections.abc import Mapping

from torch import Tensor

from rtseg.models.backbone import Backbone


def adapt_weights(
    state: Mapping[str, Tensor], backbone: Backbone, channels: int
) -> tuple[dict[str, Tensor], list[str]]:
    """A state dict of an RGB network for images of so many channels.

    Args:
        state: the backbone's entries begin with "backbone.".
        backbone: of the network that takes the weights.

    Returns:
        The state dict, and a line that says what was adapted; no line where nothing was.
    """
    found, adapted = dict(state), []
    for name, own in backbone.state_dict().items():
        key = f"backbone.{name}"
        theirs = found.get(key)
        if channels == 3 or theirs is None or own.ndim != 4 or theirs.ndim != 4:
            continue
        rest = own.shape[:1] + own.shape[2:]
        if (own.shape[1], theirs.shape[1]) == (channels, 3) and theirs.shape[:1] + theirs.shape[2:] == rest:
            from timm.models import adapt_input_conv  # timm takes as long to import as torch

            found[key] = adapt_input_conv(channels, theirs)
            adapted.append(key)
    rule = "the sum of the colours" if channels == 1 else f"the colours in turn, times 3/{channels}"
    return found, [f"Adapted from RGB to {channels} channels, {rule}: {', '.join(adapted)}."] * bool(adapted)
