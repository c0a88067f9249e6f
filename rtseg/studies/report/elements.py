"""The small pieces of HTML that the sections share."""

from html import escape
from typing import Any

from rtseg.studies.report.run_folder import ClassScore


def figure(value: str, what: str) -> str:
    """A number in large type, and what it is."""
    return f'<div class="figure"><b>{value}</b><span>{escape(what)}</span></div>'


def facts(facts: dict[str, Any]) -> str:
    """Names and values; those that are None left out."""
    rows = (f"<dt>{escape(key)}</dt><dd>{escape(str(value))}</dd>" for key, value in facts.items() if value is not None)
    return f"<dl>{''.join(rows)}</dl>"


def swatch(entry: ClassScore) -> str:
    """A square of the class's colour."""
    return f'<span class="swatch" style="background:{rgb(entry)}"></span>'


def rgb(entry: ClassScore) -> str:
    """Its colour as CSS writes it."""
    return "#{:02x}{:02x}{:02x}".format(*entry.color)


def percent(share: float) -> str:
    """0.0057 -> '0.57 %'."""
    return f"{share:.2%}".replace("%", " %")
