"""Every mechanism gives in ONNX, with height and width left open, what it gives in PyTorch."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from rtseg.attention import list_attentions
from tests.attention.test_mechanisms import create, distance, inputs


class Together(nn.Module):
    """Several attentions of the same maps."""

    def __init__(self, specs: Sequence[str]) -> None:
        super().__init__()
        self.attentions = nn.ModuleList(create(spec, "high") for spec in specs)

    def forward(self, x: Tensor, context: Tensor) -> tuple[Tensor, ...]:
        return tuple(attention(x, context) for attention in self.attentions)


# In one file, since each export takes a second. `na` exports both of its ways, which takes long.
TOGETHER = ["sa:reduction=1", "ca:cross_size=12", *(name for name in list_attentions() if name != "na")]


@pytest.mark.parametrize("specs", [TOGETHER, pytest.param(["na"], marks=pytest.mark.slow)], ids=["others", "na"])
@torch.no_grad()
def test_the_graph_of_open_size_is_the_mechanism(specs: list[str], tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")
    attentions, size = Together(specs).eval(), {2: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC}
    names = ("x", "context")
    program = torch.onnx.export(
        attentions, inputs(1, 24, 32), dynamo=True, dynamic_shapes=(size, size), input_names=names, verbose=False
    )
    assert program is not None
    program.save(tmp_path / "attention.onnx")
    session = runtime.InferenceSession(tmp_path / "attention.onnx", providers=["CPUExecutionProvider"])
    read = {given.name for given in session.get_inputs()}  # most do not read the context
    for height, width in ((24, 32), (33, 17), (5, 7), (1, 1)):
        given = dict(zip(names, inputs(1, height, width), strict=True))
        found = session.run(None, {name: t.numpy() for name, t in given.items() if name in read})
        for spec, y, expected in zip(specs, found, attentions(**given), strict=True):
            assert distance(torch.from_numpy(y), expected) < 2e-5, spec
