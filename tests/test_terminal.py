"""What foreign files hold is shown and never obeyed, on the terminal and on pages."""

import ast
import io
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.progress import track

from rtseg.command_line import create_app, run_app
from rtseg.errors import UserError
from rtseg.output.table import Column, Table, show
from rtseg.terminal import Console, say, visible

ROOT = Path(__file__).parents[1]
EVIL = "a\x1b[31m\x07\r\x9b1m\u202ered\udcff[bold]:smile:é"
SHOWN = r"a\x1b[31m\x07\r\x9b1m\u202ered\udcff[bold]:smile:é"


def test_by_every_way_to_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert visible(EVIL) == SHOWN
    assert visible("lines\nand\ttabs, 汉字 👩\u200d🚒") == "lines\nand\ttabs, 汉字 👩\u200d🚒"
    say(EVIL)
    say(EVIL, stderr=True)
    show(Table("title" + EVIL, [Column("name" + EVIL, left=True)], [[EVIL]]), notes=[EVIL])
    console = Console(stderr=True)
    console.print(EVIL)
    list(track([1], EVIL, console=console))
    captured = capsys.readouterr()
    assert captured.out.count(SHOWN) == 5
    assert captured.err.count(SHOWN) == 2
    for text in captured:
        assert not set("\x1b\x07\x9b\u202e\udcff") & set(text)


def test_a_terminal_without_utf_8(monkeypatch: pytest.MonkeyPatch) -> None:
    app = create_app("test", "")

    @app.command()
    def speak() -> None:
        say("Straße")
        show(Table("Übersicht", [Column("class")], [[None]]))

    stream = io.TextIOWrapper(written := io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", stream)
    with pytest.raises(SystemExit) as end:
        run_app(app, [])
    assert end.value.code == 0
    assert rb"Stra\xdfe" in written.getvalue()
    assert rb"\xdcbersicht" in written.getvalue()


def test_errors_are_shown_and_cut(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    app = create_app("test", "")

    @app.command()
    def fail() -> None:
        raise UserError(EVIL + "x" * 10_000)

    monkeypatch.setattr(sys, "argv", ["test"])
    with pytest.raises(SystemExit):
        run_app(app, [])
    said = capsys.readouterr().err
    assert said.startswith(f"error: {SHOWN}")
    assert said.endswith("characters more)\n")
    assert len(said) < 5000


@settings(max_examples=20)
@given(st.text(st.characters()))
def test_any_text_can_be_written(text: str) -> None:
    visible(text).encode()
    assert visible(visible(text)) == visible(text)


@pytest.mark.parametrize("how", ["Connection closed by peer", "Read error: Connection reset by peer"])
def test_another_process_that_ended_is_a_sentence(how: str, capsys: pytest.CaptureFixture[str]) -> None:
    app = create_app("test", "")

    @app.command()
    def fail() -> None:
        raise RuntimeError(f"[pair.cc:545] {how} [127.0.0.1]:17845")

    with pytest.raises(SystemExit, match="2"):
        run_app(app, [])
    assert capsys.readouterr().err.startswith("error: another process of this training ended")


def test_there_is_no_other_way_to_the_terminal() -> None:
    """In rtseg and pretrain `say` stands for print, and rich's console is `rtseg.terminal`'s."""
    found = []
    for file in (file for folder in ("rtseg", "pretrain") for file in ROOT.joinpath(folder).rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            prints = isinstance(node, ast.Call) and ast.unparse(node.func) == "print"
            if prints or (isinstance(node, ast.ImportFrom) and "rich.console import Console" in ast.unparse(node)):
                found.append(f"{file.relative_to(ROOT)}: {ast.unparse(node)[:60]}")
    assert [line for line in found if not line.startswith("rtseg/terminal.py")] == [], "import it from rtseg.terminal"
