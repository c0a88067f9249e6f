"""What a training's images and masks are like, counted on masks whose content is known."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rtseg.data import survey as module
from rtseg.data.dataset import IdDecoder, LabelSpace, SegmentationDataset, default_palette
from rtseg.data.survey import shared_images, survey
from rtseg.errors import UserError

LABELS = LabelSpace(("road", "car", "bird"), default_palette(3), (0, 1, 2))
DECODE = IdDecoder({0: 0, 1: 1, 2: 2, 255: 255})
Write = Callable[[Path, np.ndarray], Path]
MakeDataset = Callable[..., SegmentationDataset]


@pytest.fixture
def dataset(tmp_path: Path, write: Write) -> MakeDataset:
    """dataset(mask, ...): one pair for each."""

    def dataset(*masks: np.ndarray) -> SegmentationDataset:
        pairs = [
            (
                write(tmp_path / f"{k}.png", np.zeros((*mask.shape, 3), np.uint8)),
                write(tmp_path / f"m{k}.png", mask.astype(np.uint8)),
            )
            for k, mask in enumerate(masks)
        ]
        return SegmentationDataset(pairs, LABELS, "train", DECODE)

    return dataset


def test_pixels_are_counted(dataset: MakeDataset) -> None:
    found = survey(dataset(np.array([[0, 0, 1, 255]]), np.array([[1, 255, 255, 255]]), np.array([[0, 0]])))
    assert (found.pixels, found.ignored, found.size) == ((4, 2, 0), 4, (1, 4))
    assert (found.shares, found.ignored_share) == ((4 / 6, 2 / 6, 0), 0.4)
    assert (found.absent, found.masks) == (["bird"], "3 masks")


def test_of_many_masks_some_are_read(dataset: MakeDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_MASKS", 3)
    monkeypatch.setattr(module, "LEAST_MASKS", 2)
    masks = [np.full((2, 2), k % 3) for k in range(9)]
    found = survey(dataset(*masks))
    assert (found.read, found.masks, found.pixels) == (3, "3 of 9 masks", (4, 4, 4))  # the masks 0, 4 and 8
    monkeypatch.setattr(module, "MOST_PIXELS", 4)
    assert survey(dataset(*masks)).read == 2


def test_the_median_image_stands_upright(tmp_path: Path, write: Write) -> None:
    tag = Image.Exif()
    tag[0x0112] = 6
    Image.new("RGB", (40, 30)).save(tmp_path / "a.jpg", exif=tag)
    mask = write(tmp_path / "a.png", np.zeros((40, 30), np.uint8))
    found = survey(SegmentationDataset([(tmp_path / "a.jpg", mask)], LABELS, "train", DECODE))
    assert found.size == (40, 30)


def test_masks_with_faults_are_counted_and_named(dataset: MakeDataset) -> None:
    bad = [np.array([[254]])] * 7
    with pytest.raises(UserError, match=r"7 of 8 masks cannot be used:\n  .*m1\.png: label 254") as told:
        survey(dataset(np.array([[0]]), *bad))
    assert str(told.value).endswith("\n  and 2 more")
    assert str(told.value).count("\n") == 6


def test_masks_of_more_classes_than_are_named(dataset: MakeDataset) -> None:
    told = r"^the data set has 3 classes, from 0 to 2, but masks reach 7 \(2 masks, the first is .*m1\.png\)"
    with pytest.raises(UserError, match=told + r".*add the missing names to `classes`, or say with `label_map`"):
        survey(dataset(*(np.array([[0, highest]]) for highest in (2, 5, 7))))


def test_images_in_two_splits_are_found_behind_a_link(tmp_path: Path, dataset: MakeDataset) -> None:
    train = dataset(np.zeros((2, 2)), np.ones((2, 2)))
    (tmp_path / "link").symlink_to(tmp_path)
    pairs = [(tmp_path / "link" / "0.png", train.pairs[0][1]), (tmp_path / "other.png", train.pairs[0][1])]
    assert shared_images(train, SegmentationDataset(pairs, LABELS, "val", DECODE)) == 1
