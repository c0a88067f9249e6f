"""What the sections share: a figure with its meaning."""

from typing import NamedTuple


class Figure(NamedTuple):
    """A number in large type, and what it is."""

    value: str
    what: str


def percent(share: float) -> str:
    """0.0057 -> '0.57 %'."""
    return f"{share:.2%}".replace("%", " %")
