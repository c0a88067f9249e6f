"""The names of the results of an image: as short as is unique, and never longer than the system takes."""

import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path

# Linux takes 255 bytes of a name and 4095 of a path. `_overlay.jpg`, and what a file is called while it is written,
# come on top.
_MOST_NAME, _MOST_PATH = 200, 4000
LEGEND, RECORD = "legend.png", "predictions.jsonl"
FILMS = ("overlay", "side-by-side", "frames")  # what can be shown of a film: its overlay, both, or PNG files


def result_files(name: str) -> tuple[str, str, str]:
    """The files of an image: the class map, its colours, the overlay."""
    return f"{name}.png", f"{name}_colour.png", f"{name}_overlay.jpg"


def margin_file(name: str) -> str:
    """The file of an image's margins, where they are asked for."""
    return f"{name}_margin.png"


def result_names(found: Sequence[tuple[Path, Path]], out_dir: Path) -> tuple[dict[Path, str], list[str]]:
    """Absolute path of each image -> name of its results below `out_dir`, as `result_files` takes it.

    Args:
        found: (root, image); names keep the folders below the root.

    Returns:
        The names, and those of them that were shortened.
    """
    roots = {Path(os.path.abspath(path)): Path(os.path.abspath(root)) for root, path in found}  # each image once
    common = Path(os.path.commonpath([path.parent for path in roots]))
    schemes: tuple[Callable[[Path], Path], ...] = (
        lambda path: path.relative_to(roots[path]).with_suffix(""),
        lambda path: path.relative_to(common).with_suffix(""),
        lambda path: path.relative_to(common),  # a.jpg beside a.png: the suffix tells them apart
    )
    for scheme in schemes:
        names = {path: scheme(path).as_posix() for path in roots}
        files = [
            file.lower() for name in names.values() for file in (*result_files(name), margin_file(name))
        ]  # some systems ignore case
        if len({*files, LEGEND}) == len(files) + 1:
            break
    fitting = {path: _fitting(name, out_dir) for path, name in names.items()}
    return fitting, [short for path, short in fitting.items() if short != names[path]]


def _fitting(name: str, out_dir: Path) -> str:
    """The name, or where it is too long its beginning with a digest of all of it: the same in every run."""

    def fits(name: str) -> bool:
        last, whole = name.rpartition("/")[2], os.path.abspath(out_dir / name)
        return len(os.fsencode(last)) <= _MOST_NAME and len(os.fsencode(whole)) <= _MOST_PATH

    if fits(name):
        return name
    folder, slash, last = name.rpartition("/")
    digest = hashlib.sha256(os.fsencode(name)).hexdigest()[:12]
    start = os.fsencode(last)[: _MOST_NAME - len(digest) - 1].decode(errors="ignore")
    short = f"{start}-{digest}"
    return f"{folder}{slash}{short}" if fits(f"{folder}{slash}{short}") else short
