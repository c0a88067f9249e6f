"""PSMNet (Chang and Chen, "Pyramid Stereo Matching Network", https://arxiv.org/abs/1803.08669) with three stacked
hourglasses: the network in which the first paper inserts its attention to estimate depth.

The features of the left image beside those of the right one, shifted by each disparity, make a volume. 3D convolutions
turn it into a score of each disparity. The expected disparity is the answer.

B batch, H, W height and width of the images, D disparities; h = H / 4, w = W / 4, d = D / 4.
"""

import math
from collections.abc import Mapping, Sequence
from contextlib import nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rtseg.attention.insertion import as_insertion
from rtseg.attention.insertion import insert as insert_attention
from rtseg.checks import check_multiple
from rtseg.errors import UserError
from rtseg.layers.conv import spatial_size
from rtseg.models.state_check import check_state
from rtseg.tasks.stereo.authors_names import from_authors
from rtseg.tasks.stereo.feature_extractor import FEATURES, LARGEST_POOL, STRIDE, FeatureExtractor

MULTIPLE = 16  # of height, width and disparities: hourglasses halve the quarter twice
MAX_DISPARITY = 192  # the authors'
ALONE = 2 * STRIDE * LARGEST_POOL  # longer side of a pair that can be trained on alone: its largest pool has two values


def _conv3d_bn(in_channels: int, out_channels: int, stride: int = 1) -> nn.Sequential:
    conv = nn.Conv3d(in_channels, out_channels, 3, stride, padding=1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm3d(out_channels))


def _conv3d_bn_relu(in_channels: int, out_channels: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(_conv3d_bn(in_channels, out_channels, stride), nn.ReLU(inplace=True))


def _transposed_bn(in_channels: int, out_channels: int) -> nn.Sequential:
    conv = nn.ConvTranspose3d(in_channels, out_channels, 3, stride=2, padding=1, output_padding=1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm3d(out_channels))


class Hourglass(nn.Module):
    """Halves a volume twice and doubles it twice.

    (B, 32, d, h, w) -> the same; (B, 64, d / 2, h / 2, w / 2) before and after the smallest volume.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = _conv3d_bn_relu(channels, 2 * channels, 2)
        self.conv2 = _conv3d_bn(2 * channels, 2 * channels)
        self.conv3 = _conv3d_bn_relu(2 * channels, 2 * channels, 2)
        self.conv4 = _conv3d_bn_relu(2 * channels, 2 * channels)
        self.conv5 = _transposed_bn(2 * channels, 2 * channels)
        self.conv6 = _transposed_bn(2 * channels, channels)

    def forward(
        self, volume: Tensor, before: Tensor | None = None, after: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Volume, and what goes into the next hourglass.

        Args:
            before, after: of earlier hourglasses; `after` is added on the way down, `before` on the way up.
        """
        down = self.conv2(self.conv1(volume))
        down = F.relu(down if after is None else down + after)
        up = self.conv5(self.conv4(self.conv3(down)))
        up = F.relu(up + (down if before is None else before))
        return self.conv6(up), down, up


class PSMNet(nn.Module):
    """(left, right) (B, 3, H, W) each, normalised -> disparity (B, H, W) in pixels, of the left image.

    In training it gives three such maps, one of each hourglass, the last of them the best. A point of the left image at
    column x is at column x - disparity of the right one. Height and width that are not multiples of 16 are padded with
    zeros at the top and at the right, as the authors' programs pad.

    Args:
        max_disparity: D, a multiple of 16; disparities are 0 .. D - 1.
        insert: place -> attentions that are inserted there, such as {"layer4": "fa:basis=64:heads=1"}; places are
            layer1 to layer4 and features.
        align_corners: how maps are upsampled. Weights of the authors that were trained before PyTorch 0.4.1 changed its
            default need True.

    Attributes:
        insert: place -> attentions, without patterns.

    Raises:
        UserError: a bad number of disparities; see `rtseg.attention.insertion`.
    """

    def __init__(
        self,
        max_disparity: int = MAX_DISPARITY,
        insert: Mapping[str, str | Sequence[str]] | None = None,
        *,
        align_corners: bool = False,
    ) -> None:
        super().__init__()
        check_multiple("max_disparity", max_disparity, MULTIPLE, "the authors' is 192")
        self.max_disparity, self.align_corners = max_disparity, align_corners
        self.features = FeatureExtractor(align_corners=align_corners)
        width = FEATURES
        self.reduce = nn.Sequential(_conv3d_bn_relu(2 * width, width), _conv3d_bn_relu(width, width))
        self.refine = nn.Sequential(_conv3d_bn_relu(width, width), _conv3d_bn(width, width))
        self.hourglasses = nn.ModuleList(Hourglass(width) for _ in range(3))
        self.classifiers = nn.ModuleList(
            nn.Sequential(_conv3d_bn_relu(width, width), nn.Conv3d(width, 1, 3, padding=1, bias=False))
            for _ in range(3)
        )
        self.apply(_initialise)
        self.insert = insert_attention(self, as_insertion(insert))

    def forward(self, left: Tensor, right: Tensor) -> Tensor | tuple[Tensor, Tensor, Tensor]:
        """Raises: UserError where the images differ in size, or one small pair alone is trained on."""
        size = spatial_size(left)
        if left.shape != right.shape:
            raise UserError(f"left images are {_sizes(left)}, right ones {_sizes(right)}: give pairs of one size")
        top, beside = (-side % MULTIPLE for side in size)
        if top or beside:
            left, right = (F.pad(image, (0, beside, top, 0)) for image in (left, right))
        if self.training and len(left) == 1 and max(spatial_size(left)) < ALONE:
            raise UserError(
                f"one pair of {size[0]}x{size[1]} (height x width) alone cannot be trained on: BatchNorm would see one "
                "value of each channel; give larger crops, or a larger batch for each device"
            )
        volume = self._volume(self.features(left), self.features(right))
        # On CPUs oneDNN's bfloat16 gradient of a convolution's weights is wrong where the volume is 2 deep.
        wrong = volume.device.type == "cpu" and self.max_disparity <= 2 * MULTIPLE
        with torch.autocast("cpu", enabled=False) if wrong else nullcontext():
            costs = self._costs(_wide(volume) if wrong else volume)
        if not self.training:
            return self._disparity(costs[-1], size)
        first, second, third = (self._disparity(cost, size) for cost in costs)
        return first, second, third

    def _volume(self, left: Tensor, right: Tensor) -> Tensor:
        """(B, 32, h, w) each -> (B, 64, d, h, w); zeros where the shifted right map ends."""
        batch, channels, height, width = left.shape
        depth = self.max_disparity // 4
        volume = left.new_zeros(batch, 2 * channels, depth, height, width)
        for shift in range(min(depth, width)):
            volume[:, :channels, shift, :, shift:] = left[..., shift:]
            volume[:, channels:, shift, :, shift:] = right[..., : width - shift]
        return volume

    def _costs(self, volume: Tensor) -> list[Tensor]:
        """(B, 64, d, h, w) -> three scores (B, 1, d, h, w), the larger the likelier."""
        start = self.reduce(volume)
        start = self.refine(start) + start
        first, before, after = self.hourglasses[0](start)
        first = first + start
        second, _, after = self.hourglasses[1](first, before, after)
        second = second + start
        third, _, _ = self.hourglasses[2](second, before, after)
        costs: list[Tensor] = []
        for classify, out in zip(self.classifiers, (first, second, third + start), strict=True):
            costs.append(classify(out) + costs[-1] if costs else classify(out))
        return costs

    def _disparity(self, cost: Tensor, size: tuple[int, int]) -> Tensor:
        """(B, 1, d, h, w) -> (B, H, W): the expected disparity; what was padded is cut off."""
        full = (self.max_disparity, 4 * cost.shape[3], 4 * cost.shape[4])
        # Float32 at least, also under autocast: bfloat16 would round an expectation of 100 to half a pixel.
        with torch.autocast(cost.device.type, enabled=False):
            cost = _wide(cost)
            scores = F.interpolate(cost, full, mode="trilinear", align_corners=self.align_corners)[:, 0]
            disparities = torch.arange(self.max_disparity, dtype=cost.dtype, device=cost.device)
            expected = torch.einsum("bdhw,d->bhw", scores.softmax(1), disparities)
        return expected[:, full[1] - size[0] :, : size[1]]

    def load_authors_state(self, state: Mapping[str, Tensor]) -> list[str]:
        """Loads weights of the authors' `stackhourglass`, by their keys, with or without DataParallel's `module.`.

        Returns:
            The entries that keep their initial values: those of what is inserted.

        Raises:
            UserError: entries are missing, unknown, of another shape, or not finite.
        """
        renamed = from_authors(state)
        own = self.state_dict()
        check_state(own, renamed, "the authors' weights")
        inserted = [key for key in own if ".inserted." in key]
        needed = own.keys() - renamed.keys() - {*inserted}
        missing = sorted(key for key in needed if not key.endswith("num_batches_tracked"))  # PyTorch 0.4 has none
        unlike = [key for key, value in renamed.items() if key in own and value.shape != own[key].shape]
        unknown = [key for key in renamed if key not in own]
        for what, keys in (("missing", missing), ("unknown", unknown), ("of another shape", unlike)):
            if keys:
                raise UserError(
                    f"these are not weights of the authors' stackhourglass: {len(keys)} entries are {what}, such as "
                    f"'{keys[0]}'"
                )
        self.load_state_dict(renamed, strict=False)
        return inserted


def _wide(x: Tensor) -> Tensor:
    """In float32 at least."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _sizes(image: Tensor) -> str:
    return "x".join(map(str, image.shape))


def _initialise(module: nn.Module) -> None:
    """The authors' initial values; their transposed convolutions have PyTorch's."""
    if isinstance(module, nn.Conv2d | nn.Conv3d):
        nn.init.normal_(module.weight, std=math.sqrt(2 / (math.prod(module.kernel_size) * module.out_channels)))
