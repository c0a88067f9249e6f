"""Every row of RTFormer's Table 3, the whole network, and DDRNet export to ONNX with height and width left open.

By default only the mechanisms do, in tests/attention/test_onnx.py, and one network for the engines of
tests/deploy/test_engines_in_predictor.py.

The graph is `forward`, the logits at the size of the image: what a program that segments needs, and with the last
upsampling, whose size is open too, more than `logits`. ONNX Runtime stands for all that read the file.
"""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rtseg.attention import list_attentions, parse_attention
from rtseg.attention.base import Attention
from rtseg.models import Segmenter, create_model
from rtseg.studies.compare.rows import TABLE3

from .test_table3 import ROWS

pytest.importorskip("onnxscript")
runtime = pytest.importorskip("onnxruntime")

# One row for each mechanism, in a narrow network: the graph is that of the wide one.
MECHANISMS = ["ea", "fa", "gfa", "gfa+ca", "la", "na", "nl", "sa"]
NARROW: dict[str, Any] = {"base_channels": 16, "spp_channels": 16, "head_channels": 16, "num_classes": 5}

# What `rtseg compare` has, and what the parameters of Table 3 are counted on.
WHOLE: list[tuple[str, dict[str, Any]]] = [(row.attention, dict(row.options)) for row in TABLE3]
WHOLE += [(attention, options) for attention, options, *_ in ROWS if (attention, options) not in WHOLE]

TRACED = (64, 96)
# Beside the traced size: odd ones, fewer pixels than a stride, and more than traced on both sides. They make 6, 32, 1
# and 72 tokens of the low branch and 96, 377, 1 and 1152 of the high one: on both sides of the 32 or 64 landmarks of
# na, which takes another way where tokens are no more than these, and at 32 itself.
SIZES = [TRACED, (101, 231), (5, 7), (288, 256)]

TOLERANCE = 1e-4  # float32 against float64 is up to a tenth of it


def create(attention: str, *, num_classes: int = 150, **options: Any) -> Segmenter:
    return prepare(create_model("rtformer_slim", num_classes, attention=attention, drop_path=0.0, **options))


def prepare(network: Segmenter) -> Segmenter:
    """With attentions that matter, which the tiny initial values of some do not, and statistics as after a training:
    those that BatchNorm begins with let the scores grow until rounding decides what is looked at."""
    for module in network.modules():
        if isinstance(module, Attention):
            for parameter in module.parameters():
                if parameter.ndim > 1:
                    nn.init.normal_(parameter, std=(parameter.numel() / len(parameter)) ** -0.5)
        elif isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        network.train().forward_train(torch.randn(4, 3, 128, 160))
    return network.eval()


def distance(y: Tensor, expected: Tensor) -> float:
    """Largest difference as a share of the largest logit."""
    return float((y - expected).abs().max() / expected.abs().max())


@torch.no_grad()
def check(network: Segmenter, file: Path, *, number_attentions: int = 4) -> None:
    """The file's logits are the network's at every size; an error of a twentieth in any one attention would show."""
    size = {2: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC}
    image = torch.randn(1, 3, *TRACED)
    attentions = [module for module in network.modules() if isinstance(module, Attention)]
    assert len(attentions) == number_attentions
    for attention in attentions:
        with attention.register_forward_hook(lambda *call: torch.zeros_like(call[2])):
            without = network(image)
        assert distance(without, network(image)) > 20 * TOLERANCE
    program = torch.onnx.export(network, (image,), dynamo=True, dynamic_shapes=(size,), verbose=False)
    assert program is not None
    program.save(file)
    session = runtime.InferenceSession(file, providers=["CPUExecutionProvider"])
    (name,) = (given.name for given in session.get_inputs())
    for height, width in SIZES:
        image = torch.randn(1, 3, height, width)
        expected, (y,) = network(image), (torch.from_numpy(t) for t in session.run(None, {name: image.numpy()}))
        assert y.shape == expected.shape == (1, network.card.num_classes, height, width)
        assert distance(y, expected) < TOLERANCE, (height, width)
        first, second = expected.topk(2, 1).values.unbind(1)
        decided = first - second > 2 * TOLERANCE * expected.abs().max()  # by more than both logits may be off
        assert decided.float().mean() > 0.95
        assert torch.equal(y.argmax(1)[decided], expected.argmax(1)[decided])


def test_the_quick_rows_hold_every_mechanism() -> None:
    assert {spec.name for row in MECHANISMS for spec in parse_attention(row)} == set(list_attentions())


@pytest.mark.slow
@pytest.mark.parametrize("attention", MECHANISMS)
def test_every_mechanism_exports_with_open_height_and_width(attention: str, tmp_path: Path) -> None:
    check(create(attention, **NARROW), tmp_path / "network.onnx")


@pytest.mark.slow
def test_ddrnet_exports_with_open_height_and_width(tmp_path: Path) -> None:
    check(prepare(create_model("ddrnet_23_slim", **NARROW)), tmp_path / "network.onnx", number_attentions=0)


@pytest.mark.slow
@pytest.mark.parametrize(("attention", "options"), WHOLE, ids=[f"{row[0]}{row[1] or ''}" for row in WHOLE])
def test_every_row_exports_with_open_height_and_width(attention: str, options: dict[str, Any], tmp_path: Path) -> None:
    check(create(attention, **options), tmp_path / "network.onnx")
