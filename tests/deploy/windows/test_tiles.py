"""Windows over a large image: against PaddleSeg's sliding inference, and against averages that are held in float64."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rtseg.deploy.class_map import class_map
from rtseg.deploy.windows.tiles import tiled_class_map
from rtseg.deploy.windows.tiling import Tiling, tiling
from rtseg.errors import UserError
from rtseg.models.paddle_names import to_state_dict
from rtseg.models.pdparams import read_pdparams
from tests.models.conftest import create_tiny

Size = tuple[int, int]
LogitsOf = Callable[[np.ndarray], Tensor]


def averaged(logits_of: LogitsOf, image: np.ndarray, tiles: Tiling) -> Tensor:
    """(K, H, W) float64: what PaddleSeg's sliding inference averages, all of it held."""
    height, width = image.shape[:2]
    window = min(tiles.size[0], height), min(tiles.size[1], width)
    steps = [side - overlap for side, overlap in zip(tiles.size, tiles.overlap, strict=True)]
    rows = 1 if height <= tiles.size[0] else math.ceil((height - tiles.size[0]) / steps[0]) + 1
    columns = 1 if width <= tiles.size[1] else math.ceil((width - tiles.size[1]) / steps[1]) + 1
    total, count = torch.zeros(1, dtype=torch.float64), torch.zeros(height, width)
    for r in range(rows):
        for c in range(columns):
            bottom, right = min(r * steps[0] + window[0], height), min(c * steps[1] + window[1], width)
            part = (slice(bottom - window[0], bottom), slice(right - window[1], right))
            logits = logits_of(image[part]).double()
            upsampled = F.interpolate(logits, size=window, mode="bilinear", align_corners=False)[0]
            if total.ndim == 1:
                total = torch.zeros(len(upsampled), height, width, dtype=torch.float64)
            total[:, *part] += upsampled
            count[part] += 1
    return total / count


def check(found: np.ndarray, exact: Tensor) -> None:
    """Equal to float64 where the best two classes differ by 1e-5 of the largest logit, elsewhere one of the tied."""
    assert found.shape == exact.shape[1:]
    assert found.dtype == (np.uint8 if len(exact) <= 256 else np.int16)
    named = exact.gather(0, torch.from_numpy(found).long()[None])[0]
    assert (exact.amax(0) - named).max() <= 1e-5 * exact.abs().max()


def drawn_logits(num_classes: int, stride: int, smooth: bool) -> LogitsOf:
    """Logits that depend on the window's pixels, so that a window at another place is noticed."""

    def logits_of(window: np.ndarray) -> Tensor:
        generator = torch.Generator().manual_seed(int(window.sum()))
        cells = [-(-side // stride) for side in window.shape[:2]]
        logits = torch.randn(1, num_classes, *cells, generator=generator)
        return F.avg_pool2d(logits, 5, 1, 2) if smooth else logits

    return logits_of


def test_equals_paddlesegs_sliding_inference(shared: Path) -> None:
    network = create_tiny()
    network.load_weights(to_state_dict(read_pdparams(shared / "golden/rtformer_tiny_test.pdparams")), source="golden")
    network.eval()
    tiles = Tiling((48, 64), (16, 24))

    @torch.no_grad()
    def logits_of(window: np.ndarray) -> Tensor:
        return network.logits(torch.from_numpy(window).permute(2, 0, 1)[None].contiguous())

    with np.load(shared / "golden/inference_tiny.npz") as golden:
        image = golden["x"][0].transpose(1, 2, 0)
        exact = averaged(logits_of, image, tiles)
        resized = F.interpolate(exact[None], size=(90, 131), mode="bilinear", align_corners=False)
        name = "slide_crop64x48_stride40x32_wh"
        np.testing.assert_allclose(resized.numpy(), golden[f"{name}/logits"], rtol=0, atol=5e-4)
        assert np.array_equal(resized.argmax(1)[:, None].numpy(), golden[f"{name}/pred"])
    check(tiled_class_map(logits_of, image, tiles), exact)


@settings(max_examples=25, deadline=None)
@given(
    num_classes=st.sampled_from([1, 2, 19, 150, 300]),
    size=st.tuples(st.integers(1, 200), st.integers(1, 200)),
    tile=st.tuples(st.integers(64, 110), st.integers(64, 110)),
    overlap=st.tuples(st.integers(0, 56), st.integers(0, 56)),
    stride=st.sampled_from([4, 8, 32]),
    smooth=st.booleans(),
)
def test_equals_averages_in_float64(
    num_classes: int, size: Size, tile: Size, overlap: Size, stride: int, smooth: bool
) -> None:
    image = np.random.default_rng(sum(size)).integers(0, 256, (*size, 3), dtype=np.uint8)
    logits_of, tiles = drawn_logits(num_classes, stride, smooth), Tiling(tile, overlap)
    check(tiled_class_map(logits_of, image, tiles), averaged(logits_of, image, tiles))


def test_nearly_full_overlap() -> None:
    """Every pixel lies in many windows, whose cells cut each other to single pixels."""
    image = np.random.default_rng(0).integers(0, 256, (90, 80, 3), dtype=np.uint8)
    logits_of, tiles = drawn_logits(3, 8, False), Tiling((64, 64), (61, 59))
    check(tiled_class_map(logits_of, image, tiles), averaged(logits_of, image, tiles))


def test_threads_write_the_same() -> None:
    image = np.random.default_rng(0).integers(0, 256, (300, 260, 3), dtype=np.uint8)
    logits_of, tiles = drawn_logits(19, 8, False), Tiling((96, 80), (10, 10))
    alone = tiled_class_map(logits_of, image, tiles)
    torch.set_num_threads(3)
    assert np.array_equal(tiled_class_map(logits_of, image, tiles), alone)


@pytest.mark.parametrize("tile", [(128, 160), (200, 300)])
def test_one_window_over_the_whole_image_is_no_window(tile: Size) -> None:
    image = np.random.default_rng(0).integers(0, 256, (128, 160, 3), dtype=np.uint8)
    logits_of = drawn_logits(19, 8, True)
    found = tiled_class_map(logits_of, image, Tiling(tile, (8, 8)))
    assert (found == class_map(logits_of(image), (128, 160))[0].numpy()).mean() > 0.9999


def test_windows_are_shifted_back_into_the_image() -> None:
    assert Tiling((512, 1024), (64, 64)).starts((1024, 2048)) == ([0, 448, 512], [0, 960, 1024])
    assert Tiling((512, 1024), (0, 0)).starts((1024, 2048)) == ([0, 512], [0, 1024])
    assert Tiling((512, 1024), (64, 64)).starts((100, 1025)) == ([0], [0, 1])


def test_overlap_is_an_eighth_of_the_shorter_side() -> None:
    assert tiling((512, 1024)) == Tiling((512, 1024), (64, 64))


@pytest.mark.parametrize(
    ("tile", "overlap", "words"),
    [
        ((16, 512), None, "--tile 16 512: a window has at least 32 pixels"),
        ((-512, -512), None, "--tile -512 -512"),
        ((2**14, 2**14), None, "at most 67,108,864 in all"),
        ((512, 1024), 512, "--overlap 512 with --tile 512 1024"),
        ((512, 1024), -1, "--overlap -1"),
    ],
)
def test_bad_windows_are_refused(tile: Size, overlap: int | None, words: str) -> None:
    with pytest.raises(UserError, match=words):
        tiling(tile, overlap)
