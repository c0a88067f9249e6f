"""Measurements that a comparison keeps in its folder for the next time."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from rtseg.errors import UserError
from rtseg.terminal import Console

T = TypeVar("T")


def read_kept(file: Path, parse: Callable[[Any], T]) -> T | None:
    """What `parse` makes of the JSON in a file, None where there is no file.

    Raises:
        UserError: `parse` cannot read it.
    """
    if not file.is_file():
        return None
    try:
        return parse(json.loads(file.read_bytes()))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        what = f"no entry {error}" if isinstance(error, KeyError) else error
        raise UserError(f"'{file}' was not written by a comparison ({what}): remove it, or choose another -o") from None


def say_kept(what: str, conditions: Mapping[str, Any], file: Path, console: Console) -> None:
    """Says when something was measured, and how it is measured again."""
    console.print(
        f"{what} as measured on {conditions['date']}, commit {conditions['git_commit'] or 'unknown'}; "
        f"to measure again, remove {file}",
        soft_wrap=True,
    )
