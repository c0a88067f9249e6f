"""The head that a backbone gets in pre-training: what it says itself, and the mean of a map where it says nothing."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pretrain.networks.classifier import Classifier
from pretrain.networks.heads import PooledHead, create_head
from rtseg.errors import UserError
from rtseg.models.backbone import Backbone, ClassifierHead, FeatureInfo
from rtseg.registry import UnknownNameError
from tests.helpers.fresh import run_fresh

FEATURES = {
    "c2": FeatureInfo(4, 4),
    "c5": FeatureInfo(16, 32),
    "detail": FeatureInfo(8, 8),
    "again": FeatureInfo(6, 32),
}


class Toy(Backbone):
    """Three maps, and no word about classification."""

    head = "conv"

    def __init__(self) -> None:
        super().__init__()
        self.features = {"c2": FeatureInfo(4, 4), "c3": FeatureInfo(6, 8), "c4": FeatureInfo(8, 16)}
        self.stages = nn.ModuleList([nn.Conv2d(3, 4, 3, 4, 1), nn.Conv2d(4, 6, 3, 2, 1), nn.Conv2d(6, 8, 3, 2, 1)])

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        maps = {}
        for name, stage in zip(self.features, self.stages, strict=True):
            maps[name] = image = stage(image).relu()
        return maps


def test_a_backbone_that_says_nothing_is_classified_by_the_mean_of_its_coarsest_map() -> None:
    network, image = Classifier(Toy(), 5), torch.randn(2, 3, 64, 48)
    expected = network.fc(network.backbone(image)["c4"].mean((2, 3)))
    torch.testing.assert_close(network(image), expected)
    assert {key.split(".")[0] for key in network.state_dict()} == {"backbone", "fc"}
    F.cross_entropy(network(image), torch.tensor([0, 4])).backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in network.parameters())


def test_of_equally_coarse_maps_the_last_is_pooled_and_named_ones_stand_side_by_side() -> None:
    maps = {name: torch.randn(2, info.channels, 3, 5) for name, info in FEATURES.items()}
    assert torch.equal(PooledHead(FEATURES)(maps), maps["again"].mean((2, 3)))
    named = PooledHead(FEATURES, maps=("detail", "c5"))
    assert named.out_channels == 24
    assert torch.equal(named(maps), torch.cat([maps["detail"].mean((2, 3)), maps["c5"].mean((2, 3))], 1))


@pytest.mark.parametrize(
    ("head", "error", "message"),
    [
        (ClassifierHead("pooling"), UnknownNameError, "unknown classifier head 'pooling'. Did you mean 'pooled'"),
        (ClassifierHead("pooled", {"maps": ("c9",)}), UserError, "maps=c9 is unknown.* Known: c2, c3, c4"),
    ],
)
def test_what_a_backbone_says_wrongly_is_told(head: ClassifierHead, error: type[Exception], message: str) -> None:
    backbone = Toy()
    backbone.classifier_head = head
    with pytest.raises(error, match=message):
        create_head(backbone)


PLUGIN = """
import torch
from torch import nn
from rtseg.models.backbone import Backbone, FeatureInfo, register_backbone

@register_backbone("plain")
class Plain(Backbone):
    head = "conv"
    classifier_options = {"width": 12}

    def __init__(self, *, width: int = 8) -> None:
        super().__init__()
        self.features = {"last": FeatureInfo(width, 8)}
        self.conv = nn.Conv2d(3, width, 3, 8, 1)

    def forward(self, image):
        return {"last": self.conv(image).relu()}
"""
PROGRAM = """
import torch
from pretrain.networks.classifier import classifier_options, create_classifier, list_classifiers
from rtseg.plugins import load_plugin

assert "plain" not in list_classifiers() and "resnet18" in list_classifiers()
load_plugin("plain.py")
assert "plain" in list_classifiers()
assert classifier_options("plain", {}) == {"width": 12} and classifier_options("plain", {"width": 4}) == {"width": 4}
network = create_classifier("plain", 7)
assert network.backbone.conv.out_channels == 12
print(*network(torch.randn(2, 3, 32, 40)).shape)
"""


def test_a_backbone_registered_later_is_a_classifier(tmp_path: Path) -> None:
    """In a process of its own, since what is registered stays."""
    (tmp_path / "plain.py").write_text(PLUGIN)

    def run(program: str) -> str:
        status, out, err = run_fresh(program, tmp_path)
        assert status == 0, err
        return out

    assert run(PROGRAM) == "2 7\n"
    listed = run("from pretrain.commands import main; main(['--plugin', 'plain.py', 'list'])").splitlines()
    assert "plain" in listed  # without "classifies only"
