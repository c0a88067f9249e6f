"""What a backbone is: an image in, named feature maps out, each with its width and stride, so that heads can ask.

How one is added: docs/adding-a-backbone.md.
"""

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, NamedTuple, TypeVar

from torch import Tensor, nn

from rtseg.attention.base import reduced_size
from rtseg.attention.insertion import HasPlaces
from rtseg.checks import check_at_least, check_whole
from rtseg.errors import UserError
from rtseg.layers.conv import init_convolutions, spatial_size
from rtseg.layers.feature_info import FeatureInfo
from rtseg.layers.normalize import IMAGENET_MEAN, IMAGENET_STD
from rtseg.options import Option, check_options, read_options
from rtseg.registry import Registry, UnknownNameError

NO_ATTENTION = "none"  # what cards say of a backbone that has none to choose
MAIN = "main"  # the output that is the segmentation


@dataclass(frozen=True)
class Auxiliary:
    """What a training learns beside the class map; a deployed network has none of it.

    Attributes:
        map: the feature map that its head reads. None: it has no head, and its loss is one more of the main output.
        weight: factor of its loss in the sum; `model.loss.weights` changes it.
        loss: one of `rtseg.training.losses.list_losses()`.
        head: one of `rtseg.models.heads.list_heads()`.
        channels: number of channels of its logits; None: one a class.
        options: options of its head, where they are not the head's defaults.

    Raises:
        UserError: a bad weight or number of channels.
    """

    map: str | None
    weight: float
    loss: str = "cross_entropy"
    head: str = "conv"
    channels: int | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_at_least("weight", self.weight, 0, "0 switches the loss off")
        if self.channels is not None:
            check_whole("channels", self.channels, 1, "leave it out for one a class")


class ClassifierHead(NamedTuple):
    """What pre-training on ImageNet puts behind a backbone: one of pretrain/networks/heads.py, and its options.

    "pooled" takes the means of maps (maps=("low",); by itself of the coarsest), "joined" and "injected" those of a high
    and a low branch.
    """

    name: str = "pooled"
    options: Mapping[str, Any] = {}


class Backbone(HasPlaces):
    """(B, 3, H, W) normalised image -> feature maps by name, each (B, channels, ceil(H / stride), ceil(W / stride)).

    Any H, W >= 1. Another number of channels than RGB's 3 is what `take_channels` makes of it.

    Attributes:
        features: width and stride of each map. The constructor sets it.
        places: where attention can be inserted, see `rtseg.attention.insertion`; the constructor may set it.
        head: the head that is used where the user names none. The class sets it.
        head_options: defaults for that head in place of its own. Another head takes those that it knows. The
            constructor may set those that depend on widths.
        outputs: what a training learns beside the class map, by name. The head of output "aux" is `aux_head` in the
            segmenter.
        classifier_head: what a classifier of pre-training has behind the maps. The constructor may set it.
        classifier_options: options that have another default in a classifier. They must not change any weights.
        optional_parts: names of parts that only some published variants have. If the pre-trained weights lack one, it
            is initialised; if the network lacks it, it is left out.
        mean, std: the normalisation of RGB in 0..1 that its published weights were trained with.
    """

    features: Mapping[str, FeatureInfo]
    head: ClassVar[str]
    head_options: Mapping[str, Any] = {}
    outputs: Mapping[str, Auxiliary] = {}
    classifier_head: ClassifierHead = ClassifierHead()
    classifier_options: Mapping[str, Any] = {}
    optional_parts: ClassVar[tuple[str, ...]] = ()
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        raise NotImplementedError

    def take_channels(self, channels: int) -> None:
        """Puts a fresh convolution of so many channels in the place of the one that reads the image.

        Raises:
            UserError: there is no convolution of three channels, or more than one. A backbone that reads images
                otherwise overrides this.
        """
        convolutions = [item for item in self.named_modules() if isinstance(item[1], nn.Conv2d)]
        reading = [(name, conv) for name, conv in convolutions if conv.in_channels == 3 and conv.groups == 1]
        if len(reading) != 1:
            raise UserError(
                f"{type(self).__name__} has {len(reading)} convolutions of three channels, so that it is not known "
                f"which one should read images of {channels}: override `take_channels` in it"
            )
        ((name, old),) = reading
        new = nn.Conv2d(
            channels, old.out_channels, old.kernel_size, old.stride, old.padding, old.dilation,
            bias=old.bias is not None, padding_mode=old.padding_mode,
        )  # fmt: skip
        init_convolutions(new)
        self.set_submodule(name, new)

    def read_published(self, source: str) -> dict[str, Tensor] | None:
        """Weights as the library that made this backbone publishes them, by the names of that library's own network.

        Args:
            source: what a user gave as weights.

        Returns:
            Entry of this backbone's state dict -> value; entries of others keep the library's names. None: these are
            not such weights.

        Raises:
            UserError: they are missing or damaged, or of a larger network.
        """
        return None


@dataclass(frozen=True)
class _Entry:
    """A registered backbone: what builds it, its class, its options, its own attention."""

    build: Callable[..., Backbone]
    cls: type[Backbone]
    options: Mapping[str, Option]
    attention: str


_BACKBONES: Registry[_Entry] = Registry("model")


class _Family(NamedTuple):
    """Networks of another library: what builds one from its name, how one is written, and whether it has a name."""

    entry: _Entry
    about: str
    has: Callable[[str], bool]


_FAMILIES: dict[str, _Family] = {}  # by prefix, such as "timm"
Builder = TypeVar("Builder", bound=Callable[..., Backbone])


def register_backbone(name: str) -> Callable[[Builder], Builder]:
    """Registers a backbone: a class, a `functools.partial` of one, or a function annotated to return one.

    Its keyword parameters are the options, see `rtseg.options`. If one is called `attention`, a str with a default, the
    attention of the network can be chosen.

    Raises (from the decorator):
        UserError: the class is unknown or lacks `head` or `forward`, an option lacks a type or a default, or the name
            is taken.
    """
    register = _BACKBONES.register(name)

    def decorate(build: Builder) -> Builder:
        what = f"model '{name}'"
        cls = _built_class(build)
        if cls is None:
            raise UserError(
                f"{what}: decorate a class derived from Backbone, or a function that says which it returns, as in "
                "`def tiny(*, base_channels: int = 8) -> MyBackbone:`"
            )
        if not isinstance(getattr(cls, "head", None), str):
            raise UserError(f'{what}: {cls.__name__} does not say which head stands on it; write `head = "conv"` in it')
        if cls.forward is Backbone.forward:
            raise UserError(f"{what}: {cls.__name__} lacks `forward(image)`, which returns a dict of maps")
        attention = inspect.signature(build).parameters.get("attention")
        default = NO_ATTENTION if attention is None else attention.default
        if not isinstance(default, str):
            raise UserError(f"{what}: give `attention` a default, as in `attention: str = 'gfa+ca'`")
        options = read_options(what, build, leave_out=("attention",))
        register(_Entry(build, cls, options, default))
        return build

    return decorate


def register_family(prefix: str, about: str, has: Callable[[str], bool]) -> Callable[[Builder], Builder]:
    """Registers the networks of another library as "prefix:name", which `list_models` does not list one by one.

    Args:
        about: how users write one, with an example.
        has: whether the library has a network of this name.

    The decorated class derives from Backbone; its first parameter, `name`, is what stands behind the colon.
    """

    def decorate(build: Builder) -> Builder:
        cls = _built_class(build)
        assert cls is not None
        options = read_options(f"model '{prefix}:NAME'", build, leave_out=("name",))
        _FAMILIES[prefix] = _Family(_Entry(build, cls, options, NO_ATTENTION), about, has)
        return build

    return decorate


def list_families() -> list[str]:
    """How the networks of other libraries are written that `create_model` takes too."""
    return [family.about for family in _FAMILIES.values()]


def family_prefixes() -> list[str]:
    """What stands before the colon in the names of other libraries' networks."""
    return list(_FAMILIES)


def is_model(name: str) -> bool:
    """Whether `create_model` takes this name; of another library's network only its prefix is looked at."""
    return name in list_models() or _family(name) is not None


def _family(name: str) -> _Entry | None:
    prefix, colon, own = str(name).partition(":")
    if not colon or prefix not in _FAMILIES:
        return None
    entry = _FAMILIES[prefix].entry
    return replace(entry, build=functools.partial(entry.build, own))


def _entry(name: str) -> _Entry:
    """Raises: UnknownNameError."""
    if (found := _family(name)) is not None:
        return found
    try:
        return _BACKBONES.get(name)
    except UnknownNameError as error:
        meant = [f"{prefix}:{name}" for prefix, family in _FAMILIES.items() if family.has(str(name))]
        known = f". Did you mean '{meant[0]}'? Known: {', '.join(list_models())}." if meant else error.known
        raise UnknownNameError(
            error.unknown, " ".join([known, *(f"Or {about}." for about in list_families())])
        ) from None


def _built_class(build: Callable[..., Any]) -> type[Backbone] | None:
    while isinstance(build, functools.partial):
        build = build.func
    if not inspect.isclass(build):
        build = inspect.signature(build, eval_str=True).return_annotation
    return build if inspect.isclass(build) and issubclass(build, Backbone) else None


def list_models() -> list[str]:
    """Names that `create_model` takes."""
    return _BACKBONES.names()


def backbone_options(name: str) -> dict[str, Any]:
    """Option -> default value of the backbone called `name`, `attention` left out."""
    return {key: option.default for key, option in _entry(name).options.items()}


def swappable_models() -> list[str]:
    """Names of the models whose attention can be chosen."""
    return [name for name in list_models() if choose_attention(name, None) != NO_ATTENTION]


def choose_attention(name: str, attention: str | None) -> str:
    """The attention that the backbone called `name` is built with: its own default for None, "none" where it has none.

    Raises:
        UserError: unknown backbone, or an attention for one that has none.
    """
    own = _entry(name).attention
    if attention is None:
        return own
    if attention != NO_ATTENTION and own == NO_ATTENTION:
        raise UserError(
            f"model '{name}' has no attention to choose, so it cannot have '{attention}': leave attention out (null "
            f"in place of a config's), or take one of the models {', '.join(swappable_models())}"
        )
    return attention


def choose_head(name: str, head: str | None) -> str:
    """The head of the model called `name`: its own for None.

    Raises:
        UserError: unknown backbone.
    """
    return _entry(name).cls.head if head is None else head


def own_head_options(name: str) -> Mapping[str, Any]:
    """Defaults that the class of the backbone called `name` gives to its head; see `Backbone.head_options`."""
    return _entry(name).cls.head_options


def own_classifier_options(name: str) -> Mapping[str, Any]:
    """See `Backbone.classifier_options`."""
    return _entry(name).cls.classifier_options


def create_backbone(name: str, *, attention: str | None = None, **options: Any) -> Backbone:
    """Builds a backbone by name.

    Args:
        attention: see `choose_attention`.

    Raises:
        UserError: unknown name or option, or a bad value; or what was built does not keep the contract.
    """
    entry, what = _entry(name), f"model '{name}'"
    check_options(what, options, entry.options)
    chosen = choose_attention(name, attention)
    swappable = {} if entry.attention == NO_ATTENTION else {"attention": chosen}
    with building(what, "super().__init__()"):
        backbone = entry.build(**swappable, **options)
    check_contract(what, backbone, entry.cls)
    return backbone


@contextmanager
def building(what: str, call: str) -> Iterator[None]:
    """Around the constructor of a backbone or a head.

    Args:
        call: how it begins.

    Raises:
        UserError: it gives itself a layer before that, which PyTorch tells without the name of the model.
    """
    try:
        yield
    except AttributeError as error:
        if "Module.__init__() call" not in str(error):
            raise
        raise UserError(
            f"{what}: {error}. Begin its constructor with `{call}`, and that of each block in it with "
            "`super().__init__()`"
        ) from error


def check_contract(what: str, backbone: Backbone, cls: type[Backbone]) -> None:
    """Raises: UserError where a built backbone does not say what a segmenter needs to know."""
    if not isinstance(backbone, cls):
        raise UserError(
            f"{what}: built a {type(backbone).__name__}, not a {cls.__name__}; correct its return annotation"
        )
    features = getattr(backbone, "features", {})
    if not (features and isinstance(features, Mapping) and all(map(_is_info, features.values()))):
        raise UserError(
            f"{what}: {cls.__name__} has no feature maps to name; set `self.features = "
            '{"high": FeatureInfo(channels=64, stride=8)}` in its constructor, one entry a map that forward returns'
        )
    outputs = backbone.outputs
    if not isinstance(outputs, Mapping) or not all(isinstance(output, Auxiliary) for output in outputs.values()):
        raise UserError(f'{what}: write `outputs` of {cls.__name__} as {{"aux": Auxiliary("high", weight=0.4)}}')
    for name, output in outputs.items():
        if not name.isidentifier() or name == MAIN:
            raise UserError(f"{what}: output '{name}' needs another name: letters and digits, and not '{MAIN}'")
        if output.map is not None and output.map not in features:
            raise UserError(f"{what}: output '{name}' reads the map '{output.map}'; there are {', '.join(features)}")


def _is_info(info: Any) -> bool:
    return isinstance(info, FeatureInfo) and all(type(number) is int and number > 0 for number in info)


def check_maps(what: str, features: Mapping[str, FeatureInfo], maps: Mapping[str, Tensor], image: Tensor) -> None:
    """Raises: UserError where what a backbone makes of `image` (B, 3, H, W) is not what `features` says."""
    if not isinstance(maps, Mapping):
        raise UserError(f"{what}: forward returned a {type(maps).__name__}; return a dict of maps by name")
    for name, info in features.items():
        if name not in maps:
            found = ", ".join(map(str, maps)) or "none"
            raise UserError(f"{what}: forward returned no map '{name}', which `features` names; it returned {found}")
        check_shape(f"{what}: map '{name}'", maps[name], info, image, said="self.features")


def check_shape(what: str, found: Tensor, info: FeatureInfo, image: Tensor, *, said: str) -> None:
    """Raises: UserError unless `found` is the map of `image` (B, 3, H, W) that `info` describes.

    Args:
        said: the attribute that `info` was read from.
    """
    expected = (len(image), info.channels, *reduced_size(*spatial_size(image), info.stride))
    shape = tuple(found.shape) if isinstance(found, Tensor) else f"a {type(found).__name__}"
    if shape != expected:
        raise UserError(
            f"{what} is {shape} for images of {tuple(image.shape)}, and {info.channels} channels at "
            f"stride {info.stride} would be {expected}: correct forward, or {said}"
        )
