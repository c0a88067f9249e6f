"""Networks of other libraries, to be timed beside ours: normalised image in, logits before the last upsampling out.

Each is the library's own code with fresh weights; nothing is downloaded. What is left out is its last step, upsampling
to the size of the image, so that one piece of code makes the class maps of all networks that are compared. The logits
are before softmax.

B batch, K classes, H, W input height and width.
"""

import importlib.metadata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor, nn

from rtseg.errors import UserError, require
from rtseg.layers.normalize import IMAGENET_MEAN, IMAGENET_STD
from rtseg.models.backbone import NO_ATTENTION
from rtseg.models.model_card import ModelCard
from rtseg.models.network import Network
from rtseg.registry import suggest

_LEAST = 32  # pixels of a side: SegFormer's first reduction looks at 8x8 positions of stride 4


@dataclass(frozen=True)
class Rival:
    """What is known of a network of another library.

    Attributes:
        library: as pip calls it.
        module: what is imported of it.
        build: (module, number of classes) -> the library's network.
        read: (network, image) -> logits.
        paper: its address.
        licence: of the library's code. Weights that others publish have their own (NVIDIA's SegFormer: non-commercial).
        stride: of the logits, which are ceil(H / stride) x ceil(W / stride).
        multiple: what height and width must be multiples of.
        align_corners: of the upsampling that is left out, which is bilinear in every library.
        rows: modules of the network, by name, that run one after the other outside of any sequence, see
            `rtseg.layers.rows`.
        mean, std: normalisation of RGB in 0..1 that the library's pretrained weights expect.
    """

    name: str
    library: str
    module: str
    build: Callable[[Any, int], nn.Module]
    read: Callable[[nn.Module, Tensor], Tensor]
    paper: str
    licence: str
    stride: int
    multiple: int = 1
    align_corners: bool = False
    rows: tuple[tuple[str, ...], ...] = ()
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD

    @property
    def version(self) -> str | None:
        """Of the library; None where it is not installed."""
        try:
            return importlib.metadata.version(self.library)
        except importlib.metadata.PackageNotFoundError:
            return None

    def describe(self) -> dict[str, Any]:
        """The facts in plain JSON types, for a report."""
        facts = ("name", "library", "version", "paper", "licence", "stride", "multiple", "align_corners")
        return {key: getattr(self, key) for key in facts} | {"mean": list(self.mean), "std": list(self.std)}


class RivalNetwork(Network):
    """A network that is deployed and measured as a `Segmenter` is.

    Attributes:
        rival: what it is.
        card: its name, classes and normalisation, as ours have.
        network: the library's own module.
    """

    def __init__(self, rival: Rival, network: nn.Module, num_classes: int) -> None:
        super().__init__()
        self.rival = rival
        self.card = ModelCard(rival.name, NO_ATTENTION, num_classes, mean=rival.mean, std=rival.std)
        self.network = network

    def rows(self) -> Iterator[Sequence[nn.Module]]:
        """See `rtseg.layers.rows`: for modules of the library, which do not answer."""
        for row in self.rival.rows:
            yield [self.network.get_submodule(name) for name in row]

    def logits(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) normalised image -> (B, K, ceil(H / stride), ceil(W / stride)) logits.

        Raises:
            UserError: a height or width that the network does not take.
        """
        for name, side in zip(("height", "width"), image.shape[-2:], strict=True):
            if side < _LEAST or side % self.rival.multiple:
                kind = f"a multiple of {self.rival.multiple}, " if self.rival.multiple > 1 else ""
                raise UserError(f"{self.rival.name}: {name} {side} must be {kind}at least {_LEAST}")
        return self.rival.read(self.network, image)

    def forward(self, image: Tensor) -> Tensor:
        return self.logits(image)


def list_rivals() -> list[str]:
    """Names that `create_rival` takes, sorted."""
    return sorted(RIVALS)


def get_rival(name: str) -> Rival:
    """What is known of the network called `name`, also where its library is not installed.

    Raises:
        UserError: unknown name.
    """
    if name not in RIVALS:
        raise UserError(f"unknown rival '{name}'.{suggest(name, RIVALS)}")
    return RIVALS[name]


def create_rival(name: str, num_classes: int) -> RivalNetwork:
    """Builds a network of another library, with fresh weights, in evaluation mode.

    Raises:
        UserError: unknown name, no number of classes, or a library that is not installed.
    """
    rival = get_rival(name)
    if type(num_classes) is not int or num_classes < 1:
        raise UserError(f"num_classes={num_classes!r} must be a whole number of at least 1")
    network = rival.build(require(rival.module, "rivals"), num_classes)
    return RivalNetwork(rival, network, num_classes).eval()


def _segformer(transformers: Any, num_classes: int, *, hidden_sizes: tuple[int, ...]) -> nn.Module:
    """MiT-B0 and MiT-B1 differ in their widths alone; both have a decoder of 256 channels."""
    config = transformers.SegformerConfig(
        num_labels=num_classes,
        hidden_sizes=hidden_sizes,
        depths=(2, 2, 2, 2),
        num_attention_heads=(1, 2, 5, 8),
        sr_ratios=(8, 4, 2, 1),
        mlp_ratios=(4, 4, 4, 4),
        decoder_hidden_size=256,
    )
    return transformers.SegformerForSemanticSegmentation(config)


def _smp(smp: Any, num_classes: int, *, architecture: str) -> nn.Module:
    # upsampling=1 leaves the last layer out, by the library's own switch.
    create = getattr(smp, architecture)
    return create("mobilenet_v2", encoder_weights=None, classes=num_classes, upsampling=1)


def _torchvision(segmentation: Any, num_classes: int, *, function: str) -> nn.Module:
    return getattr(segmentation, function)(weights=None, weights_backbone=None, num_classes=num_classes)


def _read_segformer(network: Any, image: Tensor) -> Tensor:
    return network(image).logits


def _read_smp(network: nn.Module, image: Tensor) -> Tensor:
    return network(image)


def _read_lraspp(network: Any, image: Tensor) -> Tensor:
    return network.classifier(network.backbone(image))


def _read_deeplab(network: Any, image: Tensor) -> Tensor:
    return network.classifier(network.backbone(image)["out"])


_TRANSFORMERS: dict[str, Any] = {
    "library": "transformers", "module": "transformers", "licence": "Apache-2.0",
    "read": _read_segformer, "paper": "https://arxiv.org/abs/2105.15203", "stride": 4,
    "rows": (("decode_head.linear_fuse", "decode_head.batch_norm"),),
}  # fmt: skip
_SMP: dict[str, Any] = {
    "library": "segmentation_models_pytorch", "module": "segmentation_models_pytorch", "licence": "MIT",
    "read": _read_smp, "stride": 4, "align_corners": True,
}  # fmt: skip
_TORCHVISION: dict[str, Any] = {
    "library": "torchvision", "module": "torchvision.models.segmentation", "licence": "BSD-3-Clause",
}  # fmt: skip

RIVALS: Mapping[str, Rival] = {
    rival.name: rival
    for rival in (
        Rival("segformer_b0", build=partial(_segformer, hidden_sizes=(32, 64, 160, 256)), **_TRANSFORMERS),
        Rival("segformer_b1", build=partial(_segformer, hidden_sizes=(64, 128, 320, 512)), **_TRANSFORMERS),
        Rival(
            "smp_fpn_mobilenet_v2",
            build=partial(_smp, architecture="FPN"),
            paper="https://arxiv.org/abs/1901.02446",
            multiple=32,
            **_SMP,
        ),
        Rival(
            "smp_deeplabv3plus_mobilenet_v2",
            build=partial(_smp, architecture="DeepLabV3Plus"),
            paper="https://arxiv.org/abs/1802.02611",
            multiple=16,
            **_SMP,
        ),
        Rival(
            "lraspp_mobilenet_v3_large",
            build=partial(_torchvision, function="lraspp_mobilenet_v3_large"),
            read=_read_lraspp,
            paper="https://arxiv.org/abs/1905.02244",
            stride=8,
            **_TORCHVISION,
        ),
        Rival(
            "deeplabv3_mobilenet_v3_large",
            build=partial(_torchvision, function="deeplabv3_mobilenet_v3_large"),
            read=_read_deeplab,
            paper="https://arxiv.org/abs/1706.05587",
            stride=16,
            **_TORCHVISION,
        ),
    )
}
"""By name."""
