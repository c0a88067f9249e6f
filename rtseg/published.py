"""Weights that others have published, by name: where they are fetched from, what is known of them, where they are kept.

Fetched files are converted by `rtseg.models.published`. Nothing heavy is imported here.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from rtseg.errors import UserError
from rtseg.output.folders import check_place, write_whole
from rtseg.output.json_file import read_json
from rtseg.output.lock import locked_target
from rtseg.registry import UnknownNameError, suggest

OWNER = "paddleseg"
LICENSE = "Apache-2.0"
"""The licence of PaddleSeg's repository; of the weights alone nothing is stated."""
_ADDRESS = "https://paddleseg.bj.bcebos.com"
MIRROR = "RTSEG_MIRROR"
"""The environment variable with another address that has the same files under the same paths."""
_WAIT = 3600.0  # seconds for another command that fetches the same weights


@dataclass(frozen=True)
class Published:
    """A file of weights that PaddleSeg has published.

    Attributes:
        model, dataset: whose weights they are; those of "imagenet" are a pre-trained backbone.
        path: of the file behind the address of its publisher, or of a mirror.
        megabytes: 4 bytes a parameter of PaddleSeg's code. The file's own size is not stated.
        miou: in per cent, without flips and scales, as the publisher states it; None where there is none.
        digest: SHA-256 of the file where the publisher states it; None: what was seen first counts.
    """

    model: str
    dataset: str
    path: str
    megabytes: int
    miou: float | None = None
    digest: str | None = None

    @property
    def name(self) -> str:
        """What it is called here: 'paddleseg/rtformer_slim_ade20k'."""
        return f"{OWNER}/{self.model}_{self.dataset}"

    @property
    def most(self) -> int:
        """Bytes that the file may have."""
        return 4_000_000 * self.megabytes

    @property
    def address(self) -> str:
        """Where it is fetched from: its publisher, or the mirror that the environment names."""
        return (os.environ.get(MIRROR) or _ADDRESS).rstrip("/") + self.path

    @property
    def suffix(self) -> str:
        """'.pdparams', or '.zip' for a backbone."""
        return Path(self.path).suffix

    def by_hand(self) -> str:
        """How to get it on a machine that the address cannot be reached from."""
        unpack = "unpack it, " if self.suffix == ".zip" else ""
        dataset = "" if self.dataset == "imagenet" else f" --dataset {self.dataset}"
        return (
            f"fetch {_ADDRESS}{self.path} elsewhere, {unpack}run `rtseg convert model.pdparams --model {self.model}"
            f"{dataset} -o DIR`, and give DIR in place of {self.name}"
        )


def _network(model: str, dataset: str, recipe: str, megabytes: int, miou: float) -> Published:
    return Published(model, dataset, f"/dygraph/{dataset}/{model}_{dataset}_{recipe}/model.pdparams", megabytes, miou)


def _backbone(model: str, megabytes: int) -> Published:
    path = f"/dygraph/backbone/{model}_backbone_imagenet_pretrained.zip"
    return Published(model, "imagenet", path, megabytes)


PUBLISHED = {
    entry.name: entry
    for entry in (
        _network("rtformer_slim", "ade20k", "512x512_160k", 20, 36.67),
        _network("rtformer_base", "ade20k", "512x512_160k", 72, 42.02),
        _network("rtformer_slim", "cityscapes", "1024x512_120k", 22, 76.31),
        _network("rtformer_base", "cityscapes", "1024x512_120k", 72, 79.24),
        _backbone("rtformer_slim", 18),
        _backbone("rtformer_base", 70),
    )
}
"""All of them by name."""


def find_published(source: str | Path) -> Published | None:
    """The weights of this name; None where the name is none of this kind.

    Raises:
        UnknownNameError: it has the owner of these names, but is none of them; or it is one in capitals.
    """
    name = Path(source).as_posix()
    ours = name.startswith(f"{OWNER}/") and name.count("/") == 1
    if name not in PUBLISHED and (ours or name.lower() in PUBLISHED):
        raise UnknownNameError(f"there are no published weights '{name}'", f".{suggest(name, PUBLISHED)}")
    return PUBLISHED.get(name)


def folder_of(entry: Published, cache: Path) -> Path:
    """Where the converted weights are kept. The folder is there when they are whole, and not before."""
    return cache / "weights" / entry.name


def fetch_published(entry: Published, cache: Path) -> None:
    """Sees to it that the converted weights, or the file of which they are made, are on this machine.

    Raises:
        UserError: see `fetched`.
    """
    if not os.path.isdir(folder_of(entry, cache)):  # False also where the system refuses
        with fetched(entry, cache):
            pass


@contextmanager
def fetched(entry: Published, cache: Path) -> Iterator[Path | None]:
    """The published file on this machine, for the block alone: other commands wait.

    Returns:
        The file; None where another command has converted it by now.

    Raises:
        UserError: it cannot be fetched; the message says how to do it by hand. It is not the file that was seen
            earlier. Or the cache cannot be written to.
    """
    from rtseg.download import UnfetchedError, download

    folder = folder_of(entry, cache)
    try:
        check_place(folder.parent)
    except UserError as error:
        raise UserError(f"{error}, by RTSEG_CACHE=FOLDER") from None
    with locked_target(folder, patience=_WAIT):
        file = folder.with_name(folder.name + entry.suffix)
        if folder.is_dir():
            yield None
            return
        if not file.is_file():
            try:
                download(entry.address, file, most=entry.most)
            except UnfetchedError as error:
                mirror = f" from {MIRROR}={os.environ[MIRROR]}" if os.environ.get(MIRROR) else ""
                raise UserError(
                    f"'{entry.name}' cannot be fetched{mirror}: {error}. By hand: {entry.by_hand()}"
                ) from None
        _check_digest(entry, file, folder)
        yield file


def digest_of(file: Path) -> str:
    """SHA-256 of a file's content."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def remember(entry: Published, file: Path, folder: Path) -> str:
    """Records beside the folder what was fetched for it; from now on no other file is taken.

    Returns:
        The file's SHA-256.
    """
    digest = digest_of(file)
    seen = {"address": entry.address, "sha256": digest, "bytes": file.stat().st_size, "date": f"{date.today()}"}
    write_whole(_record(folder), json.dumps(seen, indent=2) + "\n")
    return digest


def seen(entry: Published, cache: Path) -> dict[str, Any]:
    """What was recorded of an earlier fetch: address, sha256, bytes, date; empty where there was none."""
    record = _record(folder_of(entry, cache))
    content = read_json(record) if record.is_file() else {}
    if content and not (isinstance(content, dict) and isinstance(content.get("sha256"), str)):
        raise UserError(f"'{record}' is damaged: it does not say which file was seen. Remove it to trust the next one")
    return content


def _record(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.seen.json")


def _check_digest(entry: Published, file: Path, folder: Path) -> None:
    """Removes a file that is not the one that was published, or that was seen first.

    Raises:
        UserError: it is not.
    """
    earlier = seen(entry, folder.parents[2])
    wanted = entry.digest or earlier.get("sha256")
    if not wanted or (found := digest_of(file)) == wanted:
        return
    file.unlink()
    if entry.digest:
        reason, repair = "published", f"Try another network or address ({MIRROR}), or again later"
    else:
        reason = f"seen on {earlier.get('date')}"
        repair = f"If you know why, remove '{_record(folder)}', and the next one is trusted"
    raise UserError(
        f"'{entry.name}': {entry.address} gives another file than the one {reason} (SHA-256 {found[:16]}…, not "
        f"{wanted[:16]}…), and it was not opened. {repair}"
    )
