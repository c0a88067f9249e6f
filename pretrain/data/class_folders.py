"""Images sorted into folders by class, as ImageNet comes: root/{train,val}/<class>/*.JPEG."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from rtseg.data.files import IMAGE_SUFFIXES
from rtseg.errors import UserError

SPLITS = ("train", "val")
SUFFIXES = (*IMAGE_SUFFIXES, ".gif")


def class_folders(root: Path) -> dict[str, tuple[str, ...]]:
    """Split -> sorted names of its class folders, for the splits that there are.

    Raises:
        UserError: there is no such folder, or no split in it.
    """
    if not root.is_dir():
        there = "it is a file" if root.exists() else "there is no such folder"
        raise UserError(f"{root}: {there}. Give the folder that holds train/<class>/*.JPEG and val/<class>/*.JPEG")
    found = {split: tuple(sorted(_folders(root / split))) for split in SPLITS if (root / split).is_dir()}
    if not found:
        inside = ", ".join(sorted(entry.name for entry in os.scandir(root))[:8]) or "nothing"
        raise UserError(
            f"{root}: neither train/ nor val/ is in it, but {inside}. Give the folder that holds "
            "train/<class>/*.JPEG and val/<class>/*.JPEG, or shards with their index.json"
        )
    return found


def _folders(folder: Path) -> Iterator[str]:
    return (entry.name for entry in os.scandir(folder) if entry.is_dir() and not entry.name.startswith("."))


def image_names(folder: Path) -> list[str]:
    """The image files of one folder, sorted, by their names alone: looking into 1.28 million would take minutes."""
    names = (entry.name for entry in os.scandir(folder))
    return sorted(name for name in names if name.lower().endswith(SUFFIXES) and not name.startswith("."))


def class_differences(classes: dict[str, tuple[str, ...]]) -> str:
    """Which classes only one split has, in words; empty where the splits agree."""
    train, val = (set(classes.get(split, ())) for split in SPLITS)
    if len(classes) < 2 or train == val:
        return ""
    sides = (("only in train", train - val), ("only in val", val - train))
    return "; ".join(f"{where}: {some_of(sorted(names))}" for where, names in sides if names)


def some_of(names: Sequence[str], most: int = 5) -> str:
    """The first of many names, and how many more there are."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def class_names(root: Path) -> tuple[str, ...]:
    """The classes of a folder, in the order of their numbers.

    Raises:
        UserError: no such folder, no classes in it, or other ones in val than in train.
    """
    found = class_folders(root)
    for split, classes in found.items():
        if not classes:
            raise UserError(
                f"{root / split} has no class folders. Images lie in one folder for each class, "
                f"{split}/n01440764/*.JPEG; ImageNet's val images must be sorted into those of train"
            )
    if differences := class_differences(found):
        raise UserError(f"train and val of {root} do not have the same classes ({differences}); add or remove folders")
    return next(iter(found.values()))
