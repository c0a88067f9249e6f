"""A benchmark whose output goes to a file says what it does."""

import pytest

from rtseg.speed.progress import progress_bar, told
from rtseg.terminal import Console


def test_without_a_terminal_what_is_built_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar("2 rows", Console(stderr=True)) as progress:
        progress.building("rtformer_slim, eager")
        assert "building rtformer_slim, eager\n" in capsys.readouterr().err
    assert not capsys.readouterr().err  # a bar would fill the file


def test_without_a_terminal_what_goes_on_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    with told("measuring", Console(stderr=True)):
        assert capsys.readouterr().err == "measuring\n"
