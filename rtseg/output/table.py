"""Tables: rows once, for a terminal and for a page of Markdown.

A terminal is narrow, a page is not. In a terminal, what all rows share stands in the title, and what neighbouring rows
share becomes a line above them. Columns that may give way do so until no cell is wrapped or cut. Only prose wraps.
"""

import io
import itertools
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from textwrap import fill

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.table import Table as RichTable
from rich.text import Text

from rtseg.terminal import Console, visible

MISSING = "—"
WIDE = 200  # characters of a line where the output is no terminal
_GAP = 2  # between two columns
_LEAST_PROSE = 16

Cell = str | float | None


@dataclass(frozen=True)
class Column:
    """What the cells of a column are, and how they look.

    Attributes:
        unit: follows the heading.
        form: of a number, as `str.format` takes it, "{:.2f} M"; texts are shown as they are.
        left: texts stand left, numbers right.
        prose: wraps where the terminal is narrow; all other cells stay whole.
        groups: says what rows share: in a terminal, the title where it is all rows, else a line above the neighbours.
        optional: is not there where no row has a value.
        yields: above 0, a narrow terminal leaves the column out; the highest go first.
    """

    heading: str
    unit: str = ""
    form: str = "{}"
    left: bool = False
    prose: bool = False
    groups: bool = False
    optional: bool = False
    yields: int = 0

    @property
    def title(self) -> str:
        """Heading and unit."""
        return visible(f"{self.heading}, {self.unit}" if self.unit else self.heading)

    def text(self, cell: Cell) -> str:
        """A cell as text; a dash for one that is missing."""
        if cell is None or cell == "":
            return MISSING
        return visible(cell) if isinstance(cell, str) else self.form.format(cell)


@dataclass(frozen=True)
class Table:
    """Columns and rows; each row has a cell for every column."""

    title: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"a row of {len(row)} cells for {len(self.columns)} columns")

    def without_empty(self) -> "Table":
        """Without the optional columns in which no row has a value."""
        left_out = [
            i
            for i, column in enumerate(self.columns)
            if column.optional and all(row[i] in (None, "") for row in self.rows)
        ]
        return self._without(left_out) if left_out else self

    def texts(self) -> list[list[str]]:
        """The cells as they are shown, without the title and the headings."""
        return [[column.text(cell) for column, cell in zip(self.columns, row, strict=True)] for row in self.rows]

    def markdown(self) -> str:
        """For a page: all columns, a line a row."""
        shown = self.without_empty()
        headings = [column.title for column in shown.columns]
        rule = ["---" if column.left else "---:" for column in shown.columns]
        lines = [headings, rule, *shown.texts()]
        cells = [[cell.replace("|", "\\|").replace("\n", " ") for cell in line] for line in lines]
        return "".join("| " + " | ".join(line) + " |\n" for line in cells)

    def rich(self, width: int) -> RenderableType:
        """For a terminal of `width` characters. Backquotes, which are Markdown's, are not shown."""
        shown, left_out = self.without_empty()._fit(width)
        groups = [i for i, column in enumerate(shown.columns) if column.groups]
        body = [i for i in range(len(shown.columns)) if i not in groups]
        widths = shown._widths(body, width)
        texts = [[cell.replace("`", "") for cell in row] for row in shown.texts()]
        shared = [i for i in groups if len({row[i] for row in texts}) == 1]
        facts = shown._facts(shared, texts[0]) if shared else ""
        title = f"{visible(shown.title)}: {facts}" if facts else visible(shown.title)
        parts: list[RenderableType] = [Text(_fill(title, width), "bold")]
        parts.append(shown._rich([], body, widths, head=True))
        groups = [i for i in groups if i not in shared]
        for _, neighbours in itertools.groupby(texts, key=lambda row: [row[i] for i in groups]):
            rows = list(neighbours)
            if groups:
                parts.append(Text(_fill(shown._facts(groups, rows[0]), width), "italic"))
            parts.append(shown._rich(rows, body, widths))
        if left_out:
            parts.append(Text(f"not shown at this width: {'; '.join(left_out)}", "dim"))
        return Group(*parts)

    def _facts(self, groups: Sequence[int], row: Sequence[str]) -> str:
        """Some cells of a row as facts, with blanks inside that do not break."""
        facts = [
            row[i] if self.columns[i].left else f"{self.columns[i].title} {row[i]}" for i in groups if row[i] != MISSING
        ]
        return ", ".join(fact.replace(" ", "\xa0") for fact in facts)

    def _rich(
        self, rows: Sequence[Sequence[str]], body: Sequence[int], widths: Sequence[int], *, head: bool = False
    ) -> RichTable:
        wrapped = [row for row in rows if any(cell_len(row[i]) > w for i, w in zip(body, widths, strict=True))]
        apart = 2 * len(wrapped) > len(rows)  # an empty line between rows that are several lines each
        drawn = RichTable(
            box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0), show_header=head, leading=int(apart)
        )
        for i, width in zip(body, widths, strict=True):
            column = self.columns[i]
            drawn.add_column(
                Text(column.title), justify="left" if column.left else "right", width=width, overflow="fold"
            )
        for row in rows:
            drawn.add_row(*(Text(row[i]) for i in body))
        return drawn

    def _without(self, left_out: Sequence[int]) -> "Table":
        def kept(cells: Sequence) -> list:
            return [cell for i, cell in enumerate(cells) if i not in left_out]

        return replace(self, columns=kept(self.columns), rows=[kept(row) for row in self.rows])

    def _fit(self, width: int) -> tuple["Table", list[str]]:
        """As many columns as there is room for, and the headings of the others."""
        shown, left_out = self, []
        while sum(shown._least()) - _GAP > width:
            yielding = [i for i, column in enumerate(shown.columns) if column.yields and not column.groups]
            if not yielding:
                break
            first = max(yielding, key=lambda i: (shown.columns[i].yields, i))
            left_out.append(shown.columns[first].title)
            shown = shown._without([first])
        return shown, left_out[::-1]

    def _least(self) -> list[int]:
        """Characters that each column needs at least, the gap behind it included; none where it is above the rows."""
        return [
            0 if column.groups else _GAP + _least(column, [row[i] for row in self.texts()])
            for i, column in enumerate(self.columns)
        ]

    def _widths(self, body: Sequence[int], width: int) -> list[int]:
        """The columns' widths: what they need at least, and of what is left most to those that wrap most."""
        texts = self.texts()
        least = [self._least()[i] - _GAP for i in body]
        whole = [max(cell_len(t) for t in (self.columns[i].title, *(row[i] for row in texts))) for i in body]
        room = width - _GAP * (len(body) - 1)
        if sum(whole) <= room:
            return whole
        for _ in range(room - sum(least)):  # prose, and headings that break most
            widest = max(range(len(body)), key=lambda k: whole[k] - least[k])
            least[widest] += 1
        return least


def _fill(text: str, width: int) -> str:
    """The text broken into lines, at blanks that are not inside a fact."""
    return fill(text, width, break_on_hyphens=False).replace("\xa0", " ")


def _least(column: Column, texts: Sequence[str]) -> int:
    """Headings break between words, cells do not, but for prose."""
    words = max(map(cell_len, column.title.split()), default=0)
    if column.prose:
        longest = max((cell_len(word) for text in texts for word in text.split()), default=0)
        return max(words, longest, _LEAST_PROSE)
    return max([words, *map(cell_len, texts)])


def bullets(notes: Sequence[str]) -> str:
    """The notes below a table, in Markdown."""
    return "".join(f"- {note}\n" for note in notes)


def show(*tables: Table, notes: Sequence[str] = (), stderr: bool = False) -> None:
    """Prints tables and what stands below them, to the standard output or the standard error.

    A terminal is as wide as it says, anything else as `COLUMNS` says, or 200 characters.
    """
    _print(Console(stderr=stderr, width=_width(stderr)), tables, notes)


def as_text(*tables: Table, notes: Sequence[str] = ()) -> str:
    """What `show` prints, without styles."""
    text = io.StringIO()
    _print(Console(file=text, width=_width()), tables, notes)
    return text.getvalue().rstrip("\n")


def _width(stderr: bool = False) -> int:
    console = Console(stderr=stderr)
    return console.width if console.is_terminal or os.environ.get("COLUMNS", "").isdigit() else WIDE


def _print(console: Console, tables: Sequence[Table], notes: Sequence[str]) -> None:
    for i, table in enumerate(tables):
        console.print(*[""] * bool(i), table.rich(console.width), sep="\n")
    for note in notes:
        console.print(f"- {note}")
