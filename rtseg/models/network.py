"""What can be deployed, exported and timed: a module that has a card, and makes logits of a normalised image."""

from collections.abc import Iterable

from torch import Tensor, nn

from rtseg.models.model_card import ModelCard


class Network(nn.Module):
    """Base of `Segmenter` and of networks of other libraries.

    Attributes:
        card: its name, classes and normalisation.
    """

    card: ModelCard

    def logits(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) normalised image -> (B, K, h, w) logits at the network's own stride."""
        raise NotImplementedError

    def training_only(self) -> Iterable[nn.Module]:
        """Its children that a deployed network leaves out, such as auxiliary heads."""
        return ()

    def training_only_prefixes(self) -> tuple[str, ...]:
        """What the names of their parameters and buffers begin with."""
        left_out = {id(module) for module in self.training_only()}
        return tuple(f"{name}." for name, child in self.named_children() if id(child) in left_out)
