"""Paths that a user typed, looked at before torch is imported: what is not there is said within a second.

Nothing heavy is imported here.
"""

import glob
import os
import re
import sys
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from rtseg.addresses import is_live, shown
from rtseg.errors import UserError, nearest
from rtseg.hub import fetch
from rtseg.numbered import is_numbered, no_numbered, numbered_files
from rtseg.published import fetch_published, find_published

WEIGHTS_FILE, CARD_FILE = "model.safetensors", "config.json"  # of a folder of weights
_EXPORTS = (".onnx", ".xml", ".mnn", ".pt2")
NETWORK_SUFFIXES = (".ckpt", ".pt", ".pth", ".safetensors", ".pdparams", *_EXPORTS)
_FILE_SUFFIXES = (*NETWORK_SUFFIXES, ".json", ".yaml")
OTHER_LIBRARIES = ("timm:",)  # what names of their networks and weights begin with
FILM_SUFFIXES = (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv")
_SEARCHED = 2000  # names of a folder that are compared with a wrong one


def cache_folder() -> Path:
    """Where rtseg keeps what it can make or fetch again. It need not exist; whoever writes there makes it.

    $RTSEG_CACHE, else the system's place for a user's caches with `rtseg` in it: $XDG_CACHE_HOME or ~/.cache, on macOS
    ~/Library/Caches, on Windows %LOCALAPPDATA%.

    Raises:
        UserError: RTSEG_CACHE names the home of a user that is not here.
    """
    if own := os.environ.get("RTSEG_CACHE"):
        place = Path(os.path.expanduser(own))
        if place.parts[:1] and place.parts[0].startswith("~"):
            raise UserError(f"RTSEG_CACHE='{own}': there is no user '{place.parts[0][1:]}' here; give another folder")
        return place.absolute()
    home = Path(os.path.expanduser("~"))
    if sys.platform == "win32":
        place = Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local")
    elif sys.platform == "darwin":
        place = home / "Library" / "Caches"
    else:
        place = Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache")
    return place / "rtseg"


def missing(path: str | Path) -> str:
    """What is true of a path that leads nowhere, one sentence: where it ends, and what is near it or beside it."""
    if os.path.exists(path):
        return f"'{path}' is a pipe or a device."
    end = "; ".join(_end(Path(path), listing=True))
    return f"'{path}' does not exist: {end}" + "." * (not end.endswith("?"))


def _end(path: Path, *, listing: bool) -> list[str]:
    """Where a path ends, then the name there that is meant, or with `listing` some of the names where none is near."""
    if os.path.islink(path):
        return [f"it is a link to '{os.readlink(path)}', which is not there"]
    place = next(parent for parent in path.parents if os.path.exists(parent))
    name, *rest = path.relative_to(place).parts
    if not place.is_dir():
        return [f"'{place}' is a file"]
    gap = [f"there is no folder '{place / name}'"] if rest else []
    try:
        names = sorted(entry.name for entry in os.scandir(place) if not entry.name.startswith("."))
    except OSError as error:
        return [*gap, f"'{place}' cannot be listed ({error.strerror})"]
    if near := get_close_matches(name, names[:_SEARCHED], n=1):
        meant = place.joinpath(near[0], *rest)
        return [*gap, f"did you mean '{meant if os.path.exists(meant) else place / near[0]}'?"]
    if not listing:
        return gap
    here = "this folder" if place == Path() else f"'{place}'"
    return [*gap, f"{here} holds {nearest(names, name)}" if names else f"{here} is empty"]


def check_exists(path: str | Path, repair: str) -> None:
    """Raises: UserError where nothing is there.

    Args:
        repair: what to give instead, a sentence.
    """
    if not os.path.exists(path):
        raise UserError(f"{missing(path)} {repair}")


def check_alike(first: Path, second: Path) -> None:
    """Raises: UserError where one is a folder and the other is not."""
    if first.is_dir() != second.is_dir():
        raise UserError(f"'{first}' and '{second}': give two images, or two folders")


def check_file(path: str | Path, repair: str) -> None:
    """Raises: UserError where no file is there.

    Args:
        repair: what to give instead, a sentence.
    """
    if os.path.isdir(path):
        raise UserError(f"'{path}' is a folder. {repair}")
    check_exists(path, repair)


def check_step(run: Path) -> None:
    """Raises: UserError where no step that was not finite is kept.

    Args:
        run: folder of a training, or the file itself.
    """
    step = run / "nonfinite.ckpt" if run.is_dir() else run
    check_exists(step, "A training writes it when it stops because a step is not finite.")


def check_network(source: str | Path) -> None:
    """Fetches published weights, and the card of a Hugging Face id, unless they are on this machine.

    Weights of other libraries are looked at when their network is built.

    Raises:
        UserError: there are no weights: neither a file nor a folder, nor a published name, nor a Hugging Face id.
    """
    if os.path.exists(source) or str(source).startswith(OTHER_LIBRARIES):
        return
    if is_live(str(source)):  # it may hold a password
        raise UserError(
            f"'{shown(str(source))}' is a camera or a stream, where a network is expected: give the network first"
        )
    if published := find_published(source):
        fetch_published(published, cache_folder())
    else:
        fetch_network(source, CARD_FILE)


def check_repository(repo: str) -> None:
    """Raises: UserError where it is no name of a repository that can be written to: owner/name."""
    if not is_hub_id(repo) or "@" in repo or find_published(repo):
        raise UserError(f"'{repo}' is not a Hugging Face id of your own: give OWNER/NAME, as in alice/rtformer-streets")


def check_images(sources: Iterable[str]) -> None:
    """Raises: UserError where an image, a folder or a glob leads nowhere."""
    for source in sources:
        if not _leads_somewhere(source):
            raise UserError(no_images(source))


def check_any_image(sources: Sequence[str]) -> None:
    """Raises: UserError where all images, folders and globs lead nowhere."""
    if not any(map(_leads_somewhere, sources)):
        check_images(sources)


def _leads_somewhere(source: str) -> bool:
    path = os.path.expanduser(source)
    if is_numbered(path) and numbered_files(Path(path)):
        return True
    return os.path.exists(path) or (glob.has_magic(path) and any(glob.iglob(path, recursive=True)))


def no_images(source: str) -> str:
    """What is said of an image, a folder or a glob that leads nowhere."""
    if is_live(source):
        return f"'{shown(source)}' is a camera or a stream, which `rtseg predict` alone takes"
    if glob.has_magic(source):
        return f"no images in '{source}': no file matches"
    path = Path(os.path.expanduser(source))
    if is_numbered(path) and path.parent.is_dir():
        return no_numbered(path)
    kind = "film" if path.suffix.lower() in FILM_SUFFIXES else "image, folder or glob"
    return f"no such {kind}: {missing(path)}"


def fetch_network(source: str | Path, *files: str, **hub: Any) -> Path:
    """The folder with files of a network that is no path here: of the Hugging Face hub, where it may be an id.

    Args:
        files: names of files of a folder of weights.
        hub: of `huggingface_hub.hf_hub_download`.

    Raises:
        UserError: it is no id either, or the hub does not give it. A path whose parent is here is a typing error,
            which is no business of the net.
    """
    path = Path(source)
    if not is_hub_id(str(source)) or path.parent.exists():
        raise UserError(
            f"{missing(source)} Give a .ckpt file, a folder with {WEIGHTS_FILE}, a name of "
            "`rtseg list weights`, or a Hugging Face id"
        )
    try:
        return fetch(str(source), *files, **hub)
    except UserError as error:
        here = "; ".join(_end(path, listing=False))
        raise UserError(
            f"'{source}' is neither a path here ({here}) nor a Hugging Face id that can be loaded: {error}"
        ) from None


def is_path(name: str) -> bool:
    """Whether it can only be a file, a folder or a Hugging Face id, where a network's name is possible as well."""
    return Path(name).name != name or name.endswith(_FILE_SUFFIXES)


def is_hub_id(source: str) -> bool:
    """owner/name or owner/name@revision; the name may hold a version but is no file's."""
    return bool(re.fullmatch(r"\w[\w.-]*/\w[\w.-]*(@[\w.-]+)?", source)) and not source.endswith(_FILE_SUFFIXES)
