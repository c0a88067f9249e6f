"""A finding: one sentence with file, value, count and repair."""

import os
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import Any

_NAMED = 3  # files in a sentence


class Severity(IntEnum):
    """How bad it is: a fault spoils a training or its score, a caution may, a note is worth knowing."""

    FAULT = 0
    CAUTION = 1
    NOTE = 2

    @property
    def word(self) -> str:
        return self.name.lower()


FAULT, CAUTION, NOTE = Severity


@dataclass(frozen=True)
class Finding:
    """One fault of a data set.

    Attributes:
        severity: how bad it is.
        kind: a short name, for programs.
        text: one sentence: file, value, count and repair.
        files: all files that it is about.
        yaml: keys of a folder's YAML that repair it, with their values.
    """

    severity: Severity
    kind: str
    text: str
    files: Sequence[Path] = ()
    yaml: Mapping[str, Any] = field(default_factory=dict)


def counted(count: int, noun: str, whole: int | None = None) -> str:
    """'1 mask', '3 masks', '3 of 40 masks'."""
    of = f" of {whole:,}" if whole is not None else ""
    return f"{count:,}{of} {noun}{'s' * ((whole if whole is not None else count) != 1)}"


def verb(count: int, one: str, many: str) -> str:
    """The form of a verb that fits a count."""
    return one if count == 1 else many


def named(files: Sequence[Path]) -> str:
    """'a.png', 'a.png, b.png and 3 more'; a name in decomposed Unicode is shown with its escapes."""
    names = [shown(file) for file in files[:_NAMED]]
    return ", ".join(names) + (f" and {len(files) - _NAMED:,} more" if len(files) > _NAMED else "")


def shown(path: Path) -> str:
    """A path as it is typed from here."""
    relative = os.path.relpath(path)
    text = str(path) if relative.startswith("..") else relative
    return text if unicodedata.is_normalized("NFC", text) else text.encode("ascii", "backslashreplace").decode()


def percent(share: float) -> str:
    """'12.3 %'; small shares keep a figure."""
    return f"{100 * share:.1f} %" if share >= 0.001 or not share else "under 0.1 %"
