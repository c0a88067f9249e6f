"""Both forms of the adaptive pools are PyTorch's at every size, and their export serves every size too."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from rtseg.layers.pooling import adaptive_avg_pool2d, adaptive_max_pool2d, average_by_matrices, maximum_by_gather

Pool = Callable[[Tensor, tuple[int, int]], Tensor]
EAGER = {"average": adaptive_avg_pool2d, "maximum": adaptive_max_pool2d}
EXPORTED = {"average": average_by_matrices, "maximum": maximum_by_gather}
TORCHS: dict[str, Pool] = {"average": F.adaptive_avg_pool2d, "maximum": F.adaptive_max_pool2d}
both_pools = pytest.mark.parametrize("kind", ["average", "maximum"])


@both_pools
@settings(deadline=None, max_examples=40)
@given(
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    grid=st.tuples(st.integers(1, 17), st.integers(1, 17)),
    dtype=st.sampled_from([torch.float32, torch.float64, torch.bfloat16]),
    channels_last=st.booleans(),
)
@example(size=(1, 1), grid=(16, 16), dtype=torch.float32, channels_last=False)
@example(size=(16, 16), grid=(12, 12), dtype=torch.float32, channels_last=True)
@example(size=(16, 16), grid=(16, 16), dtype=torch.bfloat16, channels_last=True)
def test_values_are_torchs(
    kind: str, size: tuple[int, int], grid: tuple[int, int], dtype: torch.dtype, channels_last: bool
) -> None:
    x = torch.randn(2, 3, *size, dtype=dtype)
    if channels_last:
        x = x.contiguous(memory_format=torch.channels_last)
    expected = TORCHS[kind](x, grid)
    exported, eager = EXPORTED[kind](x, grid), EAGER[kind](x, grid)
    assert exported.dtype == eager.dtype == dtype
    torch.testing.assert_close(eager, expected, rtol=0, atol=0)
    if kind == "maximum":
        torch.testing.assert_close(exported, expected, rtol=0, atol=0)
    else:
        torch.testing.assert_close(exported, expected)


@both_pools
@settings(deadline=None, max_examples=25)
@given(
    size=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    grid=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
def test_gradients_are_torchs(kind: str, size: tuple[int, int], grid: tuple[int, int], dtype: torch.dtype) -> None:
    x = torch.randn(2, 3, *size, dtype=dtype, requires_grad=True)
    above = torch.randn(2, 3, *grid, dtype=dtype)
    exported, expected = (
        torch.autograd.grad((pool(x, grid) * above).sum(), x) for pool in (EXPORTED[kind], TORCHS[kind])
    )
    torch.testing.assert_close(exported, expected)


class Pools(nn.Module):
    """Grids that do not divide the map of the export, of which PyTorch's own maximum refuses to export the first."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return adaptive_max_pool2d(x, (12, 12)), adaptive_avg_pool2d(x, (5, 7))


OPEN = ({2: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC},)
SIZES = [(16, 16), (24, 36), (33, 20), (5, 7), (1, 1)]


def check(x: Tensor, maximum: Tensor, average: Tensor) -> None:
    torch.testing.assert_close(maximum, F.adaptive_max_pool2d(x, (12, 12)), rtol=0, atol=0)
    torch.testing.assert_close(average, F.adaptive_avg_pool2d(x, (5, 7)))


def test_an_exported_program_serves_every_size() -> None:
    program = torch.export.export(Pools(), (torch.randn(1, 3, 16, 16),), dynamic_shapes=OPEN).module()
    for size in SIZES:
        x = torch.randn(1, 3, *size)
        check(x, *program(x))


def test_onnx_serves_every_size(tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")
    at = (torch.randn(1, 3, 16, 16),)
    program = torch.onnx.export(Pools().eval(), at, dynamo=True, dynamic_shapes=OPEN, verbose=False)
    assert program is not None
    program.save(tmp_path / "pools.onnx")
    session = runtime.InferenceSession(tmp_path / "pools.onnx", providers=["CPUExecutionProvider"])
    (name,) = (given.name for given in session.get_inputs())
    for size in SIZES:
        x = torch.randn(1, 3, *size)
        check(x, *(torch.from_numpy(y) for y in session.run(None, {name: x.numpy()})))
