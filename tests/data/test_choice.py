"""The images that a validation shows together show every class."""

from pathlib import Path

import numpy as np
import pytest

from rtseg.data.choice import choose_images, cover
from rtseg.data.dataset import create_dataset
from tests.helpers.run_folder import write_data


def test_a_rare_class_is_shown() -> None:
    shares = np.zeros((50, 4))
    shares[:, 0] = 0.9
    shares[33, 1], shares[41, 2], shares[7, 2], shares[12, 3] = 0.001, 0.05, 0.0001, 0.01
    assert set(cover(shares, 3, 3)) == {33, 41, 12}
    assert len(cover(shares, 6, 6)) == 6


def test_more_only_for_another_class() -> None:
    shares = np.eye(8)
    assert sorted(cover(shares, 3, 8)) == list(range(8))
    assert len(cover(shares, 3, 5)) == 5
    assert len(cover(np.ones((8, 8)), 3, 8)) == 3
    assert cover(np.zeros((0, 3)), 3, 5) == []
    assert sorted(cover(np.zeros((2, 3)), 3, 5)) == [0, 1]


def test_an_image_that_shows_a_class_better_wins() -> None:
    shares = np.array([[0.5, 0.0001], [0.5, 0.001], [0.5, 0.0005]])
    assert cover(shares, 1, 1) == [1]


@pytest.mark.parametrize(("indices", "expected"), [([0, 1], [0]), ([1], [1]), ([], [])])
def test_label_files_are_counted(indices: list[int], expected: list[int], tmp_path: Path) -> None:
    write_data(tmp_path)
    dataset = create_dataset("camvid", tmp_path, "val")
    assert choose_images(dataset, indices, 1, 2) == expected
