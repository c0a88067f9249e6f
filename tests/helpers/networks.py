"""Networks small enough to build and run in milliseconds, with every part of the real ones."""

from dataclasses import replace

import torch
from torch import Tensor, nn

from rtseg.models import create_model
from rtseg.models.model_card import ModelCard
from rtseg.models.network import Network
from rtseg.models.segmenter import Segmenter

SHAPE = (1, 64, 96)  # of the exported graphs


def tiny_segmenter() -> Segmenter:
    """Five classes; its statistics are those after a training, so that eval mode differs from train mode."""
    torch.manual_seed(0)
    network = create_model("rtformer_slim", 5, base_channels=8, spp_channels=16, head_channels=8, cross_size=3)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.uniform_(-0.3, 0.3)
            module.running_var.uniform_(0.5, 2)
    network.card = replace(
        network.card,
        class_names=("sky", "road", "car", "tree", "sign"),
        palette=((70, 130, 180), (128, 64, 128), (0, 0, 142), (107, 142, 35), (220, 220, 0)),
        ids=(7, 8, 11, 300, 12),
        mean=(0.4, 0.5, 0.6),
        std=(0.2, 0.25, 0.3),
        input_size=(40, 48),
    )
    return network.train()


class OneConvolution(Network):
    """Three classes at stride 8: exported within a second."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.card = ModelCard(model="one_convolution", attention="none", num_classes=3)
        self.conv = nn.Conv2d(3, 3, 8, 8, 4)

    def logits(self, image: Tensor) -> Tensor:
        return self.conv(image)
