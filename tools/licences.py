"""The licences of all installed packages: `python -m tools.licences docs/licences.md` writes the table, and with
`--check` in front it fails where one is not acceptable or the table does not know it.

Acceptable: permissive licences, and weak copyleft whose duty ends at its own files (MPL). Not acceptable: AGPL, GPL,
and what no metadata names and nobody has looked up.
"""

import operator
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import Distribution, PackageNotFoundError, distribution, distributions
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from rtseg.output.table import Column, Table

_PROJECT = "rtseg"
_NVIDIA = "LicenseRef-NVIDIA-Proprietary"
_ACCEPTABLE = {
    "0BSD", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0", "CC0-1.0",
    "CNRI-Python", "HPND", "ISC", "MIT", "MIT-CMU", "MPL-2.0", "PSF-2.0", "Python-2.0", "Unlicense", "Zlib",
}  # fmt: skip
# How metadata spells a licence where it is no SPDX name. "BSD" alone is not here: it may be any of four.
_SPELLINGS = {
    "3-clause bsd license": "BSD-3-Clause",
    "apache 2.0": "Apache-2.0",
    "apache 2.0 license": "Apache-2.0",
    "apache software license": "Apache-2.0",
    "bsd 2-clause license": "BSD-2-Clause",
    "isc license": "ISC",
    "isc license (iscl)": "ISC",
    "mit license": "MIT",
    "mozilla public license 2.0 (mpl 2.0)": "MPL-2.0",
    "nvidia proprietary software": _NVIDIA,
    "python software foundation license": "PSF-2.0",
}
# Metadata says nothing or too little ("BSD"): each was looked up in the licence file that is installed with it, or,
# where none is, in its repository's.
_REVIEWED = {
    "cuda-toolkit": _NVIDIA,  # empty but for its requirements; it brings NVIDIA's libraries
    "faster-coco-eval": "Apache-2.0",
    "jinja2": "BSD-3-Clause",
    "mnn": "Apache-2.0",  # its repository's; "BSD-3" in its metadata
    "mpmath": "BSD-3-Clause",
    "nodeenv": "BSD-3-Clause",
    "numba": "BSD-2-Clause",
    "pycocotools": "BSD-2-Clause",  # "FreeBSD" in its metadata
    "pysocks": "BSD-3-Clause",
    "scipy": "BSD-3-Clause",
    "sympy": "BSD-3-Clause",
    "torchvision": "BSD-3-Clause",
}
_COPYLEFT = re.compile("GPL|General Public")
_GCC = "GCC's runtime libraries: GPL-3.0 WITH GCC-exception-3.1, which permits linking"
# What comes inside a package under another licence than its own.
_NOTES = {
    "imageio-ffmpeg": "FFmpeg, GPL-3.0: a program of its own that rtseg runs and does not link",
    "mnn": _GCC,
    "numpy": _GCC,
    "opencv-python-headless": f"FFmpeg: LGPL-2.1, as shared libraries beside OpenCV's. {_GCC}",
    "pillow": "FreeType: its own permissive licence, chosen instead of GPL-2.0",
    "scikit-learn": _GCC,
    "scipy": _GCC,
    "simsimd": _GCC,
    "torch": _GCC,
}
_NVIDIA_NOTE = "not open source; redistributable on NVIDIA's terms; comes with torch's CUDA build alone"

_TITLE = """# Licences of the packages that `make install` installs

Made by `make docs` from the packages' metadata; `make lint` fails where a licence is not acceptable or a package is
missing here.
Permissive licences are acceptable, and MPL-2.0, whose duty ends at its own files. AGPL and GPL are not.
The second column names what needs the package: `rtseg` alone, or one of its extras.
Packages for another platform than the one where `make docs` ran keep their row.

Not installed, but loaded by the pages of `rtseg page`, or copied into them by `--runtime`: onnxruntime-web, MIT.
Each of its modules begins with its copyright and the name of the licence.

"""


@dataclass(frozen=True)
class Row:
    """A package: its name as pip spells it, what needs it, its licence as SPDX expression, a remark."""

    name: str
    needed_by: str
    licence: str
    note: str = ""


def stated(package: Distribution) -> str | None:
    """The licence that a package's metadata names, as SPDX expression; None where it names none that is known."""
    metadata = package.metadata
    if "License-Expression" in metadata:
        return metadata["License-Expression"]
    field = metadata["License"].strip().split("\n")[0] if "License" in metadata else ""
    classifiers = [line for line in metadata.get_all("Classifier") or [] if line.startswith("License ::")]
    texts = [text.rpartition(" :: ")[2].strip() for text in (field, *classifiers)]
    copyleft = [text for text in texts if _COPYLEFT.search(text)]
    known = [_SPELLINGS.get(text.lower(), text) for text in texts]
    return next(iter(copyleft + [text for text in known if text == _NVIDIA or acceptable(text)]), None)


def acceptable(expression: str) -> bool:
    """Whether an SPDX expression can be met by acceptable licences alone: all of an AND, one of an OR."""
    tokens = re.findall(r"\(|\)|[^\s()]+(?: WITH [^\s()]+)?", expression)

    def either(at: int) -> tuple[bool, int]:
        return chain(at, "OR", both, operator.or_)

    def both(at: int) -> tuple[bool, int]:
        return chain(at, "AND", one, operator.and_)

    def chain(
        at: int, word: str, part: Callable[[int], tuple[bool, int]], join: Callable[[bool, bool], bool]
    ) -> tuple[bool, int]:
        fine, at = part(at)
        while at < len(tokens) and tokens[at] == word:
            other, at = part(at + 1)
            fine = join(fine, other)
        return fine, at

    def one(at: int) -> tuple[bool, int]:
        if at < len(tokens) and tokens[at] == "(":
            fine, at = either(at + 1)
            return fine, at + 1
        return at < len(tokens) and tokens[at] in _ACCEPTABLE, at + 1

    fine, end = either(0)
    return fine and end >= len(tokens)


def read(package: Distribution, needed_by: str) -> Row:
    """Raises: ValueError, with a sentence, where the licence is not acceptable or unknown."""
    name = canonicalize_name(package.metadata["Name"])
    licence = stated(package) or _REVIEWED.get(name)
    if licence is None:
        raise ValueError(
            f"{name}: its metadata names no licence that is known; look into its licence file, and add what it is to "
            "_REVIEWED in tools/licences.py"
        )
    if licence == _NVIDIA and name.startswith(("nvidia-", "cuda-")):
        return Row(name, needed_by, licence, _NVIDIA_NOTE)
    if not acceptable(licence):
        repair = "use another package" if _COPYLEFT.search(licence) else "look up whether it is permissive"
        raise ValueError(f"{name}: '{licence}' is not among the acceptable licences of tools/licences.py; {repair}")
    return Row(name, needed_by, licence, _NOTES.get(name, ""))


def _needs(package: Distribution, extras: frozenset[str]) -> Iterator[tuple[str, frozenset[str]]]:
    """(name, extras) of what a package with these extras requires on this platform."""
    for text in package.requires or []:
        needed = Requirement(text)
        environments = [{"extra": extra} for extra in extras | {""}]
        if needed.marker is None or any(map(needed.marker.evaluate, environments)):
            yield canonicalize_name(needed.name), frozenset(needed.extras)


def needed_by() -> dict[str, str]:
    """What needs each package: "rtseg" or the first of its extras, in the order in which pyproject.toml has them."""
    result: dict[str, str] = {}
    once = cache(lambda name, extras: [*_needs(distribution(name), extras)])  # extras have most packages in common
    for extra in ["", *(distribution(_PROJECT).metadata.get_all("Provides-Extra") or [])]:
        waiting, seen = [(_PROJECT, frozenset({extra}))], set()
        while waiting:
            name, extras = waiting.pop()
            if (name, extras) in seen:
                continue
            seen.add((name, extras))
            try:
                waiting += once(name, extras)
            except PackageNotFoundError:  # an extra that is not installed here
                continue
            result.setdefault(name, f"[{extra}]" if extra else _PROJECT)
    return result


def installed() -> list[Row]:
    """A row for each package of this environment, by name.

    Raises:
        ValueError: all that is wrong, a sentence on each line.
    """
    reasons, rows, wrong = needed_by(), {}, []
    # Some packages put what they bring inside themselves on the path, as setuptools does once it is imported.
    searched = [folder for folder in sys.path if "_vendor" not in Path(folder).parts]
    for package in distributions(path=searched):
        name = canonicalize_name(package.metadata["Name"])
        if name == _PROJECT or name in rows:  # a path that is searched twice, or a version behind another
            continue
        try:
            rows[name] = read(package, reasons.get(name, "the environment"))
        except ValueError as error:
            wrong.append(str(error))
    if wrong:
        raise ValueError("\n".join(sorted(wrong)))
    return [rows[name] for name in sorted(rows)]


def parse(text: str) -> dict[str, Row]:
    """The rows of a written table, by name."""
    found = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    return {cells[0]: Row(*cells) for cells in found[2:]}


def write(rows: Mapping[str, Row]) -> str:
    """The page."""
    columns = [Column(name, left=True) for name in ("package", "needed by", "licence", "inside it, or besides")]
    lines = [(row.name, row.needed_by, row.licence, row.note) for _, row in sorted(rows.items())]
    return _TITLE + Table("Licences", columns, lines).markdown()


def check(rows: list[Row], table: Mapping[str, Row]) -> list[str]:
    """What of this environment the table does not say, a sentence each."""
    return [
        f"{row.name} ({row.licence}) is installed, but docs/licences.md "
        + ("does not list it" if row.name not in table else f"calls it {table[row.name].licence}")
        + ": run make docs"
        for row in rows
        if row.name not in table or table[row.name].licence != row.licence
    ]


def main(arguments: list[str]) -> None:
    """Writes the table, or checks it."""
    if arguments[:-1] not in ([], ["--check"]) or not "".join(arguments[-1:]).endswith(".md"):
        sys.exit("usage: python -m tools.licences [--check] docs/licences.md")
    file = Path(arguments[-1])
    table = parse(file.read_text()) if file.exists() else {}
    try:
        rows = installed()
    except ValueError as error:
        sys.exit(str(error))
    if len(arguments) == 1:
        file.write_text(write(table | {row.name: row for row in rows}))
    elif wrong := check(rows, table):
        sys.exit("\n".join(wrong))


if __name__ == "__main__":
    main(sys.argv[1:])
