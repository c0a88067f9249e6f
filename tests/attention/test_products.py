"""In evaluation, 1x1 convolutions of channels_last maps are products that turn them; the numbers stay the same."""

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from rtseg.attention import create_attention
from rtseg.attention.products import rows_to_map, to_rows

FORMATS = [torch.contiguous_format, torch.channels_last]
every_format = pytest.mark.parametrize("memory_format", FORMATS)


@every_format
@pytest.mark.parametrize("stride", [1, 2])
def test_products_are_the_convolution_in_the_layout_that_is_promised(
    memory_format: torch.memory_format, stride: int
) -> None:
    conv = nn.Conv2d(6, 10, 1, stride, bias=False).eval().to(memory_format=memory_format)
    x = torch.randn(3, 6, 7, 5).contiguous(memory_format=memory_format)
    rows = to_rows(conv, x)
    assert rows.is_contiguous()
    torch.testing.assert_close(rows, conv(x).flatten(2))
    back = nn.Conv2d(6, 10, 1, bias=False).eval().to(memory_format=memory_format)
    y = rows_to_map(back, x.flatten(2).contiguous(), (7, 5), like=x)
    assert y.is_contiguous(memory_format=memory_format)
    torch.testing.assert_close(y, back(x))


@every_format
@pytest.mark.parametrize("spec", ["gfa", "gfa:norm=log", "fa", "fa:kind=dot:values=none", "fa:transformer=2", "nl"])
@pytest.mark.parametrize(("channels", "stride"), [(16, 1), (32, 2)])
def test_training_and_evaluation_give_the_same_numbers(
    spec: str, memory_format: torch.memory_format, channels: int, stride: int
) -> None:
    attention = create_attention(spec, 16, channels, stride=stride, branch="low").to(memory_format=memory_format)
    for parameter in attention.parameters():
        nn.init.normal_(parameter, std=0.3)
    x = torch.randn(2, 16, 9, 7).contiguous(memory_format=memory_format).requires_grad_()
    expected = attention.train()(x)
    upstream = torch.randn_like(expected)
    gradients = [
        torch.autograd.grad(attention.train(training)(x), [x, *attention.parameters()], upstream)
        for training in (True, False)
    ]
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-3, atol=1e-4)
    with FlopCounterMode(display=False) as counter:
        y = attention.eval()(x)
    torch.testing.assert_close(y, expected, rtol=1e-4, atol=1e-5)
    assert counter.get_total_flops() == 2 * 2 * attention.cost(9, 7).macs  # two pictures
