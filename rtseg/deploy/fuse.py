"""The deployed form of a segmenter: uint8 image in, class map out, one module, BatchNorm folded where that is exact.

In evaluation BatchNorm is s x + t with a scale and a shift for each channel. It folds into

- the convolution before it: s (W x + b) + t;
- a 1x1 convolution behind it, with no ReLU between: W (s x + t) = (W s) x + W t;
- an attention behind it that can take its scale and needs no shift, see `Attention.absorb_scale`.

It stays before a padded 3x3 (zeros are padded behind it), before ReLU and before max pooling, and before the other
attentions. Modules that run in several places stay too, and so does what does more than a convolution or a BatchNorm:
subclasses, weights that are computed (weight norm), hooks.

Which modules run one after the other is the answer of the blocks themselves, see `rtseg.layers.rows`.
"""

import copy
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from typing import TypeGuard

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from rtseg.attention.base import Attention
from rtseg.deploy.class_map import check_logits, class_map
from rtseg.errors import UserError
from rtseg.layers.normalize import Normalize
from rtseg.layers.rows import HasCombined, HasRows
from rtseg.models.network import Network


class DeployedSegmenter(nn.Module):
    """What `deploy` returns.

    Attributes:
        normalize: (B, C, H, W) grey levels -> normalised float.
        segmenter: the network; `segmenter.logits` takes what `prepare` returns.
    """

    def __init__(self, segmenter: Network, memory_format: torch.memory_format) -> None:
        super().__init__()
        self.normalize = Normalize(segmenter.card.mean, segmenter.card.std)
        self.segmenter = segmenter
        self.memory_format = memory_format

    def prepare(self, image: Tensor) -> Tensor:
        """(B, H, W, C) grey levels -> (B, C, H, W) normalised, in the network's precision and memory format."""
        # The permuted image has the strides of channels_last already.
        x = self.normalize(image.permute(0, 3, 1, 2)).contiguous(memory_format=self.memory_format)
        return x.to(next(self.segmenter.parameters()).dtype)

    def logits(self, prepared: Tensor) -> Tensor:
        """What `prepare` returns -> (B, K, h, w), at the stride of the network's head."""
        return self.segmenter.logits(prepared)

    def forward(self, image: Tensor, size: tuple[int, int] | None = None, *, check: bool = False) -> Tensor:
        """Class map of one image or of several of one size.

        Args:
            image: (h, w, 3) or (B, h, w, 3) uint8 RGB, on the module's device; see `check_images`.
            size: (H, W) of the class map; the image's where it is not given.
            check: that the logits are finite, which takes another synchronisation with the device.

        Returns:
            (H, W) or (B, H, W) class numbers 0..K-1; uint8 for up to 256 classes, int16 above.

        Raises:
            UserError: another type or shape; with `check`, logits that are not finite.
        """
        check_images(image, self.segmenter.card.channels)
        batch = image if image.ndim == 4 else image[None]
        logits = self.logits(self.prepare(batch))
        if check:
            check_logits(logits)
        classes = class_map(logits, size or (batch.shape[1], batch.shape[2]))
        return classes if image.ndim == 4 else classes[0]


def check_images(image: Tensor, channels: int | None = None) -> None:
    """Checks one image or several of one size.

    Args:
        channels: of the network's card; None: RGB.

    Raises:
        UserError: no (H, W, 3) or (B, H, W, 3) uint8 RGB; with channels no float32 grey levels (..., C).
    """
    last, dtype = (3, torch.uint8) if channels is None else (channels, torch.float32)
    if image.dtype != dtype or image.ndim not in (3, 4) or image.shape[-1] != last or 0 in image.shape:
        kind = "uint8 RGB images" if channels is None else "images of float32 grey levels"
        raise UserError(
            f"a deployed network takes {kind} of shape (H, W, {last}) or (B, H, W, {last}), not {image.dtype} of "
            f"shape {tuple(image.shape)}. Put channels last; leave grey levels at 0..255: normalisation is inside"
        )


def deploy(
    segmenter: Network, *, memory_format: torch.memory_format = torch.channels_last, fold: bool = True
) -> DeployedSegmenter:
    """A copy of `segmenter` that maps uint8 images to class maps; the original stays as it is.

    The copy is in eval mode, its parameters ask for no gradient, and what is for training only is gone.

    Args:
        memory_format: of weights and feature maps; docs/benchmark.md has the figures behind the default.
        fold: fold BatchNorm where that is exact.
    """
    # The memo makes the copy leave out what is for training only, instead of copying and dropping it.
    memo = {id(part): nn.Identity() for part in segmenter.training_only()}
    copied = copy.deepcopy(segmenter, memo)
    network = DeployedSegmenter(copied, memory_format).eval().requires_grad_(False)
    if fold:
        fold_batchnorm(network)
    return network.to(memory_format=memory_format)


def fold_batchnorm(module: nn.Module) -> int:
    """Folds BatchNorm below `module`, in place and for evaluation only.

    Returns:
        How many were folded. `count_batchnorm` tells how many are left.
    """
    for part in [*module.modules()]:
        if isinstance(part, HasCombined):
            part.separate()
    rows = [row for part in module.modules() for row in _rows(part)]
    pairs = {pair: None for row in rows for pair in pairwise(row)}  # each once, in order
    # A module that runs in several places has other neighbours in each: nothing may be multiplied into it.
    repeated = {part for row in rows for part, times in Counter(row).items() if times > 1}
    behind, before = Counter(first for first, _ in pairs), Counter(second for _, second in pairs)
    folded = sum(_fold(*pair) for pair in pairs if behind[pair[0]] == before[pair[1]] == 1 and not repeated & {*pair})
    _replace_dropped(module)
    return folded


def count_batchnorm(module: nn.Module) -> int:
    """BatchNorm layers below `module`."""
    return sum(map(_is_batchnorm, module.modules()))


def _runs_in_order(module: nn.Module) -> bool:
    """A sequence, and no subclass that does more than run its parts."""
    return isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward


def _rows(module: nn.Module) -> Iterator[list[nn.Module]]:
    """Modules that run one after the other, sequences opened."""
    if _runs_in_order(module):
        yield list(_leaves(module))
    if isinstance(module, HasRows):
        for row in module.rows():
            yield [leaf for part in row for leaf in _leaves(part)]


def _leaves(module: nn.Module) -> Iterator[nn.Module]:
    if isinstance(module, nn.Sequential) and _runs_in_order(module):
        for part in module:  # not children(), which has each module once
            yield from _leaves(part)
    else:
        yield module


def _fold(first: nn.Module, second: nn.Module) -> bool:
    """Folds one of two neighbours into the other where it is a norm and the other takes it."""
    if _is_conv(first) and _folds(second):
        scale, shift = _affine(second)
        weight = _wide(first.weight) * scale[:, None, None, None]
        bias = shift if first.bias is None else _wide(first.bias) * scale + shift
        _set(first, weight, bias)
        _drop(second)
        return True
    if _folds(first) and _is_conv(second) and _sees_one_position(second):
        scale, shift = _affine(first)
        constant = _wide(second.weight[:, :, 0, 0]) @ shift
        bias = constant if second.bias is None else _wide(second.bias) + constant
        _scale_inputs(second, scale)
        _set(second, _wide(second.weight), bias)
        _drop(first)
        return True
    if _folds(first) and isinstance(second, Attention) and second.absorb_scale(_affine(first)[0]):
        _drop(first)
        return True
    return False


def _is_conv(module: nn.Module) -> TypeGuard[nn.Conv2d]:
    return isinstance(module, nn.Conv2d) and type(module).forward is nn.Conv2d.forward and _is_plain(module)


def _folds(module: nn.Module) -> TypeGuard[nn.BatchNorm2d]:
    return (
        isinstance(module, nn.BatchNorm2d)
        and type(module).forward is nn.BatchNorm2d.forward
        and module.running_var is not None  # else it takes the statistics of each batch
        and _is_batchnorm(module)
        and _is_plain(module)
    )


def _is_plain(module: nn.Module) -> bool:
    """Its parameters are what it computes with, and nobody changes what goes in and comes out."""
    return not (is_parametrized(module) or module._forward_hooks or module._forward_pre_hooks)


def _is_batchnorm(module: nn.Module) -> bool:
    return isinstance(module, nn.BatchNorm2d) and not getattr(module, "folded", False)


def _sees_one_position(conv: nn.Conv2d) -> bool:
    return conv.kernel_size == (1, 1) and conv.padding in ((0, 0), "valid", "same") and conv.groups == 1


def _affine(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """(s, t) of s x + t, each (C,) in float64."""
    assert norm.running_var is not None
    assert norm.running_mean is not None
    deviation = torch.sqrt(_wide(norm.running_var) + norm.eps)
    weight, bias = (_wide(norm.weight), _wide(norm.bias)) if norm.affine else (1.0, 0.0)
    scale = weight / deviation
    return scale, bias - _wide(norm.running_mean) * scale


def _wide(values: Tensor) -> Tensor:
    """float64 on the CPU: not every device has it."""
    return values.detach().cpu().double()


def _set(conv: nn.Conv2d, weight: Tensor, bias: Tensor) -> None:
    old = conv.weight
    conv.weight = nn.Parameter(weight.to(old.device, old.dtype), requires_grad=False)
    conv.bias = nn.Parameter(bias.to(old.device, old.dtype), requires_grad=False)


def _scale_inputs(conv: nn.Conv2d, scale: Tensor) -> None:
    weight = _wide(conv.weight) * scale[None, :, None, None]
    conv.weight = nn.Parameter(weight.to(conv.weight.device, conv.weight.dtype), requires_grad=False)


def _drop(norm: nn.Module) -> None:
    """Marks it: the list of a sequence must not change while others look at it."""
    norm.folded = True  # type: ignore[assignment]


def _replace_dropped(module: nn.Module) -> None:
    for name, part in list(module.named_modules(remove_duplicate=False)):  # one may have several names
        if getattr(part, "folded", False):
            module.set_submodule(name, nn.Identity())
