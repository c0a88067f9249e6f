"""The deployed form of a segmenter: uint8 picture in, class map out, one module.

Inside: normalisation, the network without its auxiliary head in eval mode, upsampling to the picture's size, argmax.
BatchNorm stays as it was trained; nothing is folded.
"""

import copy

import torch
from torch import Tensor, nn

from rtseg.deploy.class_map import class_map
from rtseg.errors import UserError
from rtseg.layers.normalize import Normalize
from rtseg.models.segmenter import Segmenter


class DeployedSegmenter(nn.Module):
    """What `deploy` returns.

    Attributes:
        normalize: (B, 3, H, W) uint8 -> normalised float.
        segmenter: the network; `segmenter.logits` takes what `prepare` returns.
    """

    def __init__(self, segmenter: Segmenter, memory_format: torch.memory_format) -> None:
        super().__init__()
        self.normalize = Normalize(segmenter.card.mean, segmenter.card.std)
        self.segmenter = segmenter
        self.memory_format = memory_format

    def prepare(self, image: Tensor) -> Tensor:
        """(B, H, W, 3) uint8 -> (B, 3, H, W) normalised, in the network's precision and memory format."""
        # The permuted picture has the strides of channels_last already.
        x = self.normalize(image.permute(0, 3, 1, 2)).contiguous(memory_format=self.memory_format)
        return x.to(next(self.segmenter.parameters()).dtype)

    def forward(self, image: Tensor) -> Tensor:
        """Class map of one picture or of several of one size.

        Args:
            image: (H, W, 3) or (B, H, W, 3) uint8 RGB, on the module's device.

        Returns:
            (H, W) or (B, H, W) class numbers 0..K-1; uint8 for up to 256 classes, int16 above.

        Raises:
            UserError: another type or shape.
        """
        if image.dtype != torch.uint8 or image.ndim not in (3, 4) or image.shape[-1] != 3 or 0 in image.shape:
            raise UserError(
                f"a deployed network takes uint8 RGB pictures of shape (H, W, 3) or (B, H, W, 3), not {image.dtype} of "
                f"shape {tuple(image.shape)}. Put channels last; leave grey levels at 0..255: normalisation is inside"
            )
        batch = image if image.ndim == 4 else image[None]
        classes = class_map(self.segmenter.logits(self.prepare(batch)), (batch.shape[1], batch.shape[2]))
        return classes if image.ndim == 4 else classes[0]


def deploy(segmenter: Segmenter, *, memory_format: torch.memory_format = torch.channels_last) -> DeployedSegmenter:
    """A copy of `segmenter` that maps uint8 pictures to class maps; the original stays as it is.

    The copy is in eval mode, its parameters ask for no gradient, and the auxiliary head is gone.

    Args:
        memory_format: of weights and feature maps; docs/benchmark.md has the figures behind the default.
    """
    aux_head = segmenter.aux_head
    # The memo makes the copy leave the auxiliary head out, instead of copying and dropping it.
    copied = copy.deepcopy(segmenter, {id(aux_head): nn.Identity()})
    return DeployedSegmenter(copied, memory_format).eval().requires_grad_(False).to(memory_format=memory_format)
