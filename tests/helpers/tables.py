"""A table as a terminal shows it."""

import io

from rich.cells import cell_len
from rich.console import Console

from rtseg.output.table import Table


def check_whole(table: Table, width: int) -> None:
    """No line is wider than the terminal, and no cell that is shown is wrapped or cut, but for prose."""
    lines = printed(table, width)
    assert max(map(cell_len, lines)) <= width
    shown = table.without_empty()
    for column, cells in zip(shown.columns, zip(*shown.texts(), strict=True), strict=True):
        if not column.yields and not column.prose and not column.groups:
            for cell in cells:
                assert any(cell.replace("`", "") in line for line in lines), (column.title, cell)


def printed(table: Table, width: int) -> list[str]:
    """The lines on a terminal of `width` characters."""
    file = io.StringIO()
    Console(file=file, width=width).print(table.rich(width))
    return [line.rstrip() for line in file.getvalue().splitlines()]
