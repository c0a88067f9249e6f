"""Data sets out of class folders, for training and for evaluation."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pretrain.data.augment import AugmentConfig, eval_transform, train_transform
from pretrain.data.imagenet import EvalImages, ImageFolder, TrainImages
from pretrain.data.samples import IGNORED, collate
from rtseg.errors import UserError
from rtseg.training.sampling import SampleKey

SPOILT = {
    "truncated": "broken image",
    "empty": "empty file",
    "text": "not an image .16 bytes",
    "GIF": "animated image .2 frames",
    "PNG": "animated image .2 frames",
    "WEBP": "animated image .2 frames",
}


def test_classes_are_numbered_in_the_order_of_their_names(animals: Path) -> None:
    images = ImageFolder(animals, "train")
    assert images.classes == ("cat", "dog", "owl")
    assert len(images) == 15
    assert images.labels.tolist() == [0] * 5 + [1] * 5 + [2] * 5
    assert images.path(6) == animals / "train" / "dog" / "dog.1.JPEG"
    image, label, skipped = images.read(6)
    assert (label, skipped, image.mode) == (1, 0, "RGB")
    assert np.array_equal(np.asarray(image), np.asarray(Image.open(images.path(6))))


def test_names_of_any_letters_and_other_files(own_animals: Path) -> None:
    folder = own_animals / "train" / "cat"
    (folder / "cat.0.JPEG").rename(folder / "Käse 1.jpg")
    (folder / "notes.txt").write_text("")
    (folder / "._cat.1.JPEG").write_text("")
    images = ImageFolder(own_animals, "train")
    assert len(images) == 15
    assert {images.path(k).name for k in range(5)} == {f"cat.{k}.JPEG" for k in range(1, 5)} | {"Käse 1.jpg"}
    assert images.read(0)[0].size == Image.open(images.path(0)).size


@pytest.mark.parametrize("kind", SPOILT)
def test_a_bad_file_is_named(own_animals: Path, spoilt: Callable[[str], bytes], kind: str) -> None:
    file = own_animals / "train" / "dog" / "dog.1.JPEG"
    file.write_bytes(spoilt(kind))
    images = ImageFolder(own_animals, "train")
    with pytest.raises(UserError, match=rf"dog\.1\.JPEG: {SPOILT[kind]}.*check-data.*--data\.broken=skip"):
        images.read(6)


@pytest.mark.parametrize("kind", SPOILT)
def test_a_bad_file_is_replaced_named_and_counted(
    own_animals: Path, spoilt: Callable[[str], bytes], kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("dog/dog.4", "owl/owl.0", "owl/owl.4"):
        (own_animals / "train" / f"{name}.JPEG").write_bytes(spoilt(kind))
    images = ImageFolder(own_animals, "train", broken="skip")
    for bad, stands_in in ((9, 11), (10, 11), (14, 0)):
        image, label, skipped = images.read(bad)
        assert (label, skipped) == (images.labels[stands_in], 1)
        assert np.array_equal(np.asarray(image), np.asarray(images.read(stands_in)[0]))
    data = TrainImages(images, train_transform(AugmentConfig(8)), seed=0)
    assert collate([data[SampleKey(0, k)] for k in range(15)]).skipped == 3
    lines = capsys.readouterr().err.splitlines()  # one for each file, though all were read twice
    assert [Path(line.split(": ")[1]).name for line in lines] == ["dog.4.JPEG", "owl.0.JPEG", "owl.4.JPEG"]
    for line in lines:
        assert re.match(rf"data\.broken=skip: {own_animals}/train/.*: {SPOILT[kind]}.*, another takes its place$", line)


@pytest.mark.parametrize("kind", SPOILT)
def test_a_bad_file_is_not_scored(own_animals: Path, spoilt: Callable[[str], bytes], kind: str) -> None:
    (own_animals / "val" / "dog" / "dog.1.JPEG").write_bytes(spoilt(kind))
    data = EvalImages(ImageFolder(own_animals, "val", broken="skip"), eval_transform(AugmentConfig(16)))
    samples = [data[k] for k in range(6)]
    assert [sample.label for sample in samples] == [0, 0, 1, IGNORED, 2, 2]
    assert [sample.skipped for sample in samples] == [0, 0, 0, 1, 0, 0]
    assert [bool(sample.image.any()) for sample in samples] == [True, True, True, False, True, True]
    assert {(sample.image.shape, sample.image.dtype) for sample in samples} == {((3, 16, 16), torch.uint8)}
    refusing = EvalImages(ImageFolder(own_animals, "val"), eval_transform(AugmentConfig(16)))
    with pytest.raises(UserError, match=rf"dog\.1\.JPEG: {SPOILT[kind]}"):
        refusing[3]


def test_a_file_that_went_away(own_animals: Path) -> None:
    images = ImageFolder(own_animals, "train")
    images.path(0).unlink()
    with pytest.raises(UserError, match=r"cat\.0\.JPEG: cannot be read \(No such file"):
        images.read(0)


def test_skipping_ends_where_nothing_is_left(own_animals: Path) -> None:
    for file in own_animals.glob("val/*/*.JPEG"):
        file.write_bytes(b"")
    with pytest.raises(UserError, match=r"not one of the 6 images in .*val can be read"):
        ImageFolder(own_animals, "val", broken="skip").read(3)


def test_augmentation_follows_seed_epoch_and_sample(animals: Path) -> None:
    images, transform = ImageFolder(animals, "train"), train_transform(AugmentConfig(16))
    keys = [SampleKey(epoch, sample) for epoch in (0, 1) for sample in (0, 7)]
    first, second, other = ([TrainImages(images, transform, seed)[key].image for key in keys] for seed in (0, 0, 1))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert len({image.contiguous().numpy().tobytes() for image in first + other}) == 8


def test_evaluation_images(animals: Path) -> None:
    images, transform = ImageFolder(animals, "val"), eval_transform(AugmentConfig(16))
    data = EvalImages(images, transform)
    assert len(data) == 6
    assert data[3].label == 1
    assert torch.equal(data[3].image, transform(images.read(3)[0]))
