"""A folder of weights: safetensors with the card of their network beside them, read and written whole."""

import json
import os
import zlib
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
from rtseg.output.json_file import read_json
from rtseg.paths import CARD_FILE, WEIGHTS_FILE
from rtseg.terminal import say

_CRC = "crc32"  # in the card's file: of both files by name


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
        # In a folder that is there: it may be a file system of its own, as a container's volume is.
        TemporaryDirectory(
            prefix=f".{target.name}-", suffix="-unfinished", dir=target if target.exists() else target.parent
        ) as aside,
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
    """Writes weights and card into a folder that is there; the card's file holds the CRC-32 of both."""
    # Not save_file: it makes a file that its owner alone may read.
    content = save({key: value.contiguous() for key, value in state.items()}, metadata={"format": "pt"})
    (folder / WEIGHTS_FILE).write_bytes(content)
    entries = card.to_dict()
    crc = {WEIGHTS_FILE: _hex(zlib.crc32(content)), CARD_FILE: _card_crc(entries)}
    (folder / CARD_FILE).write_text(json.dumps({**entries, _CRC: crc}, indent=2) + "\n")


def read_folder(folder: Path) -> tuple[ModelCard, dict[str, Tensor]]:
    """Card and state dict of a folder. A card that has changed is said: people edit class names and colours.

    Raises:
        UserError: one is missing or damaged, or the weights are not as they were written. Folders of others, and of
            rtseg before it wrote their CRC-32, load without that check.
    """
    for name in (CARD_FILE, WEIGHTS_FILE):
        if not (folder / name).is_file():
            raise UserError(f"'{folder}' does not contain {name}, which save_pretrained writes{_instead(folder)}")
    entries = read_json(folder / CARD_FILE)
    crc = entries.pop(_CRC, {}) if isinstance(entries, dict) else {}
    card = read_card(entries, folder / CARD_FILE)
    if not isinstance(crc, dict):
        raise UserError(f"'{folder / CARD_FILE}': {_CRC}={crc!r} must hold the CRC-32 of files: copy the folder again")
    if crc.get(CARD_FILE, _card_crc(entries)) != _card_crc(entries):
        say(
            f"'{folder / CARD_FILE}' has changed since it was written. If you did not change it, copy the folder "
            f"again; if you did, remove '{CARD_FILE}' from its '{_CRC}', and this line disappears",
            stderr=True,
        )
    try:
        if crc.get(WEIGHTS_FILE, found := _file_crc(folder / WEIGHTS_FILE)) != found:
            raise UserError(
                f"'{folder / WEIGHTS_FILE}' is damaged, or of another network than the {CARD_FILE} beside it (CRC-32 "
                f"{found}, not {crc[WEIGHTS_FILE]}): copy the folder again, or, if you wrote it, remove "
                f"'{WEIGHTS_FILE}' from the card's '{_CRC}'"
            )
        return card, load_file(folder / WEIGHTS_FILE)
    except OSError as error:
        raise UserError(f"'{folder / WEIGHTS_FILE}' cannot be read: {error.strerror}") from None
    except SafetensorError as error:
        raise UserError(f"'{folder / WEIGHTS_FILE}' is damaged or not a safetensors file: {error}") from None


def _instead(folder: Path) -> str:
    """The checkpoint in a training's folder that is meant, else what any other folder holds; the end of an error."""
    names = sorted(path.name for path in folder.iterdir())
    checkpoints = [name for name in names if name.endswith(".ckpt") and not name.startswith(".")]
    for name in ("best.ckpt", "last.ckpt", *checkpoints):
        if name in checkpoints:
            return f". Did you mean '{folder / name}'?"
    return f"; found: {', '.join(names[:10]) or 'nothing'}"


def _hex(crc: int) -> str:
    return f"{crc:08x}"


def _card_crc(entries: Mapping[str, Any]) -> str:
    return _hex(zlib.crc32(json.dumps(entries, sort_keys=True).encode()))


def _file_crc(file: Path) -> str:
    crc, buffer = 0, memoryview(bytearray(2**20))
    with file.open("rb", buffering=0) as content:
        while read := content.readinto(buffer):
            crc = zlib.crc32(buffer[:read], crc)
    return _hex(crc)


def read_card(card: Any, path: Path) -> ModelCard:
    """The card of a file, from what is stored of it. Raises: UserError, which names the file, where it is damaged."""
    try:
        return ModelCard.from_dict(card)
    except UserError as error:
        raise UserError(f"'{path}': {error}") from None
