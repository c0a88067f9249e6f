"""What can be deployed, exported and timed: a module that has a card, and makes logits of a normalised image."""

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
