"""A folder of weights: safetensors with the card of their network beside them, read and written whole."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from rtseg.disk import refusals_told
from rtseg.errors import UserError
from rtseg.models.model_card import ModelCard
from rtseg.output.folders import make_folder

WEIGHTS_FILE, CARD_FILE = "model.safetensors", "config.json"


@contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """A path to write a folder of weights to, which becomes `target` when it is whole.

    In a folder that holds weights already these are replaced, but its README is kept.

    Raises:
        UserError: the folder or its parent is a file or cannot be written to; a full disk.
    """
    make_folder(target.parent)
    if target.exists():
        make_folder(target)
    with (
        refusals_told(target),
        TemporaryDirectory(prefix=f".{target.name}-", suffix="-unfinished", dir=target.parent) as aside,
    ):
        written = Path(aside, target.name)
        yield written
        if target.exists():
            (target / CARD_FILE).unlink(missing_ok=True)  # until all is moved, no card may claim other weights
            for name in ("README.md", WEIGHTS_FILE, CARD_FILE):
                if name != "README.md" or not (target / name).exists():
                    os.replace(written / name, target / name)
        else:
            os.replace(written, target)


def write_weights(folder: Path, card: ModelCard, state: Mapping[str, Tensor]) -> None:
    """Writes weights and card into a folder that is there."""
    # Not save_file: it makes a file that its owner alone may read.
    content = save({key: value.contiguous() for key, value in state.items()}, metadata={"format": "pt"})
    (folder / WEIGHTS_FILE).write_bytes(content)
    (folder / CARD_FILE).write_text(json.dumps(card.to_dict(), indent=2) + "\n")


def read_folder(folder: Path) -> tuple[ModelCard, dict[str, Tensor]]:
    """Card and state dict of a folder. Raises: UserError where one is missing or damaged."""
    for name in (CARD_FILE, WEIGHTS_FILE):
        if not (folder / name).is_file():
            found = ", ".join(sorted(p.name for p in folder.iterdir())[:10]) or "nothing"
            raise UserError(f"'{folder}' holds no {name}, which save_pretrained writes; found: {found}")
    try:
        card = json.loads((folder / CARD_FILE).read_text())
        return read_card(card, folder / CARD_FILE), load_file(folder / WEIGHTS_FILE)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"'{folder / CARD_FILE}' is not JSON: {error}") from None
    except SafetensorError as error:
        raise UserError(f"'{folder / WEIGHTS_FILE}' is damaged or no safetensors file: {error}") from None


def read_card(card: Any, path: Path) -> ModelCard:
    """The card of a file, from what is stored of it. Raises: UserError, which names the file, where it is damaged."""
    try:
        return ModelCard.from_dict(card)
    except UserError as error:
        raise UserError(f"'{path}': {error}") from None
