"""The costs of attentions at places as a table."""

from collections.abc import Sequence

from rtseg.output.table import Cell, Column, Table
from rtseg.studies.places.cost import PlaceCost


def cost_table(costs: Sequence[PlaceCost], size: tuple[int, int], limit: int | None) -> Table:
    """One row for each place and attention.

    Args:
        size: (height, width) of the image.
        limit: bytes that `measure_places` was given.
    """
    largest = "largest image" if limit is None else f"largest image in {limit / 1e9:g} GB, computed"
    columns = [
        Column("place", left=True, groups=True),
        Column("attention", left=True),
        Column("map", yields=1),
        Column("parameters", form="{:,}", yields=4),
        Column("GMACs", form="{:.3g}", yields=2),
        Column("writes", "MB", form="{:,.1f}", yields=5),
        Column("peak memory", "MB"),
        Column("time", "ms", form="{:,.2f}"),
        Column(largest, optional=True),
        Column("memory grows with positions to the power", form="{:.2f}", yields=3),
        Column("time grows with positions to the power", form="{:.2f}", yields=3),
        Column("note", left=True, prose=True, optional=True),
    ]
    rows: list[list[Cell]] = [
        [
            cost.place,
            cost.attention,
            f"{_size(cost.map_size)}x{cost.channels}",
            cost.parameters,
            None if cost.macs is None else cost.macs / 1e9,
            4 * cost.floats / 1e6,
            f"{cost.peak_bytes / 1e6:,.1f}{'' if cost.measured else ' computed'}",
            cost.median_ms,
            cost.largest and _size(cost.largest),
            cost.memory_exponent,
            cost.time_exponent,
            cost.reason,
        ]
        for cost in costs
    ]
    return Table(f"Attention at places, for an image of {_size(size)}, batch 1, float32", columns, rows)


def _size(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"
