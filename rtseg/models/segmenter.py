"""A segmenter: backbone, head and auxiliary head; the one thing that is trained, saved, measured and deployed.

B batch, K classes, H, W input height and width.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from huggingface_hub import ModelCard as HubCard
from huggingface_hub import PyTorchModelHubMixin
from torch import Tensor, nn

from rtseg.attention.base import Attention
from rtseg.attention.build import resolve_attention
from rtseg.attention.registry import network_options
from rtseg.errors import UserError
from rtseg.layers.conv import init_convolutions, spatial_size, upsample_to
from rtseg.models.backbone import (
    NO_ATTENTION,
    Backbone,
    backbone_options,
    check_options,
    choose_attention,
    create_backbone,
)
from rtseg.models.heads import ConvHead, DualResolutionHead
from rtseg.models.model_card import ModelCard
from rtseg.models.network import Network
from rtseg.models.weights import misfits, read_weights, whole_folder, write_weights
from rtseg.plugins import noting
from rtseg.registry import trained_with

HEAD_OPTIONS: dict[str, Any] = {"head_channels": None, "spp_channels": 128}

_README = """---
{{ card_data }}
---

# {{ card.model }}, attention {{ card.attention }}, {{ card.num_classes }} classes

Data set: {{ card.dataset or "not stated" }}. Weights: {{ card.source or "not stated" }}. `config.json` holds the
classes, their colours and the normalisation.

```python
import rtseg

class_map = rtseg.load("path of this folder")("street.jpg")
```
"""


class Segmenter(
    Network,
    PyTorchModelHubMixin,
    library_name="rtseg",
    pipeline_tag="image-segmentation",
    model_card_template=_README,
):
    """A network built from its card; `create_model` is the usual way to one.

    Raises:
        UserError: unknown model, attention or option, or a bad value of one.
    """

    def __init__(self, card: ModelCard) -> None:
        super().__init__()
        check_options(card.model, card.options, {**backbone_options(card.model), **HEAD_OPTIONS})
        backbone_part = {key: value for key, value in card.options.items() if key not in HEAD_OPTIONS}
        head_part = {**HEAD_OPTIONS, **{key: value for key, value in card.options.items() if key in HEAD_OPTIONS}}
        self.card = card
        self.backbone: Backbone = create_backbone(card.model, attention=card.attention, **backbone_part)
        features = self.backbone.features
        hidden = head_part["head_channels"] or features["aux"].channels
        self.head = DualResolutionHead(
            features, card.num_classes,
            fusion=self.backbone.fusion, hidden_channels=hidden, spp_channels=head_part["spp_channels"],
        )  # fmt: skip
        self.aux_head = ConvHead(features["aux"].channels, hidden, card.num_classes)
        for head in (self.head, self.aux_head):
            init_convolutions(head, skip=Attention)

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) normalised image -> (B, K, H, W) logits."""
        return upsample_to(self.logits(image), spatial_size(image))

    def logits(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) normalised image -> (B, K, ceil(H / 8), ceil(W / 8)) logits."""
        return self.head(self._features(image))

    def forward_train(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of the head and of the auxiliary head, both (B, K, H, W), from one pass through the backbone."""
        features = self._features(image)
        size = spatial_size(image)
        return upsample_to(self.head(features), size), upsample_to(self.aux_head(features["aux"]), size)

    def _features(self, image: Tensor) -> dict[str, Tensor]:
        """The backbone's feature maps.

        Raises:
            UserError: no image batch; or one image in training mode, where BatchNorm after the global pool fails.
        """
        if image.ndim != 4 or image.shape[1] != 3 or not image.is_floating_point():
            raise UserError(
                f"an image batch is (B, 3, H, W) in normalised floats, not {tuple(image.shape)} in {image.dtype}; "
                "rtseg.load(...) takes pictures, rtseg.layers.normalize.Normalize turns grey levels 0..255 into floats"
            )
        if self.training and len(image) == 1 and not any(isinstance(m, nn.SyncBatchNorm) for m in self.modules()):
            raise UserError(
                "a batch of one cannot be trained: BatchNorm after the global average pool needs two values a channel. "
                "Raise data.batch_size to at least 2 for each device (a smaller data.crop_size makes room); "
                "to use the network instead of training it, call .eval() first."
            )
        return self.backbone(image)

    def save_pretrained(self, save_directory: str | Path, **hub: Any) -> str | None:
        """Writes weights, card and README: a folder that describes itself, for `from_pretrained` and `rtseg.load`.

        The files are written aside and moved when they are whole. In a folder that holds some already these are
        replaced, but its README is kept.

        Args:
            hub: of `PyTorchModelHubMixin.save_pretrained`, e.g. push_to_hub.

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
            pretrained_model_name_or_path: see `read_weights`; only an 'owner/name' that is no path here is looked for
                on the net.
            hub: of `huggingface_hub.hf_hub_download`, e.g. revision, token.

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
            with trained_with(card.plugins):
                segmenter = cls(card)
        except UserError as error:
            raise UserError(f"{source}: {error}") from None
        segmenter.load_weights(state, source=source)
        return segmenter.eval()

    def load_weights(self, state: dict[str, Tensor], *, source: str) -> None:
        """Loads a complete state dict.

        Args:
            source: where it comes from, for the error.

        Raises:
            UserError: entries are missing, unknown or of another shape; the message says which, and what that usually
                means.
        """
        if wrong := misfits(self.state_dict(), state):
            raise UserError(
                f"the weights in {source} do not fit {self.card.model} with attention '{self.card.attention}' and "
                f"{self.card.num_classes} classes: {wrong}. "
                "Give the attention, num_classes and options that they were trained with."
            )
        self.load_state_dict(state)


def create_model(name: str, num_classes: int, *, attention: str | None = None, **options: Any) -> Segmenter:
    """Builds a segmenter by name, with fresh weights.

    Args:
        name: one of `list_models()`.
        attention: "low+high" or one name for both branches, e.g. "gfa+ca", "sa". None: the model's own, "gfa+ca" for
            RTFormer, "none" for DDRNet, which takes no other.
        options: of the backbone (RTFormer: base_channels, cross_size, injection, drop_path; DDRNet: base_channels,
            low_stride) and the head (head_channels, spp_channels).

    Raises:
        UserError: unknown model, attention or option, or a bad value.
    """
    with noting() as plugins:
        segmenter = Segmenter(ModelCard(name, choose_attention(name, attention), num_classes, options))
    describe(segmenter, plugins=tuple(sorted(plugins)))
    return segmenter


def describe(segmenter: Segmenter, **changes: Any) -> None:
    """Writes into the card what is learnt after the segmenter was built: class names, palette, data set, input size."""
    segmenter.card = replace(segmenter.card, **changes)


def differences(card: ModelCard, other: ModelCard) -> dict[str, tuple[Any, Any]]:
    """In what the networks of two cards differ, however it is spelled ("sa" is "sa+sa"): what -> (first, second).

    Raises:
        UserError: a card names an unknown model or attention.
    """

    if card.model != other.model:
        return {"model": (card.model, other.model)}
    result: dict[str, tuple[Any, Any]] = {}
    defaults = {**backbone_options(card.model), **HEAD_OPTIONS}
    first, second = {**defaults, **card.options}, {**defaults, **other.options}
    attentions = [_resolved(one, options) for one, options in ((card, first), (other, second))]
    keys = [key for key in first if first[key] != second[key]]
    if attentions[0] == attentions[1]:
        keys = [key for key in keys if key not in network_options()]  # the attention names its own, or needs none
    elif not network_options() & set(keys) or card.attention != other.attention:
        result["attention"] = (card.attention, other.attention)
    if keys:
        result["options"] = ({key: first[key] for key in keys}, {key: second[key] for key in keys})
    return result


def _resolved(card: ModelCard, options: Mapping[str, Any]) -> Any:
    """The card's attention with all that it leaves to defaults, to be compared."""
    attention = choose_attention(card.model, card.attention)
    has_none = choose_attention(card.model, None) == NO_ATTENTION
    return attention if has_none else resolve_attention(attention, options)
