"""On a CPU the kernel runs in Triton's interpreter, which has to be asked for before Triton is imported: this file is
then run as a program, which saves the class maps of all cases."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import rtseg
from rtseg.deploy.class_map import triton as module
from rtseg.deploy.class_map.triton import class_map_and_margin_triton, class_map_triton

pytest.importorskip("triton")
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA")
Case = tuple[Tensor, tuple[int, int]]


def noise_cases() -> dict[str, Case]:
    """Small: the interpreter needs a third of a second for a tile of 16 x 32 pixels, or of 4 x 32 below x4."""
    torch.manual_seed(0)
    return {
        "1 class": (torch.randn(1, 1, 2, 3), (11, 23)),
        "2 classes, 2 x 2 tiles": (torch.randn(1, 2, 3, 5), (24, 40)),
        "11 classes, batch 2": (torch.randn(2, 11, 3, 4), (15, 29)),
        "150 classes": (torch.randn(1, 150, 3, 4), (16, 29)),
        "300 classes": (torch.randn(1, 300, 2, 2), (16, 16)),
        "four rows for one": (torch.randn(1, 5, 4, 5), (16, 20)),
        "nearly four rows for one": (torch.randn(1, 5, 4, 5), (15, 20)),
        "x2": (torch.randn(1, 5, 6, 5), (12, 11)),
        "as large": (torch.randn(1, 5, 9, 6), (9, 6)),
        "downscale": (torch.randn(1, 7, 33, 45), (10, 7)),
        "up along y, down along x": (torch.randn(1, 7, 3, 45), (13, 11)),
        "logits of one pixel": (torch.randn(1, 3, 1, 1), (6, 5)),
        "map of one pixel": (torch.randn(1, 3, 6, 6), (1, 1)),
        "channels_last": (torch.randn(2, 11, 3, 5).contiguous(memory_format=torch.channels_last), (13, 31)),
        "a view": (torch.randn(2, 12, 4, 7)[1:, 1::2, 1:, :-1], (13, 31)),
        "bfloat16, channels_last": (
            torch.randn(1, 11, 2, 4).bfloat16().to(memory_format=torch.channels_last),
            (16, 32),
        ),
        "float16": (torch.randn(1, 11, 2, 4).half(), (16, 32)),
        "large": (1e4 * torch.randn(1, 11, 2, 4), (16, 32)),
    }


def exact_cases() -> dict[str, Case]:
    """Small integers and weights that are sixteenths: float32 computes them without rounding."""
    torch.manual_seed(0)
    ties = torch.randint(3, (1, 11, 2, 4)).float()
    special = ties.clone()
    special[0, [2, 4], 1, 0] = float("nan")
    special[0, 5, 1, 1] = float("nan")
    special[0, [6, 7], 1, 3] = float("inf")
    special[0, 3, 0, 0] = float("-inf")
    return {
        "all equal": (torch.zeros(1, 40, 2, 2), (16, 16)),
        "all -inf": (torch.full((1, 3, 3, 3), float("-inf")), (7, 7)),
        "signed zeros": (torch.tensor([-0.0, 0.0, -0.0]).view(1, 3, 1, 1), (4, 4)),
        "ties, x8": (ties, (16, 32)),
        "ties, x2": (ties, (4, 8)),
        "NaN and infinity": (special, (16, 32)),
    }


Maps = dict[str, tuple[Tensor, Tensor, Tensor]]


def results(cases: dict[str, Case], names: list[str], device: str = "cpu") -> Maps:
    """Class map; class map and margin."""
    found = {}
    for name in names:
        logits, size = cases[name][0].to(device), cases[name][1]
        both = class_map_triton(logits, size), *class_map_and_margin_triton(logits, size)
        found[name] = (both[0].cpu(), both[1].cpu(), both[2].cpu())
    return found


def assert_maps_right(found: Maps) -> None:
    """Those that are there."""
    maps = {name: alone for name, (alone, _, _) in found.items()}
    for name, (alone, beside, margin) in found.items():
        assert torch.equal(alone, beside), name
        assert_margin_right(name, margin)
    noise, exact = (
        {name: case for name, case in cases.items() if name in maps} for cases in (noise_cases(), exact_cases())
    )
    assert len(noise) + len(exact) == len(maps) > 0
    for name, (logits, size) in noise.items():
        scores = F.interpolate(logits.double(), size, mode="bilinear", align_corners=False)
        named = scores.gather(1, maps[name].long()[:, None])[:, 0]
        # So the class is the best one wherever the second is further away than that.
        assert (named >= scores.amax(1) - 1e-5 * logits.abs().max()).all(), name
        assert maps[name].dtype == (torch.uint8 if logits.shape[1] <= 256 else torch.int16), name
    for name, (logits, size) in exact.items():
        expected = F.interpolate(logits, size, mode="bilinear", align_corners=False).argmax(1)
        assert torch.equal(maps[name].long(), expected), name


def assert_margin_right(name: str, margin: Tensor) -> None:
    logits, size = {**noise_cases(), **exact_cases()}[name]
    if not logits.isfinite().all():
        return
    if logits.shape[1] == 1:
        assert (margin == torch.inf).all(), name
        return
    best = F.interpolate(logits.double(), size, mode="bilinear", align_corners=False).topk(2, 1).values
    assert (margin - (best[:, 0] - best[:, 1])).abs().max() <= 1e-5 * logits.abs().max(), name


ALL = [*noise_cases(), *exact_cases()]
QUICK = ["downscale", "a view", "map of one pixel", "ties, x2", "NaN and infinity"]
EVERY = {**noise_cases(), **exact_cases()}


@pytest.mark.parametrize("names", [QUICK, pytest.param(ALL, marks=pytest.mark.slow)], ids=["quick", "all"])
def test_interpreted(tmp_path: Path, names: list[str]) -> None:
    path = tmp_path / "maps.pt"
    environment = {**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": str(Path(rtseg.__file__).parents[1])}
    subprocess.run([sys.executable, __file__, str(path), *names], env=environment, check=True)
    maps = torch.load(path)
    assert list(maps) == names
    assert_maps_right(maps)


@needs_cuda
def test_on_cuda() -> None:
    assert_maps_right(results(EVERY, ALL, "cuda"))


@needs_cuda
def test_in_a_cuda_graph() -> None:
    logits = torch.zeros(1, 150, 16, 16, device="cuda")
    class_map_triton(logits, (128, 128))
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        found = class_map_triton(logits, (128, 128))
    logits[:, 7] = 1
    graph.replay()
    assert found.unique().tolist() == [7]


@pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") == "1", reason="nothing is compiled")
@pytest.mark.parametrize("logits", ["fp32", "bf16"])
@pytest.mark.parametrize("rows", [1, 4])
@pytest.mark.parametrize("margin", [False, True])
def test_compiles_without_a_gpu(
    logits: str, rows: int, margin: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from triton import compile
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    kernel = module._class_map_kernel
    constants = {"MARGIN": margin, "CLASSES": 2, "ROWS": rows, "GROUPS": 4, "COLUMNS": 32}
    types = {"logits": f"*{logits}", "classes": "*u8", "margins": "*fp32", "scale_y": "fp32", "scale_x": "fp32"}
    types.update(dict.fromkeys(constants, "constexpr"))
    source = ASTSource(kernel, {name: types.get(name, "i32") for name in kernel.arg_names}, constants)
    options = {"num_warps": 4, "enable_fp_fusion": True}
    assert compile(source, target=GPUTarget("cuda", 90, 32), options=options).asm["cubin"]


if __name__ == "__main__":
    torch.save(results(EVERY, sys.argv[2:]), sys.argv[1])
