"""Small labelled sets as label tools write them, drawn by the tests."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from rtseg.data.labels.convert import Choices, Summary, convert
from tests.helpers.labels import Convert, Picture


@pytest.fixture
def picture() -> Picture:
    """picture(path, size, orientation=1): an image of (height, width), with EXIF's number of how it is turned."""

    def picture(path: Path, size: tuple[int, int], orientation: int = 1) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
        exif = Image.Exif()
        if orientation != 1:
            exif[0x0112] = orientation
        Image.fromarray(pixels).save(path, exif=exif)
        return path

    return picture


@pytest.fixture
def converted(tmp_path: Path) -> Convert:
    """converted(source, **choices): the summary; the result is in tmp_path / "out", in place of an earlier one."""

    def converted(source: Path, **choices: Any) -> Summary:
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
        return convert(source, tmp_path / "out", Choices(**choices))

    return converted
