"""The class map is held to float64, and where float64 sees a tie to the tied classes."""

import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rtseg.data.files import read_image
from rtseg.deploy.class_map import class_map, class_map_by_groups
from rtseg.deploy.class_map.cpu import class_map_cpu
from rtseg.deploy.fuse import deploy
from rtseg.models import create_model
from rtseg.models.paddle import convert

Size = tuple[int, int]


def check(logits: Tensor, size: Size) -> None:
    """Equal to float64 where the best two classes differ by 1e-5 of the largest logit, elsewhere one of the tied."""
    found = class_map(logits, size)
    assert found.dtype == (torch.uint8 if logits.shape[1] <= 256 else torch.int16)
    assert found.shape == (len(logits), *size)
    exact = F.interpolate(logits.double().contiguous(), size=size, mode="bilinear", align_corners=False)
    best = exact.amax(1)
    named = exact.gather(1, found.long()[:, None])[:, 0]
    assert (best - named).max() <= 1e-5 * logits.double().abs().max()


def candidates(logits: Tensor, size: Size) -> float:
    rows = logits.float().permute(0, 2, 3, 1).contiguous().numpy()
    return class_map_cpu(rows, size)[1]


@pytest.mark.parametrize("num_classes", [1, 2, 7, 8, 9, 150, 256, 300])
@pytest.mark.parametrize("size", [(1, 1), (37, 53), (64, 96), (5, 200)])
def test_equals_float64_on_noise(num_classes: int, size: Size) -> None:
    check(torch.randn(2, num_classes, 8, 12), size)


@settings(max_examples=150, deadline=None)
@given(
    num_classes=st.integers(1, 300),
    low=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    size=st.tuples(st.integers(1, 70), st.integers(1, 70)),
    levels=st.sampled_from([1, 2, 3, 1000]),
    scale=st.sampled_from([1e-6, 1.0, 1e4]),
    shift=st.sampled_from([0.0, -1.0, 100.0]),
    seed=st.integers(0, 9),
)
def test_equals_float64_with_ties_of_any_size(
    num_classes: int, low: Size, size: Size, levels: int, scale: float, shift: float, seed: int
) -> None:
    """Few levels make whole cells of equal classes."""
    random = torch.Generator().manual_seed(seed)
    logits = torch.randint(levels, (1, num_classes, *low), generator=random).float() / levels
    check(scale * (logits + shift), size)


@pytest.mark.parametrize("function", [class_map, class_map_by_groups])
def test_of_equal_classes_the_lower_wins(function: type) -> None:
    logits = torch.zeros(1, 40, 3, 3)
    logits[:, [5, 21, 39]] = 1
    assert function(logits, (20, 20)).unique().tolist() == [5]


def test_groups_are_interpolate_and_argmax(monkeypatch: pytest.MonkeyPatch) -> None:
    logits = torch.randn(2, 30, 5, 7)
    expected = F.interpolate(logits, size=(40, 56), mode="bilinear", align_corners=False).argmax(1)
    for elements in (2 * 40 * 56, 7 * 2 * 40 * 56, 2**28):  # one class at a time, seven, all
        monkeypatch.setattr("rtseg.deploy.class_map._GROUP_ELEMENTS", elements)
        assert torch.equal(class_map_by_groups(logits, (40, 56)).long(), expected)


def test_strides_precision_and_threads_do_not_change_it() -> None:
    logits = torch.randn(1, 20, 9, 9).bfloat16()
    expected = class_map(logits.float().contiguous(), (70, 70))
    for other in (
        logits.contiguous(memory_format=torch.channels_last),
        logits.permute(0, 1, 3, 2).contiguous().permute(0, 1, 3, 2),
        torch.cat([logits, logits], 1)[:, :20],
    ):
        assert torch.equal(class_map(other, (70, 70)), expected)
    rows = logits.float().permute(0, 2, 3, 1).contiguous().numpy()
    for threads in (1, 2, 5):
        assert np.array_equal(class_map_cpu(rows, (70, 70), threads=threads)[0], expected.numpy())


def test_masked_classes_never_win() -> None:
    logits = torch.randn(1, 6, 4, 4)
    logits[:, ::2] = -torch.inf
    assert set(class_map(logits, (32, 32)).unique().tolist()) <= {1, 3, 5}


def test_a_cell_of_a_certain_class_has_one_candidate() -> None:
    logits = torch.zeros(1, 150, 4, 4)
    logits[:, 77] = 1
    assert candidates(logits, (32, 32)) == 1
    assert candidates(torch.randn(1, 150, 32, 32), (256, 256)) > 50


def test_untrained_network() -> None:
    """A margin that no cell needs would be no proof: this one has cells with several classes."""
    network = deploy(create_model("rtformer_slim", 150, base_channels=8))
    logits = network.logits(network.prepare(torch.randint(0, 256, (1, 128, 128, 3), dtype=torch.uint8)))
    check(logits, (128, 128))
    assert candidates(logits, (128, 128)) > 1


def test_golden_network_on_a_real_picture(shared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    network = deploy(convert(shared / "golden/rtformer_slim_ade20k.pdparams", "rtformer_slim", "ade20k"))
    picture = read_image(next(iter(sorted((shared / "data/camvid/val").glob("*.jpg")))))
    logits = network.logits(network.prepare(torch.from_numpy(picture)[None]))
    for size in ((360, 480), (500, 333)):
        check(logits, size)
    noise = torch.randn(logits.shape)
    with capsys.disabled():
        print(
            f" candidates a cell: {candidates(logits, (360, 480)):.1f}, noise {candidates(noise, (360, 480)):.1f}",
            end=" ",
        )
    assert 1 < candidates(logits, (360, 480)) < 10 < candidates(noise, (360, 480))


def test_logits_that_are_no_numbers_give_class_numbers() -> None:
    for value in (torch.nan, torch.inf, -torch.inf):
        assert class_map(torch.full((1, 7, 3, 3), value), (20, 20)).max() < 7


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore")
def test_a_forked_process_has_threads_of_its_own() -> None:
    rows = torch.randn(1, 8, 8, 5).numpy()
    expected, _ = class_map_cpu(rows, (64, 64), threads=2)
    child = os.fork()
    if child == 0:
        os._exit(int(not np.array_equal(class_map_cpu(rows, (64, 64), threads=2)[0], expected)))
    deadline = time.monotonic() + 20
    while (ended := os.waitpid(child, os.WNOHANG)) == (0, 0) and time.monotonic() < deadline:
        time.sleep(0.02)
    if ended == (0, 0):
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    assert ended == (child, 0)


@pytest.mark.parametrize("kind", ["noise", "smooth"])
def test_quicker_than_interpolate_and_argmax(kind: str) -> None:
    logits = torch.randn(1, 150, 32, 32)
    if kind == "smooth":
        logits = F.interpolate(torch.randn(1, 150, 4, 4), size=(32, 32), mode="bicubic")

    def plain() -> Tensor:
        return F.interpolate(logits, size=(256, 256), mode="bilinear", align_corners=False).argmax(1)

    def seconds(function: object) -> float:
        times = []
        for _ in range(7):
            begin = time.perf_counter()
            function()  # type: ignore[operator]
            times.append(time.perf_counter() - begin)
        return min(times)

    assert torch.equal(class_map(logits, (256, 256)).long(), plain())
    assert seconds(lambda: class_map(logits, (256, 256))) < seconds(plain)
