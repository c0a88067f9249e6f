"""The same rows for a terminal of any width and for a page."""

import pytest
from rich.cells import cell_len

from rtseg.output.table import MISSING, Cell, Column, Table, bullets, show
from tests.helpers.tables import printed

COLUMNS = (
    Column("network", left=True, groups=True),
    Column("engine", left=True),
    Column("latency", "ms", form="{:.2f}"),
    Column("share of it", form="{:.0%}", yields=1),
    Column("kernels", optional=True, yields=2),
    Column("note", left=True, prose=True, optional=True),
)
ROWS: list[list[Cell]] = [
    ["first", "eager", 12.345, 0.5, None, None],
    ["first", "[red]graph|fp16[/]", 1.0, None, None, None],
    ["second", "eager", "refused", None, None, None],
]
TABLE = Table("Speed", COLUMNS, ROWS)


def test_a_page_has_every_column_with_a_value_and_dashes() -> None:
    assert TABLE.markdown() == (
        "| network | engine | latency, ms | share of it |\n"
        "| --- | --- | ---: | ---: |\n"
        "| first | eager | 12.35 | 50% |\n"
        "| first | [red]graph\\|fp16[/] | 1.00 | — |\n"
        "| second | eager | refused | — |\n"
    )
    assert bullets(["a", "b"]) == "- a\n- b\n"


def test_a_terminal_says_once_what_rows_share() -> None:
    lines = printed(TABLE, 100)
    assert lines[0] == "Speed"
    assert lines[1].split("  ")[0] == "engine"
    assert [line for line in lines if line in ("first", "second")] == ["first", "second"]
    assert lines[4] == "eager                     12.35          50%"
    assert lines[5].startswith("[red]graph|fp16[/]")  # not taken for a colour
    assert len(lines) == 3 + 5


def test_the_line_above_breaks_between_facts() -> None:
    columns = [Column("a", left=True, groups=True), Column("cost", form="{} G", groups=True), Column("x")]
    rows: list[list[Cell]] = [["a-name with-hyphens", 4.5, 1], ["b", 2, 1]]
    assert printed(Table("t", columns, rows), 24)[3:5] == ["a-name with-hyphens,", "cost 4.5 G"]


def test_what_all_rows_share_stands_in_the_title() -> None:
    columns = [Column("a", left=True, groups=True), Column("cost", form="{} G", groups=True), Column("x")]
    rows: list[list[Cell]] = [["first", 4.5, 1], ["first", 2, 3]]
    assert printed(Table("t", columns, rows), 40) == ["t: first", "x", "─", "cost 4.5 G", "1", "cost 2 G", "3"]
    assert printed(Table("t", columns, rows[:1]), 12)[:2] == ["t: first,", "cost 4.5 G"]
    assert printed(Table("t", columns, []), 40)[0] == "t"


def test_columns_give_way_and_it_is_said() -> None:
    rows: list[list[Cell]] = [["first", "eager", 1.0, 0.5, 7, None]]
    full, narrow, least = (printed(Table("Speed", COLUMNS, rows), width) for width in (60, 30, 22))
    assert "kernels" in full[1]
    assert not any("not shown" in line for line in full)
    assert "share" in " ".join(narrow)
    assert "not shown at this width: kernels" in " ".join(narrow)
    assert "not shown at this width: share of it; kernels" in " ".join(least)
    assert any(line.split() == ["eager", "1.00"] for line in least)


def test_prose_wraps_and_nothing_else_does() -> None:
    text = "a sentence that is much longer than the terminal is wide, see https://arxiv.org/abs/2210.07124"
    rows: list[list[Cell]] = [["n", "onnxruntime-plain:fp32", 1.0, 0.25, 3, text]]
    lines = printed(Table("t", COLUMNS, rows), 80)
    assert max(map(cell_len, lines)) <= 80
    body = " ".join(lines)
    for whole in ("onnxruntime-plain:fp32", "https://arxiv.org/abs/2210.07124", "1.00"):
        assert whole in body
    assert text not in body


def test_backquotes_are_for_pages() -> None:
    table = Table("t", [Column("name", left=True)], [["`gfa`"]])
    assert "| `gfa` |" in table.markdown()
    assert printed(table, 40)[-1] == "gfa"


def test_a_table_without_rows_is_its_headings() -> None:
    table = Table("t", COLUMNS, [])
    assert table.markdown().splitlines()[0] == "| network | engine | latency, ms | share of it |"
    assert len(printed(table, 80)) == 3


def test_a_cell_of_several_lines_is_one_line_of_a_page() -> None:
    assert Table("t", [Column("a", left=True)], [["one\ntwo | three"]]).markdown().splitlines()[2:] == [
        "| one two \\| three |"
    ]


def test_a_row_has_a_cell_for_every_column() -> None:
    with pytest.raises(ValueError, match="a row of 2 cells for 6 columns"):
        Table("t", COLUMNS, [["too", "few"]])


def test_what_stands_below_is_printed_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    show(TABLE, TABLE, notes=["[bold]as typed[/] " + "long " * 60])
    out = capsys.readouterr().out
    assert "- [bold]as typed[/]" in out
    assert out.count("Speed\n") == 2
    assert MISSING in out
