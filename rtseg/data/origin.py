"""Where the images of a folder come from, as the folder itself says: a file `data_card.json` beside them.

`rtseg make-data` writes one, so that no score of drawn scenes passes for a score of photographs. Anybody may write one:
`{"origin": "my own drive, June 2026"}`.
"""

import json
from pathlib import Path
from typing import Any

from rtseg.errors import UserError
from rtseg.output.json_file import read_json

DATA_CARD = "data_card.json"
_LEVELS = 5  # folders above an image that are looked at: Cityscapes' images lie three below its root, some link deeper
_LONGEST = 500  # characters, what a model card holds


def write_origin(folder: Path, origin: str, **details: Any) -> None:
    """Writes the card of a folder of images.

    Args:
        folder: the root of the data set, which exists.
        origin: one line: what the images are, and who made them.
        details: anything else that is worth knowing, as JSON takes it.
    """
    text = json.dumps({"origin": origin, **details}, indent=2)
    (folder / DATA_CARD).write_text(f"{text}\n", encoding="utf-8")


def read_origin(image: Path) -> str | None:
    """What the nearest card says that lies beside an image or in a folder above it; None where there is none.

    Raises:
        UserError: the card cannot be read, or its "origin" is not one line of text.
    """
    for folder in image.absolute().parents[:_LEVELS]:
        file = folder / DATA_CARD
        if file.is_file():
            card = read_json(file)
            origin = card.get("origin") if isinstance(card, dict) else None
            if not (isinstance(origin, str) and origin.isprintable() and 0 < len(origin) <= _LONGEST):
                raise UserError(
                    f"'{file}' must say where the images come from, in one line of at most {_LONGEST} characters: "
                    '{"origin": "my own drive, June 2026"}; correct the file or remove it'
                )
            return origin
    return None
