import copy

import pytest
import torch
from torch import Tensor

from rtseg.deploy.fuse import deploy
from rtseg.errors import UserError
from rtseg.layers.normalize import Normalize
from rtseg.models.segmenter import Segmenter


def expected_classes(segmenter: Segmenter, image: Tensor) -> Tensor:
    """The long way: (B, H, W, 3) uint8 -> argmax of the segmenter's own full-size logits."""
    normalize = Normalize(segmenter.card.mean, segmenter.card.std)
    with torch.no_grad():
        return segmenter.eval()(normalize(image.permute(0, 3, 1, 2).contiguous())).argmax(1)


@pytest.mark.parametrize("size", [(64, 96), (37, 53), (1, 1), (8, 129)])
@pytest.mark.parametrize("memory_format", [torch.channels_last, torch.contiguous_format])
def test_class_map_is_the_argmax_of_forward(
    segmenter: Segmenter, size: tuple[int, int], memory_format: torch.memory_format
) -> None:
    image = torch.randint(0, 256, (2, *size, 3), dtype=torch.uint8)
    network = deploy(segmenter, memory_format=memory_format)
    found = network(image)
    assert found.shape == (2, *size)
    assert found.dtype == torch.uint8
    # Another memory format sums in another order: a pixel between two classes may fall to either side.
    assert (found == expected_classes(segmenter, image)).float().mean() >= 0.999
    for one, of_batch in zip(image, found, strict=True):
        assert network(one).shape == size
        assert (network(one) == of_batch).float().mean() >= 0.999


def test_plain_memory_format_is_exact(segmenter: Segmenter) -> None:
    image = torch.randint(0, 256, (1, 61, 45, 3), dtype=torch.uint8)
    found = deploy(segmenter, memory_format=torch.contiguous_format)(image)
    assert torch.equal(found, expected_classes(segmenter, image).to(torch.uint8))


def test_network_predicts_more_than_one_class(segmenter: Segmenter) -> None:
    """Otherwise the comparisons above would show nothing."""
    assert len(deploy(segmenter)(torch.randint(0, 256, (64, 64, 3), dtype=torch.uint8)).unique()) > 1


def test_original_is_untouched_and_aux_head_gone(segmenter: Segmenter) -> None:
    before = copy.deepcopy(segmenter.state_dict())
    network = deploy(segmenter)
    network(torch.randint(0, 256, (32, 32, 3), dtype=torch.uint8))
    assert segmenter.training
    assert all(parameter.requires_grad for parameter in segmenter.parameters())
    assert all(torch.equal(before[key], value) for key, value in segmenter.state_dict().items())
    assert not any("aux_head" in name for name, _ in network.named_parameters())
    deployed = sum(p.numel() for p in network.parameters())
    assert deployed == sum(p.numel() for name, p in segmenter.named_parameters() if not name.startswith("aux_head."))
    with torch.no_grad():
        next(network.parameters()).zero_()
    assert torch.equal(before[next(iter(before))], next(segmenter.parameters()))


def test_half_precision_weights(segmenter: Segmenter) -> None:
    assert deploy(segmenter.bfloat16())(torch.zeros(16, 24, 3, dtype=torch.uint8)).shape == (16, 24)


@pytest.mark.parametrize(
    "image",
    [
        torch.zeros(32, 32, 3),
        torch.zeros(3, 32, 32, dtype=torch.uint8),
        torch.zeros(32, 32, dtype=torch.uint8),
        torch.zeros(1, 0, 32, 3, dtype=torch.uint8),
        torch.zeros(32, 32, 4, dtype=torch.uint8),
    ],
    ids=["float", "channels first", "grey", "empty", "rgba"],
)
def test_other_input_is_refused(segmenter: Segmenter, image: Tensor) -> None:
    with pytest.raises(UserError, match=r"uint8 RGB pictures of shape \(H, W, 3\)"):
        deploy(segmenter)(image)
