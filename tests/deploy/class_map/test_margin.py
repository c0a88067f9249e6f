"""Margin and probability are compared with upsampling in float64, once and twice."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rtseg.deploy.class_map import class_map, class_map_and_margin, winner_probability
from rtseg.deploy.class_map.cpu import axis
from rtseg.deploy.class_map.upsampling import class_map_and_margin_by_rows, upsampled_rows
from rtseg.errors import UserError

Size = tuple[int, int]
SIZES = st.tuples(st.integers(1, 60), st.integers(1, 60))


def upsampled(logits: Tensor, size: Size, between: Size | None) -> Tensor:
    """In float64."""
    logits = logits.double().contiguous()
    for step in (between, size):
        if step is not None:
            logits = F.interpolate(logits, size=step, mode="bilinear", align_corners=False)
    return logits


def check(
    logits: Tensor,
    size: Size,
    between: Size | None = None,
    function: Callable[..., tuple[Tensor, Tensor]] = class_map_and_margin,
) -> None:
    classes, margin = function(logits, size, between=between)
    exact = upsampled(logits, size, between)
    tolerance = 1e-5 * logits.double().abs().max()
    named = exact.gather(1, classes.long()[:, None])[:, 0]
    assert (exact.amax(1) - named).max() <= tolerance
    assert classes.dtype == (torch.uint8 if logits.shape[1] <= 256 else torch.int16)
    assert margin.dtype == torch.float32
    assert (margin >= 0).all()
    if logits.shape[1] == 1:
        assert (margin == torch.inf).all()
    else:
        best = exact.topk(2, 1).values
        assert (margin - (best[:, 0] - best[:, 1])).abs().max() <= tolerance
    if between is None and function is class_map_and_margin:
        assert torch.equal(classes, class_map(logits, size))


@pytest.mark.parametrize("num_classes", [1, 2, 7, 150, 300])
@pytest.mark.parametrize("between", [None, (64, 96), (70, 100), (8, 12)])
def test_equals_float64_on_noise(num_classes: int, between: Size | None) -> None:
    for size in ((1, 1), (37, 53), (64, 96), (5, 200)):
        check(torch.randn(2, num_classes, 8, 12), size, between)


def at_pytorchs_positions(logits: Tensor, size: Size) -> Tensor:
    """Upsampled in float64, with the positions of pixels rounded to float32 as PyTorch does."""
    values = logits.double()
    for dim, out in zip((2, 3), size, strict=True):
        fraction, start = map(torch.from_numpy, axis(values.shape[dim], out))
        before = torch.arange(values.shape[dim]).repeat_interleave(start.diff())
        behind = (before + 1).clamp(max=values.shape[dim] - 1)
        share = fraction.double()[:, None] if dim == 2 else fraction.double()
        values = torch.lerp(values.index_select(dim, before), values.index_select(dim, behind), share)
    return values


def test_of_a_photograph_at_pytorchs_positions() -> None:
    """Positions far from the origin are rounded the most: float64 has other margins there, by 4e-5."""
    logits = torch.randn(1, 4, 146, 110)
    classes, margin = class_map_and_margin(logits, (1164, 874))
    best, found = at_pytorchs_positions(logits, (1164, 874)).topk(2, 1)
    assert (margin - (best[:, 0] - best[:, 1])).abs().max() <= 1e-5 * logits.abs().max()
    assert torch.equal(classes[margin > 1e-4], found[:, 0][margin > 1e-4].to(torch.uint8))


@pytest.mark.parametrize("size", [(8, 12), (16, 24), (11, 30), (24, 36)])
def test_cells_of_few_pixels(size: Size) -> None:
    """They are done one by one, where others are done side by side."""
    check(torch.randn(2, 40, 8, 12), size)


@settings(max_examples=120, deadline=None)
@given(
    num_classes=st.integers(1, 300),
    low=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    size=SIZES,
    between=st.none() | SIZES,
    levels=st.sampled_from([1, 2, 3, 1000]),
    scale=st.sampled_from([1e-6, 1.0, 1e4]),
    shift=st.sampled_from([0.0, -1.0, 100.0]),
    seed=st.integers(0, 9),
)
def test_equals_float64_with_ties_of_any_size(
    num_classes: int,
    low: Size,
    size: Size,
    between: Size | None,
    levels: int,
    scale: float,
    shift: float,
    seed: int,
) -> None:
    """Also where the first of two steps makes the logits smaller."""
    random = torch.Generator().manual_seed(seed)
    logits = torch.randint(levels, (1, num_classes, *low), generator=random).float() / levels
    check(scale * (logits + shift), size, between)


@pytest.mark.parametrize("elements", [1, 4000, 2**24])
@pytest.mark.parametrize("between", [None, (40, 50)])
def test_upsampled_rows_of_any_number(monkeypatch: pytest.MonkeyPatch, elements: int, between: Size | None) -> None:
    monkeypatch.setattr("rtseg.deploy.class_map.upsampling.MOST_ELEMENTS", elements)
    logits = torch.randn(2, 5, 6, 7)
    check(logits, (33, 29), between, class_map_and_margin_by_rows)
    exact = upsampled(logits, (33, 29), between)
    parts = list(upsampled_rows(logits, (33, 29), between))
    assert torch.cat([rows for _, rows in parts], 2).double().allclose(exact, atol=1e-5)
    found = winner_probability(logits, (33, 29), between=between)
    assert found.double().allclose(exact.softmax(1).amax(1), atol=1e-5)


def test_two_steps_to_one_size_are_one() -> None:
    logits = torch.randn(1, 90, 5, 6)
    assert torch.equal(class_map(logits, (40, 48), between=(40, 48)), class_map(logits, (40, 48)))
    once, twice = (class_map_and_margin(logits, (40, 48), between=between)[1] for between in (None, (40, 48)))
    assert torch.equal(once, twice)
    once, twice = (class_map_and_margin(logits, (50, 60), between=between)[1] for between in (None, (64, 64)))
    assert not torch.allclose(once, twice, atol=1e-3)


def test_strides_precision_and_threads_do_not_change_it(monkeypatch: pytest.MonkeyPatch) -> None:
    logits = torch.randn(2, 20, 9, 9).bfloat16()
    expected = class_map_and_margin(logits.float().contiguous(), (70, 70))
    for other in (logits.contiguous(memory_format=torch.channels_last), logits.mT.contiguous().mT):
        assert all(map(torch.equal, class_map_and_margin(other, (70, 70)), expected))
    for threads in (1, 2, 5):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        assert all(map(torch.equal, class_map_and_margin(logits, (70, 70)), expected))


def test_masked_classes_are_never_second() -> None:
    logits = torch.randn(1, 6, 4, 4)
    logits[:, ::2] = -torch.inf
    _, kept = class_map_and_margin(logits[:, 1::2], (32, 32))
    classes, margin = class_map_and_margin(logits, (32, 32))
    assert set(classes.unique().tolist()) <= {1, 3, 5}
    assert torch.equal(margin, kept)
    logits[:, 3:] = -torch.inf
    assert (class_map_and_margin(logits, (32, 32))[1] == torch.inf).all()


def test_logits_that_are_no_numbers_give_class_numbers() -> None:
    for value in (torch.nan, torch.inf, -torch.inf):
        assert class_map_and_margin(torch.full((1, 7, 3, 3), value), (20, 20))[0].max() < 7


@pytest.mark.parametrize("function", [class_map_and_margin, winner_probability])
def test_what_cannot_be_upsampled_is_refused(function: Callable[..., object]) -> None:
    with pytest.raises(UserError, match="each at least 1, not \\(0, 5\\)"):
        function(torch.randn(1, 3, 4, 4), (0, 5))
    with pytest.raises(UserError, match="each at least 1, not \\(5, -1\\)"):
        function(torch.randn(1, 3, 4, 4), (5, 5), between=(5, -1))
    for logits in (torch.randn(3, 4, 4), torch.randn(1, 0, 4, 4), torch.ones(1, 3, 4, 4, dtype=torch.uint8)):
        with pytest.raises(UserError, match="logits are"):
            function(logits, (5, 5))
