"""What can be deployed, exported and timed: a module with a card that turns a normalised image into logits."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from torch import Tensor, nn

from rtseg.models.model_card import ModelCard


class Network(nn.Module):
    """Base of `Segmenter`, of networks of other libraries, and of your own that is to be deployed or timed.

    Attributes:
        card: its name, classes and normalisation.
    """

    card: ModelCard

    def logits(self, image: Tensor) -> Tensor:
        """(B, C, H, W) normalised image, C being `card.in_channels` -> (B, K, h, w) logits at the network's stride."""
        raise NotImplementedError

    def training_only(self) -> Iterable[nn.Module]:
        """Its children that a deployed network leaves out, such as auxiliary heads."""
        return ()

    def training_only_prefixes(self) -> tuple[str, ...]:
        """What the names of their parameters and buffers begin with."""
        left_out = {id(module) for module in self.training_only()}
        return tuple(f"{name}." for name, child in self.named_children() if id(child) in left_out)

    def facts(self) -> dict[str, Any]:
        """What a report says about it beside its card; plain JSON types."""
        return {}

    def recipe(self) -> Callable[[], "Network"]:
        """A function that another process calls to build a network of the same work; its weights may differ."""
        return partial(_same, self)


def _same(network: Network) -> Network:
    return network
