"""Networks of other libraries, to be timed beside ours: normalised image in, logits before the last upsampling out.

Each is the library's own code with fresh weights; nothing is downloaded. What is left out is its last step, upsampling
to the size of the image, so that one piece of code makes the class maps of all networks that are compared. The logits
are before softmax.

B batch, K classes, H, W input height and width.
"""

import importlib.metadata
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, ClassVar, TypeVar

from torch import Tensor, nn

from rtseg.checks import check_at_least, check_multiple, check_whole
from rtseg.errors import require
from rtseg.layers.normalize import IMAGENET_MEAN, IMAGENET_STD
from rtseg.models.backbone import NO_ATTENTION
from rtseg.models.model_card import ModelCard
from rtseg.models.network import Network
from rtseg.registry import Registry

_LEAST = 32  # pixels of a side: SegFormer's first reduction looks at 8x8 positions of stride 4


class Rival(Network):
    """A network of another library, that is deployed and measured as a `Segmenter` is.

    A registered class says what it is, and builds and reads the library's own module.

    Attributes:
        name: `register_rival` sets it.
        library: as pip calls it.
        module: what is imported of it.
        paper: its address.
        licence: of the library's code. Weights that others publish have their own (NVIDIA's SegFormer: non-commercial).
        stride: of the logits, which are ceil(H / stride) x ceil(W / stride).
        multiple: what height and width must be multiples of.
        align_corners: of the upsampling that is left out, which is bilinear in every library.
        in_a_row: modules of the network, by name, that run one after the other outside of any sequence, see
            `rtseg.layers.rows`.
        mean, std: normalisation of RGB in 0..1 that the library's pretrained weights expect.
        card: its name, classes and normalisation, as ours have.
        network: the library's own module.
    """

    name: ClassVar[str]
    library: ClassVar[str]
    module: ClassVar[str]
    paper: ClassVar[str]
    licence: ClassVar[str]
    stride: ClassVar[int]
    multiple: ClassVar[int] = 1
    align_corners: ClassVar[bool] = False
    in_a_row: ClassVar[tuple[tuple[str, ...], ...]] = ()
    mean: ClassVar[tuple[float, float, float]] = IMAGENET_MEAN
    std: ClassVar[tuple[float, float, float]] = IMAGENET_STD

    def __init__(self, network: nn.Module, num_classes: int) -> None:
        super().__init__()
        self.card = ModelCard(self.name, NO_ATTENTION, num_classes, mean=self.mean, std=self.std)
        self.network = network

    @classmethod
    @abstractmethod
    def build(cls, library: Any, num_classes: int) -> nn.Module:
        """The network of the imported `module`, with fresh weights."""

    def read(self, image: Tensor) -> Tensor:
        """The network's logits before its last upsampling."""
        return self.network(image)

    @classmethod
    def version(cls) -> str | None:
        """Version of the library; None where it is not installed."""
        try:
            return importlib.metadata.version(cls.library)
        except importlib.metadata.PackageNotFoundError:
            return None

    @classmethod
    def describe(cls) -> dict[str, Any]:
        """The facts in plain JSON types, for a report."""
        facts = ("name", "library", "paper", "licence", "stride", "multiple", "align_corners")
        return {key: getattr(cls, key) for key in facts} | {
            "version": cls.version(), "mean": list(cls.mean), "std": list(cls.std)
        }  # fmt: skip

    def facts(self) -> dict[str, Any]:
        return {"rival": self.describe()}

    def recipe(self) -> Callable[[], Network]:
        """Networks of transformers do not work in the process that they are sent to, so it is built there."""
        return partial(create_rival, self.name, self.card.num_classes)

    def rows(self) -> Iterator[Sequence[nn.Module]]:
        """See `rtseg.layers.rows`: for modules of the library, which do not answer."""
        for row in self.in_a_row:
            yield [self.network.get_submodule(name) for name in row]

    def logits(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) normalised image -> (B, K, ceil(H / stride), ceil(W / stride)) logits.

        Raises:
            UserError: a height or width that the network does not take.
        """
        for name, side in zip(("height", "width"), image.shape[-2:], strict=True):
            check_at_least(f"{self.name}: {name}", side, _LEAST)
            if self.multiple > 1:
                check_multiple(f"{self.name}: {name}", side, self.multiple)
        return self.read(image)

    def forward(self, image: Tensor) -> Tensor:
        return self.logits(image)


_RIVALS: Registry[type[Rival]] = Registry("rival")
RivalClass = TypeVar("RivalClass", bound=Rival)


def register_rival(name: str) -> Callable[[type[RivalClass]], type[RivalClass]]:
    """Class decorator: files a network under the name that `create_rival` and `rtseg benchmark` take.

    Raises (from the decorator):
        UserError: something else has this name.
    """
    register = _RIVALS.register(name)

    def decorate(kind: type[RivalClass]) -> type[RivalClass]:
        kind.name = name
        register(kind)
        return kind

    return decorate


def list_rivals() -> list[str]:
    """Names that `create_rival` takes, sorted."""
    return _RIVALS.names()


def get_rival(name: str) -> type[Rival]:
    """What is known of the network called `name`, also where its library is not installed.

    Raises:
        UserError: unknown name.
    """
    return _RIVALS.get(name)


def create_rival(name: str, num_classes: int) -> Rival:
    """Builds a network of another library, with fresh weights, in evaluation mode.

    Raises:
        UserError: unknown name, no number of classes, or a library that is not installed.
    """
    kind = get_rival(name)
    check_whole("num_classes", num_classes, 1)
    return kind(kind.build(require(kind.module, "rivals"), num_classes), num_classes).eval()


class _SegFormer(Rival):
    """MiT-B0 and MiT-B1 differ in their widths alone; both have a decoder of 256 channels."""

    library = "transformers"
    module = "transformers"
    licence = "Apache-2.0"
    paper = "https://arxiv.org/abs/2105.15203"
    stride = 4
    in_a_row = (("decode_head.linear_fuse", "decode_head.batch_norm"),)
    widths: ClassVar[tuple[int, ...]]

    @classmethod
    def build(cls, library: Any, num_classes: int) -> nn.Module:
        config = library.SegformerConfig(
            num_labels=num_classes,
            hidden_sizes=cls.widths,
            depths=(2, 2, 2, 2),
            num_attention_heads=(1, 2, 5, 8),
            sr_ratios=(8, 4, 2, 1),
            mlp_ratios=(4, 4, 4, 4),
            decoder_hidden_size=256,
        )
        return library.SegformerForSemanticSegmentation(config)

    def read(self, image: Tensor) -> Tensor:
        return self.network(image).logits


@register_rival("segformer_b0")
class SegFormerB0(_SegFormer):
    """SegFormer-B0 of transformers."""

    widths = (32, 64, 160, 256)


@register_rival("segformer_b1")
class SegFormerB1(_SegFormer):
    """SegFormer-B1 of transformers."""

    widths = (64, 128, 320, 512)


class _Smp(Rival):
    library = "segmentation_models_pytorch"
    module = "segmentation_models_pytorch"
    licence = "MIT"
    stride = 4
    align_corners = True
    architecture: ClassVar[str]

    @classmethod
    def build(cls, library: Any, num_classes: int) -> nn.Module:
        # upsampling=1 leaves the last layer out, by the library's own switch.
        create = getattr(library, cls.architecture)
        return create("mobilenet_v2", encoder_weights=None, classes=num_classes, upsampling=1)


@register_rival("smp_fpn_mobilenet_v2")
class SmpFpn(_Smp):
    """FPN of segmentation-models-pytorch."""

    architecture = "FPN"
    paper = "https://arxiv.org/abs/1901.02446"
    multiple = 32


@register_rival("smp_deeplabv3plus_mobilenet_v2")
class SmpDeepLabV3Plus(_Smp):
    """DeepLabV3+ of segmentation-models-pytorch."""

    architecture = "DeepLabV3Plus"
    paper = "https://arxiv.org/abs/1802.02611"
    multiple = 16


class _Torchvision(Rival):
    library = "torchvision"
    module = "torchvision.models.segmentation"
    licence = "BSD-3-Clause"

    @classmethod
    def build(cls, library: Any, num_classes: int) -> nn.Module:
        return getattr(library, cls.name)(weights=None, weights_backbone=None, num_classes=num_classes)


@register_rival("lraspp_mobilenet_v3_large")
class LrAspp(_Torchvision):
    """LR-ASPP of torchvision."""

    paper = "https://arxiv.org/abs/1905.02244"
    stride = 8

    def read(self, image: Tensor) -> Tensor:
        network: Any = self.network
        return network.classifier(network.backbone(image))


@register_rival("deeplabv3_mobilenet_v3_large")
class DeepLabV3(_Torchvision):
    """DeepLabV3 of torchvision."""

    paper = "https://arxiv.org/abs/1706.05587"
    stride = 16

    def read(self, image: Tensor) -> Tensor:
        network: Any = self.network
        return network.classifier(network.backbone(image)["out"])
