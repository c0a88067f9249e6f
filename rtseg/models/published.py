"""Published weights by name as weights of rtseg: fetched and converted once, then read from the cache."""

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from torch import Tensor

from rtseg.disk import refusals_told
from rtseg.errors import DAMAGED_ZIP, UserError, first_line
from rtseg.models.backbone_folder import save_backbone
from rtseg.models.model_card import ModelCard
from rtseg.models.paddle import convert, convert_trunk
from rtseg.models.segmenter import describe
from rtseg.models.weights_folder import read_folder
from rtseg.paths import cache_folder
from rtseg.published import LICENSE, Published, fetched, folder_of, remember

_BLOCK = 2**20


def read_published(entry: Published) -> tuple[ModelCard, dict[str, Tensor]]:
    """Card and state dict; the first time the file is fetched and converted.

    Raises:
        UserError: see `fetched`; or the file is not what it should be, or the copy in the cache is damaged.
    """
    folder = folder_of(entry, cache_folder())
    if not folder.is_dir():
        with fetched(entry, cache_folder()) as file:
            if file is not None:
                _convert(entry, file, folder)
    try:
        return read_folder(folder)
    except UserError as error:
        raise UserError(f"{error}. It is a copy: remove '{folder}', and the next command fetches it again") from None


def _convert(entry: Published, file: Path, folder: Path) -> None:
    """Makes the folder of the file, which is removed, whatever comes of it: nothing else can be made of it."""
    try:
        with _parameters(entry, file) as parameters:
            if entry.dataset == "imagenet":
                card, state = convert_trunk(parameters, entry.model)
                source = _source(entry, remember(entry, file, folder))
                save_backbone(folder, replace(card, source=source, license=LICENSE), state)
                return
            from rtseg.data import label_space  # with OpenCV, which no other file of networks needs

            labels = label_space(entry.dataset)
            segmenter = convert(
                parameters, entry.model, entry.dataset,
                class_names=labels.names, palette=labels.palette, ids=labels.ids,
            )  # fmt: skip
            source = _source(entry, remember(entry, file, folder))
            describe(segmenter, source=source, license=LICENSE, miou=entry.miou)
            segmenter.save_pretrained(folder)
    except UserError as error:
        raise UserError(f"'{entry.name}', from {entry.address}: {error}") from None
    finally:
        file.unlink(missing_ok=True)


def _source(entry: Published, digest: str) -> str:
    return f"PaddleSeg, {entry.address}, SHA-256 {digest}"


@contextmanager
def _parameters(entry: Published, file: Path) -> Iterator[Path]:
    """The model.pdparams: the file itself, or a copy of the one in a zip archive.

    Raises:
        UserError: it is no archive, or has none or more than one, or a larger one than the archive itself may be.
    """
    if entry.suffix != ".zip":
        yield file
        return
    with TemporaryDirectory(dir=file.parent, prefix=f".{file.name}-") as aside:
        unpacked = Path(aside, "model.pdparams")
        try:
            with zipfile.ZipFile(file) as archive, refusals_told(file.parent):
                found = [member for member in archive.infolist() if Path(member.filename).suffix == ".pdparams"]
                if len(found) != 1:
                    raise UserError(f"the archive has {len(found)} files .pdparams in place of one")
                with archive.open(found[0]) as member, unpacked.open("wb") as written:
                    while block := member.read(_BLOCK):
                        if written.write(block) and written.tell() > entry.most:
                            raise UserError(f"the file in the archive has more than the {entry.most} bytes that it may")
        except DAMAGED_ZIP as error:
            if isinstance(error, UserError):
                raise
            raise UserError(f"it is damaged or no zip archive: {first_line(error)}") from None
        yield unpacked
