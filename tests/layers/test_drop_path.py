import pytest
import timm.layers
import torch

from rtseg.layers.drop_path import DropPath


@pytest.mark.parametrize("shape", [(64, 2, 3, 5), (16, 7)])
def test_the_same_images_lose_their_branch_as_in_timm(shape: tuple[int, ...]) -> None:
    """To the bit, so that a training goes on as before."""
    x = torch.randn(shape)
    torch.manual_seed(3)
    theirs = timm.layers.DropPath(0.3)(x)
    torch.manual_seed(3)
    ours = DropPath(0.3)(x)
    assert torch.equal(ours, theirs)
    left_out = (ours == 0).flatten(1).all(1)
    assert 0 < left_out.sum() < len(x), "for each image by itself"


def test_nothing_is_left_out_in_evaluation_or_at_zero() -> None:
    x = torch.randn(8, 2)
    assert DropPath(0.9).eval()(x) is x
    assert DropPath(0.0)(x) is x
