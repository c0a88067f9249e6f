"""Folders that hold no data set are named."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from pretrain.data.imagenet import ImageFolder
from rtseg.errors import UserError


def _remove_split(root: Path) -> None:
    shutil.rmtree(root / "val")


def _remove_both(root: Path) -> None:
    shutil.rmtree(root / "val")
    shutil.rmtree(root / "train")


def _flatten(root: Path) -> None:
    for file in [*root.glob("val/*/*")]:
        file.rename(root / "val" / file.name)
    for folder in root.glob("val/*/"):
        if folder.is_dir():
            folder.rmdir()


def _empty_class(root: Path) -> None:
    for file in root.glob("val/owl/*"):
        file.unlink()


def _missing_class(root: Path) -> None:
    shutil.rmtree(root / "val" / "dog")
    (root / "val" / "cow").mkdir()


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (shutil.rmtree, r"there is no such folder.* train/<class>/\*.JPEG and val/<class>/\*.JPEG"),
        (_remove_split, "has no folder val/"),
        (_remove_both, "neither train/ nor val/ is in it, but nothing"),
        (_flatten, r"val has no class folders.*must be sorted into those of train"),
        (_empty_class, "val: 1 of 3 class folders are empty: owl"),
        (_missing_class, r"only in train: dog; only in val: cow"),
    ],
)
def test_layouts_that_cannot_be_are_named(own_animals: Path, spoil: Callable[[Path], None], says: str) -> None:
    spoil(own_animals)
    with pytest.raises(UserError, match=says):
        ImageFolder(own_animals, "val")
