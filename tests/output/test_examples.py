"""Examples come back as they were written; what is damaged is named."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rtseg.errors import UserError
from rtseg.output.examples import IGNORED, WRONG, Example, grid, read_examples, shrunk, write_examples

PALETTE = ((250, 0, 0), (0, 250, 0), (0, 0, 250))


def example(height: int = 12, width: int = 18, name: str = "a.png") -> Example:
    truth = np.arange(height * width, dtype=np.uint8).reshape(height, width) % 3
    truth[0] = 255
    prediction = truth.copy()
    prediction[:2] = 1
    return Example(name, np.full((height, width, 3), 200, np.uint8), prediction, truth)


def test_they_come_back(tmp_path: Path) -> None:
    names = ["a.png", 'ü "x"\n<b>.jpg']
    written = [example(), example(10, 7, names[1])]
    write_examples(tmp_path / "step", written, PALETTE)
    for one, other in zip(written, read_examples(tmp_path / "step"), strict=True):
        assert one.name == other.name
        assert (one.prediction == other.prediction).all()
        assert (one.truth == other.truth).all()
        assert abs(one.image.astype(int) - other.image).max() < 3
    colours = np.asarray(Image.open(tmp_path / "step/0_truth.png").convert("RGB"))
    assert tuple(colours[0, 0]) == (0, 0, 0)
    assert tuple(colours[1, 0]) == PALETTE[written[0].truth[1, 0]]


def test_wrong_pixels_are_counted_where_something_is_labelled() -> None:
    one = example()
    assert one.wrong.sum() == 12
    assert one.wrong_share == pytest.approx(12 / (11 * 18))
    assert one._replace(truth=np.full_like(one.truth, 255)).wrong_share is None


def test_large_ones_are_made_smaller_and_keep_their_classes() -> None:
    small = shrunk(example(300, 900), 90)
    assert small.image.shape == (30, 90, 3)
    assert small.truth.shape == small.prediction.shape == (30, 90)
    assert set(np.unique(small.prediction)) <= {0, 1, 2}
    assert shrunk(example(30, 90)).truth.shape == (30, 90)


def test_grid_shows_errors_beside_the_truth() -> None:
    drawn = grid([example(), example()], PALETTE, 18)
    assert drawn.shape == (2 * 12 + 8, 4 * 18 + 3 * 8, 3)
    errors = drawn[:12, -18:]
    assert ((errors == WRONG).all(2) == example().wrong).all()
    assert (drawn[12:20] == 255).all()
    assert IGNORED != WRONG


def test_damage_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "step"
    for file, content in (
        ("0_image.jpg", b"x"),
        ("0_truth.png", None),
        ("names.json", b"{}"),
        ("names.json", b"["),
        ("0_prediction.png", b"\x89PNG"),
    ):
        write_examples(folder, [example()], PALETTE)
        (folder / file).unlink()
        if content is not None:
            (folder / file).write_bytes(content)
        with pytest.raises(UserError, match=file):
            read_examples(folder)
    write_examples(folder, [example()], PALETTE)
    Image.new("P", (3, 3)).save(folder / "0_truth.png")
    with pytest.raises(UserError, match="differ in size"):
        read_examples(folder)
    Image.new("RGB", (3, 3)).save(folder / "0_truth.png")
    with pytest.raises(UserError, match="mode RGB"):
        read_examples(folder)
