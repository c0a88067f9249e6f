"""A segmenter: backbone, head and auxiliary heads. It is what is trained, saved, measured and deployed.

B batch, C channels of the image (3 for RGB), K classes, H, W input height and width.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Self, cast

import torch
from huggingface_hub import ModelCard as HubCard
from huggingface_hub import PyTorchModelHubMixin
from torch import Tensor, nn

from rtseg.attention.base import Attention
from rtseg.attention.build import resolve_attention
from rtseg.attention.insertion import as_insertion, insert
from rtseg.attention.registry import network_options
from rtseg.checks import check_between, check_whole
from rtseg.data.header import MOST_CHANNELS
from rtseg.errors import UserError, first_line
from rtseg.layers.conv import init_convolutions, spatial_size, upsample_to
from rtseg.layers.normalize import IMAGENET_MEAN, IMAGENET_STD
from rtseg.models.backbone import (
    MAIN,
    NO_ATTENTION,
    Backbone,
    FeatureInfo,
    backbone_options,
    check_maps,
    check_shape,
    choose_attention,
    choose_head,
    create_backbone,
    own_head_options,
)
from rtseg.models.heads import Head, create_head, fitting_options, head_options
from rtseg.models.model_card import ModelCard
from rtseg.models.network import Network
from rtseg.models.state_check import check_state
from rtseg.models.unfilled import Unfilled
from rtseg.models.weights import misfits, read_weights
from rtseg.models.weights_folder import whole_folder, write_weights
from rtseg.plugins import noting
from rtseg.registry import UnknownNameError, suggest, trained_with

_README = """---
{{ card_data }}
---

# {{ card.model }}, attention {{ card.attention }}, {{ card.num_classes }} classes

Head: {{ card.head or "the model's own" }}. Data set: {{ card.dataset or "not stated" }}.{%
if card.data_origin %} Images: {{ card.data_origin }}.{% endif %}
Weights: {{ card.source or "not stated" }}. Licence: {{ card.license or "not stated" }}.
mIoU on its validation images: {% if card.miou is not none %}{{ card.miou }} %{% else %}not stated{% endif %}.
`config.json` holds the classes, their colours and the normalisation.

```python
import rtseg

class_map = rtseg.load("{{ where or "path of this folder" }}")("street.jpg")
```

- Image: {% if card.channels %}{{ card.channels }} channels at full depth{% else %}RGB{% endif %} of any size{%
if not card.channels %}, 8 bit{% endif %}; rtseg normalises it by mean {{ card.mean | list }} and standard deviation {{
card.std | list }} of levels 0 to 1.
- Size in training, height and width: {{ card.input_size | list if card.input_size else "not stated" }}.{%
if card.eval_resize %} Images are resized to a short side of {{ card.eval_resize[0] }} and a long side of at most {{
card.eval_resize[1] }} first.{% endif %}
- Classes: {% if card.class_names %}{% for name in card.class_names %}{{ loop.index0 }} {{ name }}{{
", " if not loop.last }}{% endfor %}{% else %}0 to {{ card.num_classes - 1 }}, without names{% endif %}.{%
if card.plugins %}
- It needs the plug-in {{ card.plugins | join(", ") }}.{% endif %}
"""


class Segmenter(
    Network,
    PyTorchModelHubMixin,
    library_name="rtseg",
    pipeline_tag="image-segmentation",
    model_card_template=_README,
):
    """A network built from its card; `create_model` is the usual way to one.

    Attributes:
        backbone, head: the parts that make the class map.
        auxiliary: names of the backbone's outputs that have a head of their own.
        aux_head: the head of output "aux", where it has one; the head of output "x" is `x_head`.

    Raises:
        UserError: unknown model, attention, head or option, a bad value of one, or a head that reads a map that the
            backbone does not have.
    """

    aux_head: nn.Module

    def __init__(self, card: ModelCard) -> None:
        super().__init__()
        for_backbone = {key: card.options[key] for key in backbone_options(card.model) if key in card.options}
        for_heads = {key: value for key, value in card.options.items() if key not in for_backbone}
        self.card = card
        self.backbone: Backbone = create_backbone(card.model, attention=card.attention, **for_backbone)
        if card.in_channels != 3:
            self.backbone.take_channels(card.in_channels)
        head = choose_head(card.model, card.head)
        self._check_names(head, for_heads)
        own = self._own_head_options(head) | _known(head, for_heads)
        self.head: Head = create_head(head, self.backbone.features, card.num_classes, **own)
        self.auxiliary = tuple(name for name, output in self.backbone.outputs.items() if output.map is not None)
        for name in self.auxiliary:
            self.add_module(f"{name}_head", self._auxiliary_head(name, for_heads))
        for module in (self.head, *self.training_only()):
            init_convolutions(module, skip=Attention)
        # Last, so that what is drawn for it changes no other weight. The card then names each place.
        self.card = replace(card, insert=insert(self, card.insert))

    def _own_head_options(self, head: str) -> dict[str, Any]:
        """`Backbone.head_options`; for a head that is not its own, only those that the head knows.

        Raises:
            UserError: the backbone's own head does not have one.
        """
        given, known = self.backbone.head_options, head_options(head)
        if head != choose_head(self.card.model, None):
            return fitting_options(head, given)
        for key in given:
            if key not in known:
                raise UserError(
                    f"model '{self.card.model}' gives its head '{head}' a default of '{key}', which is not an option "
                    f"of it.{suggest(key, known)}"
                )
        return dict(given)

    def _auxiliary_head(self, name: str, options: Mapping[str, Any]) -> Head:
        """The head of one output.

        Args:
            options: the options that the user named; a head takes those that it knows.
        """
        output = self.backbone.outputs[name]
        if "map" not in head_options(output.head):
            raise UserError(
                f"model '{self.card.model}': head '{output.head}' of output '{name}' has no option `map`, which "
                "tells an auxiliary head what to read; choose another, as 'conv'"
            )
        own = {**output.options, **_known(output.head, options), "map": output.map}
        return create_head(output.head, self.backbone.features, output.channels or self.card.num_classes, **own)

    def _check_names(self, head: str, options: Mapping[str, Any]) -> None:
        """Raises: UserError: an unknown head, an option that neither the backbone nor a head has, or that both have."""
        backbone = backbone_options(self.card.model)
        auxiliary = [output.head for output in self.backbone.outputs.values() if output.map is not None]
        heads = [head, *auxiliary]
        # Which map an auxiliary head reads is the backbone's to say.
        try:
            known = {*head_options(head), *(key for name in auxiliary for key in head_options(name) if key != "map")}
        except UnknownNameError as error:
            raise UnknownNameError(f"model '{self.card.model}': {error.unknown}", error.known) from None
        if both := sorted(known & backbone.keys()):
            raise UserError(
                f"model '{self.card.model}' and its heads ({', '.join(heads)}) both have an option '{both[0]}': "
                "rename one of them"
            )
        for key in options:
            if key not in known:
                raise UserError(f"model '{self.card.model}' has no option '{key}'.{suggest(key, {*backbone, *known})}")

    def forward(self, image: Tensor) -> Tensor:
        """(B, C, H, W) normalised image -> (B, K, H, W) logits."""
        return upsample_to(self.logits(image), spatial_size(image))

    def logits(self, image: Tensor) -> Tensor:
        """(B, C, H, W) normalised image -> (B, K, ceil(H / s), ceil(W / s)) logits, s being `self.head.stride`."""
        return self._run(MAIN, self._features(image), image)

    def forward_train(self, image: Tensor) -> dict[str, Tensor]:
        """Logits of every head at the image's size, from one pass through the backbone.

        Returns:
            "main": (B, K, H, W), as `forward` gives them; then each output of the backbone that has a head, such as
            "aux": (B, K, H, W), or as many channels as it has of its own.
        """
        features, size = self._features(image), spatial_size(image)
        return {name: upsample_to(self._run(name, features, image), size) for name in (MAIN, *self.auxiliary)}

    def training_only(self) -> Iterable[nn.Module]:
        return [self._head(name) for name in self.auxiliary]

    def _head(self, output: str) -> Head:
        return cast(Head, self.head if output == MAIN else getattr(self, f"{output}_head"))

    def _run(self, output: str, features: Mapping[str, Tensor], image: Tensor) -> Tensor:
        """The logits of one output. Raises: UserError where they are not as many and as large as its head says."""
        head = self._head(output)
        logits = head(features)
        if not torch.compiler.is_compiling():
            own = None if output == MAIN else self.backbone.outputs[output].channels
            info = FeatureInfo(own or self.card.num_classes, head.stride)
            check_shape(f"model '{self.card.model}': output '{output}'", logits, info, image, said="self.stride")
        return logits

    def _features(self, image: Tensor) -> dict[str, Tensor]:
        """The backbone's feature maps.

        Raises:
            UserError: no image batch; or one image in training mode, where BatchNorm after the global pool fails; or
                the maps are not those that the backbone has declared.
        """
        channels = self.card.in_channels
        if image.ndim != 4 or image.shape[1] != channels or not image.is_floating_point():
            raise UserError(
                f"an image batch is (B, {channels}, H, W) in normalised floats, not {tuple(image.shape)} in "
                f"{image.dtype}; rtseg.load(...) takes images, rtseg.layers.normalize.Normalize turns grey levels "
                "0..255 into floats"
            )
        if self.training and len(image) == 1 and not any(isinstance(m, nn.SyncBatchNorm) for m in self.modules()):
            raise UserError(
                "a batch of one cannot be trained: BatchNorm after the global average pool needs two values a channel. "
                "Raise data.batch_size to at least 2 for each device (a smaller data.crop_size makes room); "
                "to use the network instead of training it, call .eval() first."
            )
        maps = self.backbone(image)
        if not torch.compiler.is_compiling():  # a graph with open height and width has no sizes to compare
            check_maps(f"model '{self.card.model}'", self.backbone.features, maps, image)
        return maps

    def save_pretrained(self, save_directory: str | Path, **hub: Any) -> str | None:
        """Writes weights, card and README: a folder that describes itself, for `from_pretrained` and `rtseg.load`.

        The files are written aside and moved when they are whole. In a folder that holds some already these are
        replaced, but its README is kept.

        Args:
            hub: arguments of `PyTorchModelHubMixin.save_pretrained`, e.g. push_to_hub.

        Raises:
            UserError: the folder or its parent is a file or cannot be written to.
        """
        with whole_folder(Path(save_directory)) as written:
            return super().save_pretrained(written, **hub)

    def generate_model_card(self, *args: Any, **kwargs: Any) -> HubCard:
        """The README, from the template above."""
        return super().generate_model_card(*args, card=self.card, **kwargs)

    def _save_pretrained(self, save_directory: Path) -> None:
        write_weights(save_directory, self.card, self.state_dict())

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path, **hub: Any) -> Self:
        """The segmenter that a folder, a checkpoint or a hub repository describes, on the CPU, in evaluation mode.

        Args:
            pretrained_model_name_or_path: see `read_weights`; an 'owner/name' that is not a path is looked for on the
                net.
            hub: arguments of `huggingface_hub.hf_hub_download`, e.g. revision, token.

        Raises:
            UserError: nothing there, damaged, or weights that their card does not describe.
        """
        card, state = read_weights(pretrained_model_name_or_path, **hub)
        return cls.from_weights(card, state, source=f"'{pretrained_model_name_or_path}'")

    @classmethod
    def from_weights(cls, card: ModelCard, state: dict[str, Tensor], *, source: str) -> Self:
        """The segmenter that a card describes with these weights, in evaluation mode.

        Args:
            source: where they come from, for the error.

        Raises:
            UserError: the card names what does not exist, or does not describe the weights.
        """
        try:
            with trained_with(card.plugins), Unfilled():
                segmenter = cls(card)
        except UserError as error:
            raise UserError(f"{source}: {error}") from None
        except (RuntimeError, MemoryError, OverflowError) as error:  # sizes that no memory holds
            raise UserError(
                f"{source}: no network can be built from its card (options {dict(card.options)}): {first_line(error)}"
            ) from None
        segmenter.load_weights(state, source=source)
        return segmenter.eval()

    def load_weights(self, state: dict[str, Tensor], *, source: str) -> None:
        """Loads a complete state dict.

        Args:
            source: where it comes from, for the error.

        Raises:
            UserError: entries are missing, unknown or of another shape, or cannot be used, see `check_state`; the
                message says which, and what that usually means.
        """
        own = self.state_dict()
        check_state(own, state, source)
        if wrong := misfits(own, state):
            raise UserError(
                f"the weights in {source} do not fit {self.card.model} with attention '{self.card.attention}' and "
                f"{self.card.num_classes} classes: {wrong}. "
                "Give the attention, num_classes and options that they were trained with."
            )
        self.load_state_dict(state)


def create_model(
    name: str,
    num_classes: int,
    *,
    attention: str | None = None,
    head: str | None = None,
    insert: Mapping[str, Any] | None = None,
    in_channels: int | None = None,
    **options: Any,
) -> Segmenter:
    """Builds a segmenter by name, with fresh weights.

    Args:
        name: one of `list_models()`, or a network of another library as `list_families()` says, e.g. "timm:resnet18".
        attention: "low+high" or one name for both branches, e.g. "gfa+ca", "sa". None: the model's own, "gfa+ca" for
            RTFormer, "none" for DDRNet, which takes no other.
        head: one of `list_heads()`. None: the model's own.
        insert: place -> an attention that is inserted there, or a list of them, as in {"stage3": "fa:basis=64"}; see
            `rtseg.attention.insertion`. `rtseg list places NAME` prints the places.
        in_channels: of the images, at the full depth of their files (`rtseg.data.channels`); None: RGB of 8 bits. Where
            it is not three, mean and standard deviation are 0.5 and 0.25 until `describe` gives those of the data.
        options: of the backbone (RTFormer: base_channels, cross_size, injection, drop_path; DDRNet: base_channels,
            low_stride) and the heads (fusion, head_channels, spp_channels). Auxiliary heads take those that they have.

    Raises:
        UserError: unknown model, attention, head, place or option, or a bad value.
    """
    with noting() as plugins:
        chosen = choose_attention(name, attention)
        mean, std = _first_normalisation(in_channels)
        card = ModelCard(
            name, chosen, num_classes, options, head=choose_head(name, head), insert=as_insertion(insert),
            channels=in_channels, mean=mean, std=std,
        )  # fmt: skip
        segmenter = Segmenter(card)
    backbone = segmenter.backbone
    if card.in_channels == 3:
        mean, std = backbone.mean, backbone.std
    describe(segmenter, plugins=tuple(sorted(plugins)), mean=mean, std=std)
    return segmenter


def _first_normalisation(channels: int | None) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of a card until they are known. Raises: UserError where no image has the channels."""
    if channels is None:
        return IMAGENET_MEAN, IMAGENET_STD
    check_whole("in_channels", channels, 1)
    check_between("in_channels", channels, 1, MOST_CHANNELS, "RGB has 3")
    return (0.5,) * channels, (0.25,) * channels


def describe(segmenter: Segmenter, **changes: Any) -> None:
    """Changes entries of the segmenter's card, such as class names, palette, data set or input size."""
    segmenter.card = replace(segmenter.card, **changes)


def differences(card: ModelCard, other: ModelCard) -> dict[str, tuple[Any, Any]]:
    """Differences between the networks of two cards: what differs -> (first, second); "sa" equals "sa+sa".

    Raises:
        UserError: a card names an unknown model, attention or head.
    """

    if card.model != other.model:
        return {"model": (card.model, other.model)}
    result: dict[str, tuple[Any, Any]] = {}
    heads = choose_head(card.model, card.head), choose_head(other.model, other.head)
    first = {**_defaults(card.model, heads[0]), **card.options}
    second = {**_defaults(card.model, heads[1]), **other.options}
    attentions = [_resolved(one, options) for one, options in ((card, first), (other, second))]
    keys = [key for key in {**first, **second} if first.get(key) != second.get(key)]
    if card.channels != other.channels:
        result["channels"] = (card.channels, other.channels)
    if card.insert != other.insert:
        result["insert"] = (card.to_dict()["insert"], other.to_dict()["insert"])
    if heads[0] != heads[1]:
        result["head"] = heads
        keys = [key for key in keys if key in first and key in second]  # each head has options of its own
    if attentions[0] == attentions[1]:
        keys = [key for key in keys if key not in network_options()]  # the attention names its own, or needs none
    elif not network_options() & set(keys) or card.attention != other.attention:
        result["attention"] = (card.attention, other.attention)
    if keys:
        result["options"] = ({key: first.get(key) for key in keys}, {key: second.get(key) for key in keys})
    return result


def _known(head: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that a head knows."""
    own = head_options(head)
    return {key: value for key, value in options.items() if key in own}


def _defaults(model: str, head: str) -> dict[str, Any]:
    """Option -> default of a model with this head; an option that depends on the backbone's widths is None."""
    return backbone_options(model) | head_options(head) | fitting_options(head, own_head_options(model))


def _resolved(card: ModelCard, options: Mapping[str, Any]) -> Any:
    """The card's attention with every default written out, for comparison."""
    attention = choose_attention(card.model, card.attention)
    has_none = choose_attention(card.model, None) == NO_ATTENTION
    return attention if has_none else resolve_attention(attention, options)
