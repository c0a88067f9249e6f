"""The command: prints tables, writes complexity.json and complexity.svg."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console

from rtseg.deploy.device import choose_device, describe_device
from rtseg.errors import UserError
from rtseg.output.folders import check_empty, make_folder
from rtseg.output.table import Cell, Column, Table, show
from rtseg.studies.complexity.figures import figure4, figure5, quotes
from rtseg.studies.complexity.growth import measure_growth
from rtseg.studies.complexity.plot import plot
from rtseg.studies.complexity.tables import Sizes, table, table12

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
    measure: bool = False,
    device: str | None = None,
    seconds: float = 2.0,
    sides: Mapping[str, Sequence[int]] = MEASURED,
) -> dict[str, Any]:
    """Computes the first paper's tables and figures, prints them, and on demand measures how `fa` and `nl` grow.

    Args:
        output: folder for complexity.json and complexity.svg, made if absent; None writes nothing.
        channels, heads, size: c, h and s = height * width of the tables, with b = m = c / 2 in Table 9. The figures and
            quotes hold for the paper's own sizes.
        measure: run both attentions; a minute or two, and 2 GB of memory at the default sides.
        device: where; None takes a GPU where there is one.
        seconds: timed at least, for each map.
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
    if output is not None:  # before the minutes that it takes to measure
        check_empty(output, "give another folder, or empty it")
        make_folder(output)
    sizes = Sizes(channels, channels // 2, channels // 2, heads, size[0] * size[1])
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
        chosen = choose_device(device)
        conditions = describe_device(chosen)  # first: the load is that of other work
        with Console(stderr=True).status(f"measuring on {chosen}"):
            growths = measure_growth(sides, device=chosen, seconds=seconds)
        result["measured"] = {"device": conditions, "growth": [asdict(growth) for growth in growths]}
    if output is not None:
        (output / "complexity.json").write_text(json.dumps(result, indent=1) + "\n")
        (output / "complexity.svg").write_text(plot(result))
    show(*_tables(result), notes=[f"a slip of the paper: {slip}" for slip in SLIPS])
    if output is not None:
        print(f"{output}: complexity.json, complexity.svg")
    return result


def _formula(text: str) -> str:
    """Python's notation as one writes it."""
    for python, written in (("**2", "²"), ("*", "")):
        text = text.replace(python, written)
    return text


def _number(value: float) -> str:
    """'1.644 G'; three digits after the point where there is a unit."""
    for factor, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= factor:
            return f"{value / factor:.3f} {unit}"
    return f"{value:g}"


def _tables(result: dict[str, Any]) -> list[Table]:
    tables = [_computed(number, result) for number in (9, 10, 11)]
    names = [Column(heading, left=True) for heading in ("module", "memory", "compute")]
    rows: list[list[Cell]] = [[row["module"], row["memory"], row["compute"]] for row in result["table12"]]
    tables += [Table("Table 12", names, rows), _figure4(result["figure4"]), _figure5(result["figure5"])]
    tables.append(_quotes(result["quotes"]))
    return [*tables, *([_measured(result["measured"])] if result["measured"] else [])]


def _computed(number: int, result: dict[str, Any]) -> Table:
    """Table 9, 10 or 11."""
    c, b, m, h, s = (result["sizes"][letter] for letter in "cbmhs")
    at = {9: f"b = k = {b}, m = {m}", 10: f"b = k = m = {c // 2}", 11: f"b = k = m = {c // 4}"}
    columns = [
        Column("module", left=True),
        Column("memory, as printed", left=True, yields=1),
        Column("numbers", yields=2),
        Column("computed"),
        Column("compute, as printed", left=True, yields=1),
        Column("MACC", yields=2),
        Column("MACs"),
        Column("MACC / MACs", form="{:.3g}"),
        Column("slip", left=True, prose=True, optional=True),
    ]
    rows = [
        [
            row["module"],
            _formula(row["paper_memory"]),
            _number(row["paper_floats"]),
            _number(row["floats"]),
            _formula(row["paper_compute"]),
            _number(row["paper_macc"]),
            _number(row["macs"]),
            row["macc_per_mac"],
            row["slip"],
        ]
        for row in result[f"table{number}"]
    ]
    return Table(f"Table {number}: c = {c}, {at[number]}, h = {h}, s = {s}", columns, rows)


def _figure4(points: Sequence[Mapping[str, Any]]) -> Table:
    names = [Column("module", left=True), *map(Column, ("map", "memory", "compute", "as the paper counts"))]
    rows = [
        [
            row["module"],
            f"{row['side']}x{row['side']}",
            f"{_number(row['bytes'])}B",
            f"{_number(row['macs'])}MAC",
            f"{_number(row['paper_macc'])}MACC",
        ]
        for row in points
    ]
    return Table("Figure 4: dot product, c = 64, b = k = 32", names, rows)


def _figure5(points: Sequence[Mapping[str, Any]]) -> Table:
    columns = [
        Column("model", left=True, groups=True),
        Column("f", groups=True),
        *map(Column, ("length", "memory, conventional", "factorized", "compute, conventional", "factorized")),
    ]
    found = {(row["model"], row["f"], row["length"], row["module"]): row for row in points}
    rows: list[list[Cell]] = []
    for (model, f, length, module), conventional in found.items():
        if module == "CA-Tfm":
            both = (conventional, found[model, f, length, "FA-Tfm"])
            memory = [f"{_number(row['bytes'])}B" for row in both]
            rows.append([model, f, length, *memory, *(f"{_number(row['macs'])}MAC" for row in both)])
    title = "Figure 5: BERT, feed-forward part of f * c channels; activations of one sequence, and parameters"
    return Table(title, columns, rows)


def _quotes(quotes: Sequence[Mapping[str, Any]]) -> Table:
    columns = [
        Column("what the text says", left=True, prose=True),
        Column("paper"),
        Column("computed"),
        Column("holds", left=True),
        Column("note", left=True, prose=True),
    ]
    rows = [
        [
            quote["what"],
            quote["paper"],
            f"{quote['computed']:.4g} {quote['unit']}",
            "yes" if quote["holds"] else "NO",
            quote["note"],
        ]
        for quote in quotes
    ]
    return Table("Figures in the paper's text", columns, rows)


def _measured(measured: dict[str, Any]) -> Table:
    device = measured["device"]
    machine = ", ".join(f"{key} {value}" for key, value in device.items() if key != "name")
    columns = [
        Column("attention", left=True, groups=True),
        Column("tokens"),
        Column("time", form="{:.2f} ms"),
        Column("written"),
        Column("time grows as", form="tokens^{:.2f}", groups=True),
        Column("memory grows as", form="tokens^{:.2f}", groups=True),
    ]
    rows = [
        [
            growth["attention"],
            tokens,
            time,
            f"{_number(4 * floats)}B",
            growth["time_exponent"],
            growth["memory_exponent"],
        ]
        for growth in measured["growth"]
        for tokens, time, floats in zip(growth["tokens"], growth["median_ms"], growth["floats"], strict=True)
    ]
    return Table(f"Measured, 64 channels, batch 1, float32, {device['name']}, {machine}", columns, rows)
