"""A command as its user meets it, in the test's own process."""

from collections.abc import Callable

import pytest


def exit_status(main: Callable[[list[str]], object], *args: str) -> int:
    """Of the command with these arguments."""
    try:
        main(list(args))
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def check_refused(status: int, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The command ended with an error that has these words, and no traceback."""
    assert status == 2
    error = capsys.readouterr().err
    assert says in error
    assert "Traceback" not in error
