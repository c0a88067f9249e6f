"""The command: computes, measures on demand, prints the tables, writes complexity.json and complexity.svg."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from rtseg.deploy.device import describe_device
from rtseg.errors import UserError
from rtseg.output.folders import check_empty, write_whole
from rtseg.output.lock import locked_folder
from rtseg.output.table import show
from rtseg.speed.conditions import Conditions
from rtseg.studies.complexity.figures import figure4, figure5, quotes
from rtseg.studies.complexity.growth import measure_growth
from rtseg.studies.complexity.plot import plot
from rtseg.studies.complexity.report import report_tables
from rtseg.studies.complexity.tables import Sizes, table, table12
from rtseg.terminal import Console, say

# What no single row shows.
SLIPS = (
    "Units change: '50 GMACC' (128x128) and '3.2 TMACC' (64x64x32) count 2 for a multiply-add, '412 GMACC' (256x256) "
    "counts 1; never compare them.",
    "Equation 3 divides by h, which is the number of heads elsewhere; b is meant.",
    "'32x less memory' at 64x64x32 does not come out with the 64 channels of the other figures; 513x does.",
    "Figure 4 states 64 channels; its numbers need b = k = 32 as well.",
)
# Sides of square maps. On smaller ones the calls themselves take the time; the quadratic map of a larger one takes
# many gigabytes.
MEASURED: Mapping[str, Sequence[int]] = {
    "nl:kind=dot:heads=1:values=none": (32, 48, 64, 96, 128),
    "fa:kind=dot:heads=1:values=none": (64, 96, 128, 192, 256),
}


def complexity_report(
    output: Path | None = None,
    *,
    channels: int = 64,
    heads: int = 8,
    size: tuple[int, int] = (64, 64),
    measure: Conditions | None = None,
    sides: Mapping[str, Sequence[int]] = MEASURED,
) -> dict[str, Any]:
    """Computes the first paper's tables and figures, prints them, and on demand measures how `fa` and `nl` grow.

    Args:
        output: folder for complexity.json and complexity.svg, made if absent; None writes nothing.
        channels, heads, size: c, h and s = height * width of the tables, with b = m = c / 2 in Table 9. The figures and
            quotes hold for the paper's own sizes.
        measure: run both attentions under these conditions, of each map; a minute or two, and 2 GB of memory at the
            default sides. None runs nothing.
        sides: attention -> sides of the square maps that it is measured on.

    Returns:
        What complexity.json holds.

    Raises:
        UserError: channels that do not divide, a size below 1, or `output` holds something or cannot be written.
    """
    if channels < 1 or heads < 1 or channels % (4 * heads):
        raise UserError(
            f"channels {channels} with {heads} heads: Table 11 splits a quarter of the channels into heads, so take a "
            f"multiple of {4 * max(heads, 1)} channels, or fewer heads"
        )
    if min(size) < 1:
        raise UserError(f"size {size[0]} {size[1]}: height and width must be at least 1")
    sizes = Sizes(channels, channels // 2, channels // 2, heads, size[0] * size[1])
    if output is None:
        return _report(sizes, measure, sides)
    with locked_folder(output):  # before the minutes that it takes to measure
        check_empty(output, "give another folder, or empty it")
        result = _report(sizes, measure, sides)
        write_whole(output / "complexity.json", json.dumps(result, indent=1) + "\n")
        write_whole(output / "complexity.svg", plot(result))
    say(f"{output}: complexity.json, complexity.svg")
    return result


def _report(sizes: Sizes, measure: Conditions | None, sides: Mapping[str, Sequence[int]]) -> dict[str, Any]:
    """Computed, measured and printed."""
    result: dict[str, Any] = {
        "sizes": asdict(sizes),
        **{f"table{number}": table(number, sizes) for number in (9, 10, 11)},
        "table12": table12(sizes),
        "figure4": figure4(),
        "figure5": figure5(),
        "quotes": [{**asdict(quote), "holds": quote.holds} for quote in quotes()],
        "slips": list(SLIPS),
        "measured": None,
    }
    if measure:
        described = describe_device(measure.where)  # first: the load is that of other work
        with Console(stderr=True).status(f"measuring on {measure.where}"):
            growths = measure_growth(sides, measure)
        squares = [(side, side) for side in sorted({side for every in sides.values() for side in every})]
        result["measured"] = {
            "device": described,
            "timing": replace(measure, sizes=squares, threads=torch.get_num_threads()).to_dict(),
            "growth": [asdict(growth) for growth in growths],
        }
    notes = [f"a slip of the paper: {slip}" for slip in SLIPS]
    if measure:
        notes.append(Conditions.describe(result["measured"]["timing"]))
    show(*report_tables(result), notes=notes)
    return result
