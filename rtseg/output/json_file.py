"""Reading JSON that others may have written: what is damaged, too large or too deep is one sentence."""

import json
from pathlib import Path
from typing import Any

from rtseg.errors import UserError

_LARGEST = 4 * 2**20  # bytes of a file that people and programs write about one network


def read_json(file: Path) -> Any:
    """The content of a JSON file.

    Raises:
        UserError: it cannot be read, is larger than 4 MiB, is not UTF-8 or not JSON, or is nested too deeply.
    """
    try:
        size = file.stat().st_size
        if size > _LARGEST:
            raise UserError(f"'{file}' has {size} bytes, more than the {_LARGEST} of such a file: copy it again")
        return parse_json(file.read_bytes(), f"'{file}'")
    except OSError as error:
        raise UserError(f"'{file}' cannot be read: {error.strerror}") from None


def parse_json(text: str | bytes, name: str) -> Any:
    """The content of a JSON text.

    Args:
        name: of the text, for the error.

    Raises:
        UserError: see `read_json`.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise UserError(f"{name} is not JSON of this project: it is nested too deeply") from None
    except ValueError as error:  # not JSON, or not UTF-8
        raise UserError(f"{name} is not JSON: {error}") from None
