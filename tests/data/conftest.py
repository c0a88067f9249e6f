"""Writing small pictures and label files, as every test of a data set needs."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

Write = Callable[[Path, np.ndarray], Path]


@pytest.fixture
def write() -> Write:
    """write(path, array): HW as it is, HWC as RGB; makes the folders."""

    def write(path: Path, array: np.ndarray) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        order = {4: cv2.COLOR_RGBA2BGRA, 3: cv2.COLOR_RGB2BGR}
        content = array if array.ndim == 2 else cv2.cvtColor(array, order[array.shape[2]])
        assert cv2.imwrite(str(path), content)
        return path

    return write
