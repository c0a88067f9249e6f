"""Public bug reports with their right values: mmsegmentation#2592 and #1335, mmsegmentation#849, timm#334."""

import os
from pathlib import Path

import numpy as np
import pytest

from rtseg.data import create_dataset
from rtseg.data.files import find_images
from rtseg.data.findings.every import find_all
from rtseg.data.survey import survey
from rtseg.errors import UserError
from rtseg.studies.check_data.look import look
from rtseg.studies.check_data.source import open_source
from rtseg.training.data_report import describe
from tests.helpers.planted import Planted


def test_two_classes_written_as_0_and_255(tmp_path: Path) -> None:
    """Fifteen epochs were trained, and scored as 1.0000."""
    data = Planted(tmp_path, lambda k: np.where(np.arange(64) < 20 + k, 255, 0).astype(np.uint8)[None].repeat(48, 0))
    data.yaml["classes"] = ["background", "object"]
    data.write()
    repair = r"label_map: \{0: background, 255: object\}"
    train, val = (create_dataset("folder", tmp_path, split) for split in ("train", "val"))
    with pytest.raises(UserError, match=rf"only 'background' occurs in 6 masks.*{repair}"):
        describe(survey(train), val)
    (found,) = find_all(look(open_source("folder", tmp_path), lambda done, total: None))
    assert (found.severity.word, found.yaml) == ("fault", {"label_map": {0: "background", 255: "object"}})
    data.yaml["label_map"] = {0: "background", 255: "object"}
    data.write()
    train, val = (create_dataset("folder", tmp_path, split) for split in ("train", "val"))
    assert describe(survey(train), val)[0].startswith("6 training pairs, 4 validation pairs; median image 48x64")
    assert find_all(look(open_source("folder", tmp_path), lambda done, total: None)) == []


def test_hidden_folders_and_links(tmp_path: Path) -> None:
    """Five pairs of four were trained on, and one of four."""
    data = Planted(tmp_path / "my")
    images, masks = data.image(0).parent, data.mask(0).parent
    (images / ".ipynb_checkpoints").mkdir()
    os.link(data.image(0), images / ".ipynb_checkpoints" / "0-checkpoint.png")
    for folder in (images, masks):  # day is a folder, night a link to one
        night = tmp_path / f"night of {folder.parent.name}"
        night.mkdir()
        (folder / "day").mkdir()
        for k in range(6):
            (folder / f"{k}.png").rename((night if k < 3 else folder / "day") / f"{k}.png")
        (folder / "night").symlink_to(night)
    assert len(create_dataset("folder", data.root, "train")) == 6
    assert len(find_images(str(images))[1]) == len(find_images(f"{images}/**/*.png")[1]) == 6
    (found,) = find_all(look(open_source("folder", data.root), lambda done, total: None))
    assert (found.severity.word, found.kind) == ("note", "junk")
