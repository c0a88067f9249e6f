"""Parameters, compute, memory and time of attentions at places of a network, and the largest image that fits."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from rtseg.attention.base import Attention
from rtseg.deploy.device import torch_threads
from rtseg.layers.feature_info import FeatureInfo
from rtseg.memory import free_memory
from rtseg.speed.conditions import Conditions
from rtseg.speed.growth import fit_power
from rtseg.speed.timing import measure_together
from rtseg.studies.places.passes import Passes, Size, peaks

_BYTES = 4  # of a number; all is float32


@dataclass(frozen=True)
class PlaceCost:
    """One attention at one place, in a residual connection, for one image and in float32.

    Attributes:
        map_size: (height, width) of the map there.
        macs: multiply-adds; None of attentions that do not know them.
        floats: numbers that a forward pass writes, counted on small maps and computed for this one.
        peak_bytes: peak of memory of a forward pass, without weights and input.
        measured: whether the peak is measured; otherwise it is computed from smaller maps, or from `floats`.
        median_ms: None where it was not run.
        time_exponent, memory_exponent: e of y = a * positions^e over growing images, of the measured times and of the
            counted numbers. None where fewer than two sizes ran.
        largest: (height, width) of the largest image of this shape whose pass stays below the limit, computed from the
            peak; None without a limit, or where no image does.
        reason: why it was not run; "" where it was.
    """

    place: str
    attention: str
    channels: int
    stride: int
    map_size: Size
    parameters: int
    macs: int | None
    floats: int
    peak_bytes: int
    measured: bool
    median_ms: float | None
    time_exponent: float | None
    memory_exponent: float
    largest: Size | None
    reason: str


def measure_places(
    places: Mapping[str, FeatureInfo],
    attentions: Sequence[str],
    size: Size,
    conditions: Conditions,
    limit: int | None,
) -> list[PlaceCost]:
    """The cost of each attention at each place, the places in their order.

    Args:
        places: name -> channels and stride of the map there.
        attentions: choices for one branch, such as "fa:basis=64:heads=1".
        size: (height, width) of the image; the conditions' sizes and batches are not used.
        conditions: of each map; all maps take turns.
        limit: bytes that a pass may take. What may write more than these, or than the machine has free, is not run:
            its figures are computed.

    Raises:
        UserError: an attention that cannot be inserted there.
    """
    device = conditions.where
    with conditions.seeded(), torch_threads(conditions.threads or torch.get_num_threads()):
        rows = [Passes(name, info, size, text, device) for name, info in places.items() for text in attentions]
        free = free_memory(device)
        runs = [(row, own) for row in rows for own in row.sizes if not _too_large(row, own, limit, free)]
        peak = dict(zip(runs, peaks(runs, device), strict=True))
        timings = measure_together([row.step(own) for row, own in runs], conditions)
    times = {run: timing.median_ms for run, timing in zip(runs, timings, strict=True)}
    return [_cost(row, size, peak, times, limit, _too_large(row, row.map_size, limit, free)) for row in rows]


def _too_large(row: Passes, size: Size, limit: int | None, free: int | None) -> str:
    """Why a map of this size is not run; "" where it is."""
    needed = _BYTES * row.written.floats(math.prod(size))
    for allowed, words in ((limit, "are the limit"), (free, "are free")):
        if allowed is not None and needed > allowed:
            return f"not run: it writes {_amount(needed)}, {_amount(allowed)} {words}"
    return ""


def _cost(
    row: Passes,
    size: Size,
    peak: Mapping[tuple[Passes, Size], int | None],
    times: Mapping[tuple[Passes, Size], float],
    limit: int | None,
    reason: str,
) -> PlaceCost:
    written, positions = row.written, math.prod(row.map_size)
    linear, quadratic = _bytes(row, peak)
    own = peak.get((row, row.map_size))
    ran = [grown for grown in row.growing if (row, grown) in times]
    return PlaceCost(
        place=row.name,
        attention=row.attention,
        channels=row.info.channels,
        stride=row.info.stride,
        map_size=row.map_size,
        parameters=sum(p.numel() for p in row.layer.parameters()),
        macs=_macs(row),
        floats=written.floats(positions),
        peak_bytes=round(linear * positions + quadratic * positions**2) if own is None else own,
        measured=own is not None,
        median_ms=times.get((row, row.map_size)),
        time_exponent=_exponent(ran, [times[row, grown] for grown in ran]),
        memory_exponent=fit_power(
            [math.prod(grown) for grown in row.growing], [written.floats(math.prod(grown)) for grown in row.growing]
        ),
        largest=None if limit is None else _largest(size, row.info.stride, linear, quadratic, limit),
        reason=reason,
    )


def _macs(row: Passes) -> int | None:
    attentions: list[Attention] = [layer for layer in row.layer if isinstance(layer, Attention)]
    if not all(attention.has_cost for attention in attentions):
        return None
    return sum(attention.cost(*row.map_size).macs for attention in attentions)


def _bytes(row: Passes, peak: Mapping[tuple[Passes, Size], int | None]) -> tuple[float, float]:
    """Bytes for each position and for each pair of positions, from the two largest maps that were measured.

    Where fewer were, what is written tells those of pairs. It does not tell all: PyTorch's softmax on a CPU makes a
    mask of one byte a pair beside the map.
    """
    linear, quadratic = _BYTES * row.written.linear, _BYTES * row.written.quadratic
    known = [(math.prod(size), found) for size in row.sizes if (found := peak.get((row, size))) is not None]
    if not known:
        return linear, quadratic
    positions, found = known[-1]
    if quadratic and len(known) > 1:
        fewer, less = known[-2]
        quadratic = max(0.0, (found / positions - less / fewer) / (positions - fewer))
    return max(0.0, found / positions - quadratic * positions), quadratic


def _exponent(sizes: Sequence[Size], values: Sequence[float]) -> float | None:
    if len(sizes) < 2:
        return None
    return fit_power([math.prod(size) for size in sizes], values)


def _largest(size: Size, stride: int, linear: float, quadratic: float, limit: int) -> Size | None:
    """The largest image in the shape of `size`, its sides multiples of the stride.

    Args:
        linear, quadratic: a pass of N positions takes linear * N + quadratic * N^2 bytes.
    """
    if quadratic:
        positions = (math.sqrt(linear**2 + 4 * quadratic * limit) - linear) / (2 * quadratic)
    elif linear:
        positions = limit / linear
    else:
        return None
    rows = math.isqrt(int(positions) * size[0] // size[1])
    columns = rows * size[1] // size[0]
    return (rows * stride, columns * stride) if rows and columns else None


def _amount(size: float) -> str:
    """Bytes in words."""
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"
