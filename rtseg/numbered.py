"""Images that are numbered as the frames of a film: frames/%06d.png, as ffmpeg and printf write it."""

import os
import re
from pathlib import Path

_NUMBER = re.compile(r"%(?:0(\d+))?d")


def is_numbered(source: str | Path) -> bool:
    """Whether a source has a place for a number in its last part, and is no file itself."""
    return len(_NUMBER.findall(os.path.basename(source))) == 1 and not os.path.exists(os.path.expanduser(source))


def numbered_files(pattern: Path) -> dict[int, Path]:
    """Number -> file, in the order of the numbers; empty where there are none.

    `%06d` stands for six digits or more, as C's printf writes a million; `%d` for as many as the number has.
    """
    found = _NUMBER.search(pattern.name)
    assert found is not None
    many = f"{{{found[1]},}}" if found[1] else "+"
    name = re.compile(
        f"{re.escape(pattern.name[: found.start()])}([0-9]{many}){re.escape(pattern.name[found.end() :])}"
    )
    try:
        matches = [(name.fullmatch(entry.name), Path(entry.path)) for entry in os.scandir(pattern.parent)]
    except OSError:
        return {}
    return dict(sorted((int(match[1]), path) for match, path in matches if match))


def no_numbered(pattern: Path) -> str:
    """What is said of a pattern that no file has, though its folder is there: one sentence."""
    others = numbered_files(pattern.with_name(_NUMBER.sub("%d", pattern.name)))
    hint = "%06d stands for six digits or more, %d for any number"
    if others:
        digits = min(len(path.name) for path in others.values()) - len(_NUMBER.sub("", pattern.name))
        meant = pattern.with_name(_NUMBER.sub(f"%0{digits}d" if digits > 1 else "%d", pattern.name))
        hint += f"; did you mean '{meant}'?"
    return f"no image in '{pattern.parent}' has such a name as '{pattern.name}': {hint}"


def name_of_numbered(pattern: Path) -> Path:
    """What a film of such images is called: the pattern without its number, or where nothing is left its folder."""
    left = _NUMBER.sub("", pattern.stem).strip("-_. ")
    return pattern.with_name(left + pattern.suffix) if left else Path(os.path.abspath(pattern)).parent
