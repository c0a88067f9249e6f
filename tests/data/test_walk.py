"""Data sets, `rtseg predict FOLDER` and patterns find the same files."""

import os
from pathlib import Path

import pytest
from PIL import Image

from rtseg.data.dataset import create_dataset
from rtseg.data.files import find_images
from rtseg.data.walk import find_files
from rtseg.errors import UserError


def save(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (4, 4)).save(path)
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """images/train: day/1, night/2 behind a link, copies in a hidden folder, and a link that leads back."""
    for kind in ("images", "masks"):
        train = tmp_path / kind / "train"
        save(train / "day" / "1.png")
        save(train / ".ipynb_checkpoints" / "1-checkpoint.png")
        save(train / "day" / ".hidden.png")
        save(tmp_path / "elsewhere" / kind / "2.png")
        (train / "night").symlink_to(tmp_path / "elsewhere" / kind)
        (train / "day" / "back").symlink_to(train)
    return tmp_path


def test_all_ways_agree(root: Path) -> None:
    train = root / "images" / "train"
    right = [train / "day" / "1.png", train / "night" / "2.png"]
    assert find_files(train, [".png"], "**/*") == right
    for source in (f"{train}", f"{train}/**/*.png", f"{train}/**", f"{train}/*/*.png", f"{train}/[dn]*/[!3].p?g"):
        assert find_images(source)[1] == right, source
    (root / "dataset.yaml").write_text("classes: [a]\ntrain: {images: images/train, masks: masks/train}\n")
    assert [image for image, _ in create_dataset("folder", root, "train").pairs] == right


def test_depth_and_endings(root: Path) -> None:
    save(root / "images" / "top.PNG")
    assert find_files(root / "images", [".png"]) == [root / "images" / "top.PNG"]
    assert find_files(root / "images", [".jpg"], "**/*") == []
    assert find_files(root / "none", [".png"], "**/*") == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_without_permission_is_named(root: Path) -> None:
    (root / "images" / "train" / "day").chmod(0)
    with pytest.raises(UserError, match=r"day: cannot be searched \(Permission denied\)"):
        find_files(root / "images", [".png"], "**/*")
