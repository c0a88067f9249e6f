"""A table as a terminal shows it."""

import io

from rich.console import Console

from rtseg.output.table import Table


def printed(table: Table, width: int) -> list[str]:
    """The lines on a terminal of `width` characters."""
    file = io.StringIO()
    Console(file=file, width=width).print(table.rich(width))
    return [line.rstrip() for line in file.getvalue().splitlines()]
