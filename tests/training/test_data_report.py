"""What is said of the data at the start of a training, and when nothing can be learnt from them."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from rtseg.data import create_dataset
from rtseg.data.dataset import IdDecoder, LabelSpace, SegmentationDataset, default_palette
from rtseg.data.survey import Survey, shared_images
from rtseg.errors import UserError
from rtseg.training.data_report import describe, describe_findings, repair
from tests.helpers.planted import Planted


def dataset(names: list[str], split: str = "train", pairs: int = 2, image: str = "") -> SegmentationDataset:
    labels = LabelSpace(tuple(names), default_palette(len(names)), tuple(range(len(names))))
    files = [(Path(f"{image or split}{k}.png"), Path(f"m{k}.png")) for k in range(pairs)]
    return SegmentationDataset(files, labels, split, IdDecoder({**{k: k for k in range(len(names))}, 255: 255}))


def told(names: list[str], pixels: list[int], ignored: int = 0, *, read: int = 2, shared: bool = False) -> str:
    survey = Survey(dataset(names), read, tuple(pixels), ignored, (64, 80))
    return "\n".join(describe(survey, dataset(names, "val", 3, "train" if shared else "")))


def test_numbers_classes_and_ignored_pixels() -> None:
    assert told(["road", "car"], [1, 3], 4) == (
        "2 training pairs, 3 validation pairs; median image 64x80 (height x width).\n"
        "Classes in 2 masks: car 75.0 %, road 25.0 %; ignored: 50.0 % of all pixels."
    )
    assert "Classes in 1 of 2 masks: car 100.0 %, road under 0.1 %." in told(["road", "car"], [1, 10_000], read=1)


def test_of_many_classes_the_commonest_and_the_rarest_are_named() -> None:
    line = told([f"c{k}" for k in range(200)], list(range(1, 201))).splitlines()[1]
    assert line.startswith("Classes in 2 masks: c199 1.0 %, ")
    assert "... 188 more ..." in line
    assert line.endswith("c0 under 0.1 %.")


def test_cautions() -> None:
    assert "Caution: 'c' does not occur in 2 masks" in told(["a", "b", "c"], [1, 1, 0])
    assert "Caution: 'c3', 'c4', 'c5', 'c6', 'c7' and 2 more do not occur" in told(
        [f"c{k}" for k in range(10)], [1] * 3 + [0] * 7
    )
    assert "Caution: 2 of 3 validation images are training images too" in told(["a", "b"], [1, 1], shared=True)
    assert "Caution" not in told(["a", "b"], [1, 1])


def test_much_memory_is_said_before() -> None:
    names = [f"c{k}" for k in range(200)]
    large = Survey(dataset(names), 2, tuple([1] * 200), 0, (3000, 4000))
    assert "scoring an image of 3000x4000 takes about 38 GB" in "\n".join(describe(large, dataset(names, "val")))
    assert "Caution" not in "\n".join(describe(large, None))


@pytest.mark.parametrize(
    ("pixels", "ignored", "says"),
    [
        ([0, 0], 9, "every pixel of 2 masks is ignored"),
        ([5, 0], 5, r"50\.0 % of the pixels are ignored.*label_map: \{0: background, 255: object\}$"),
        ([0, 5], 0, "nothing can be learnt .*: of 2 classes only 'object' occurs in 2 masks: check"),
    ],
)
def test_labels_from_which_nothing_can_be_learnt(pixels: list[int], ignored: int, says: str) -> None:
    with pytest.raises(UserError, match=says):
        told(["background", "object"], pixels, ignored)


def test_one_class_in_some_of_the_masks_is_no_error() -> None:
    assert "Caution: of 2 classes only 'background' occurs in 1 of 2 masks: check" in told(
        ["background", "object"], [5, 0], read=1
    )
    assert "255: object}." in told(["background", "object"], [5, 0], 5, read=1)


def test_a_class_that_may_be_in_the_other_masks_is_no_caution() -> None:
    said = told(["a", "b", "c"], [5, 5, 0], read=1)
    assert said.endswith("'c' does not occur in 1 of 2 masks; the others were not read.")
    assert "Caution" not in said


def test_what_check_data_would_say_is_said_before_the_training(tmp_path: Path) -> None:
    data = Planted(tmp_path)

    def said() -> str:
        return "\n".join(describe_findings([create_dataset("folder", tmp_path, split) for split in ("train", "val")]))

    assert said() == ""
    data.masks(lambda drawn: np.full_like(drawn, 255), range(3, 4))
    data.masks(lambda drawn: np.where(drawn == 1, 0, drawn), range(6, 10))
    assert "Caution: 1 of 6 train masks has no labelled pixel" in said()
    assert "Caution: 'car' never occurs in 4 val masks" in said()
    assert said().endswith("`rtseg check-data` looks at all files.")
    data.masks(lambda drawn: drawn[:40], range(8, 9))
    with pytest.raises(UserError, match=r"^1 of 4 val masks and their images differ in size, such as .*8\.png"):
        said()


def test_what_masks_probably_mean_is_said_where_they_cannot_be_used(tmp_path: Path) -> None:
    data = Planted(tmp_path)
    data.masks(lambda drawn: np.where(drawn == 255, 255, drawn + 1).astype(np.uint8))
    assert "write `label_map: {1: road, 2: car, 3: tree}`" in repair(create_dataset("folder", tmp_path, "train"))


def test_copies_among_the_validation_images_are_found_by_their_content(tmp_path: Path) -> None:
    data = Planted(tmp_path)
    shutil.copy(data.image(0), data.image(7))
    train, val = (create_dataset("folder", tmp_path, split) for split in ("train", "val"))
    assert shared_images(train, val) == 1
