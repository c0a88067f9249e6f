"""What the sections share: a figure with its meaning."""

from typing import NamedTuple


class Figure(NamedTuple):
    """A number in large type, and what it is."""

    value: str
    what: str


def amount(number: int) -> str:
    """21217 -> '21.22 k', 4994987 -> '4.99 M', 844988416 -> '0.84 G'."""
    for unit, name in ((1e9, "G"), (1e6, "M")):
        if number >= unit / 10:
            return f"{number / unit:.2f} {name}"
    return f"{number / 1e3:.2f} k"


def percent(share: float) -> str:
    """0.0057 -> '0.57 %'."""
    return f"{share:.2%}".replace("%", " %")
