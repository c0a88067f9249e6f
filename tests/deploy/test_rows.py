"""No BatchNorm that could fold is left in the deployed form of any network; a block that does not answer is found."""

from collections.abc import Iterator, Sequence
from contextlib import suppress

import pytest
import torch
from torch import Tensor, nn

from rtseg.attention import create_attention
from rtseg.deploy.fuse import count_batchnorm, deploy
from rtseg.errors import UserError
from rtseg.layers.conv import conv3x3
from rtseg.layers.rows import HasRows
from rtseg.models import create_model, list_heads, list_models
from rtseg.models.backbone import NO_ATTENTION, choose_head, swappable_models
from rtseg.models.model_card import ModelCard
from rtseg.models.network import Network
from rtseg.models.segmenter import Segmenter
from tests.helpers.folding import unfolded
from tests.helpers.segmenters import FAMILIES, every_model, narrow, small

IMAGE = torch.randn(1, 3, 48, 64)


@pytest.mark.parametrize("model", every_model())
def test_nothing_that_folds_is_left(model: str) -> None:
    network = create_model(model, 5, **narrow(model))
    folded, plain = deploy(network), deploy(network, fold=False)
    assert unfolded(folded, IMAGE) == []
    # As many are found in what is computed as fold by the blocks' answers.
    assert len(unfolded(plain, IMAGE)) == count_batchnorm(plain) - count_batchnorm(folded)


def with_head(head: str) -> Segmenter:
    """The first model that has the maps that the head reads."""
    for model in list_models():
        with suppress(UserError):
            return create_model(model, 5, **narrow(model, head=head))
    raise AssertionError(f"head '{head}' fits none of {', '.join(list_models())}")


# Those that no test above has seen.
OTHER_HEADS = sorted({*list_heads()} - {choose_head(model, None) for model in FAMILIES})


@pytest.mark.parametrize("head", OTHER_HEADS)
def test_nothing_that_folds_is_left_under_another_head(head: str) -> None:
    assert unfolded(deploy(with_head(head)), IMAGE) == []


# Those that take a norm's scale: one of two, both, none.
@pytest.mark.parametrize(
    "attention", ["sa+gfa", *(pytest.param(name, marks=pytest.mark.slow) for name in ("gfa", "sa"))]
)
def test_nothing_that_folds_is_left_under_another_attention(attention: str) -> None:
    assert unfolded(deploy(small(swappable_models()[-1], attention)), IMAGE) == []


# --- blocks that do not answer


class Silent(nn.Module):
    """A convolution before a norm, a norm before a 1x1, a norm before an attention; and norms that must stay."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = conv3x3(3, 8)
        self.behind_conv = nn.BatchNorm2d(8)
        self.before_relu = nn.BatchNorm2d(8)
        self.before_conv1x1 = nn.BatchNorm2d(8)
        self.conv1x1 = nn.Conv2d(8, 8, 1)
        self.before_attention = nn.BatchNorm2d(8)
        self.attention = create_attention("gfa", 8)
        self.before_conv3x3 = nn.BatchNorm2d(8)
        self.conv3x3 = conv3x3(8, 8)
        self.behind_shared = nn.BatchNorm2d(8)

    def forward(self, x: Tensor) -> Tensor:
        x = self.before_relu(self.behind_conv(self.conv(x)).sigmoid()).relu()
        x = self.conv1x1(self.before_conv1x1(x)).sigmoid()
        x = self.attention(self.before_attention(x))
        x = self.conv3x3(self.before_conv3x3(x))
        return x + self.behind_shared(x)


class Answering(Silent):
    def rows(self) -> Iterator[Sequence[nn.Module]]:
        yield self.conv, self.behind_conv
        yield self.before_conv1x1, self.conv1x1
        yield self.before_attention, self.attention
        yield self.before_conv3x3, self.conv3x3


class Toy(Network):
    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.card = ModelCard("toy", NO_ATTENTION, 8)
        self.block = block
        for norm in block.modules():
            if isinstance(norm, nn.BatchNorm2d):
                assert norm.running_mean is not None
                norm.running_mean.normal_(std=0.3)

    def logits(self, image: Tensor) -> Tensor:
        return self.block(image)


def test_a_block_that_does_not_answer_is_found() -> None:
    toy, image = Toy(Silent()), torch.randn(1, 3, 16, 24)
    assert not isinstance(toy.block, HasRows)
    assert unfolded(deploy(toy), image) == ["block.before_attention", "block.before_conv1x1", "block.behind_conv"]


def test_a_block_that_answers_is_folded_and_computes_the_same() -> None:
    toy, image = Toy(Answering()).double().eval().requires_grad_(False), torch.randn(1, 3, 16, 24).double()
    deployed = deploy(toy)
    assert unfolded(deployed, image) == []
    assert count_batchnorm(deployed) == 3
    torch.testing.assert_close(deployed.logits(image), toy.logits(image), rtol=1e-10, atol=1e-12)


def test_what_is_read_or_run_twice_is_not_foldable() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = conv3x3(3, 3), nn.BatchNorm2d(3)
            self.first, self.second = nn.BatchNorm2d(3), nn.BatchNorm2d(3)
            self.last = conv3x3(3, 3)

        def forward(self, x: Tensor) -> Tensor:
            x = self.norm(self.conv(x)).relu()
            x = self.norm(self.conv(x)).relu()
            x = self.last(x)
            return self.first(x) + self.second(x)

    assert unfolded(deploy(Toy(Twice())), torch.randn(1, 3, 16, 24)) == []
