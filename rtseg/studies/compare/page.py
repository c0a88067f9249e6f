"""A comparison as a page of Markdown."""

from collections.abc import Sequence

from rtseg.output.table import Table, bullets


def page(tables: Sequence[Table], notes: Sequence[str]) -> str:
    """The tables, each but the first below its title, and the notes below them."""
    first, *others = tables
    parts = [first.markdown(), *(f"{table.title}:\n\n{table.markdown()}" for table in others), bullets(notes)]
    return "\n".join(parts)
