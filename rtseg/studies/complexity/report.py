"""What the command prints: the paper's tables and figures as printed, as computed, and what was measured."""

from collections.abc import Mapping, Sequence
from typing import Any

from rtseg.deploy.device import device_line
from rtseg.output.table import Cell, Column, Table


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


def report_tables(result: dict[str, Any]) -> list[Table]:
    """Tables of what complexity.json holds."""
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
    return Table(f"Measured, 64 channels, batch 1, float32, {device_line(measured['device'])}", columns, rows)
