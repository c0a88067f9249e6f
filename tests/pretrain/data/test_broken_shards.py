"""Shards, images and indices that are damaged."""

import json
import re
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from pretrain.data.augment import eval_transform, train_transform
from pretrain.data.samples import IGNORED
from pretrain.data.shard_index import ShardIndex, find_index
from pretrain.data.shard_loader import ShardBatches, ShardLoader
from pretrain.data.shards import EvalShards, TrainShards
from rtseg.errors import UserError
from tests.helpers.shards import AUGMENT, corner, write_tar

# Bad input.


def _cut(file: Path) -> None:
    with tarfile.open(file) as tar:
        third = tar.getmembers()[4]
    file.write_bytes(file.read_bytes()[: third.offset_data + third.size // 2])


def _shorten(file: Path) -> None:
    with tarfile.open(file) as tar:
        members = {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]
    write_tar(file, dict(list(members.items())[:4]))


def _no_tar(file: Path) -> None:
    file.write_bytes(b"<html>" * 1000)


@pytest.mark.parametrize(
    ("spoil", "lacking", "says"),
    [
        (_cut, 2, r"2 images where the index counts 4: it is cut off or damaged \(unexpected end of data\)"),
        (_shorten, 2, "2 images where the index counts 4: it is shorter"),
        (Path.unlink, 4, "0 images where the index counts 4: there is no such file"),
        (_no_tar, 4, "0 images where the index counts 4: it is cut off or damaged"),
    ],
)
def test_a_shard_that_lacks_images(
    own: ShardIndex,
    spoil: Callable[[Path], None],
    lacking: int,
    says: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    spoil(Path(own.root) / "train-000001.tar")
    data = TrainShards(own, train_transform(AUGMENT), 15, seed=0)
    with pytest.raises(UserError, match=rf"train-000001\.tar: {says}"):
        list(ShardLoader(data, num_workers=0))
    data = TrainShards(own, train_transform(AUGMENT), 15, seed=0, broken="skip")
    (batch,) = ShardLoader(data, num_workers=0)
    assert re.search(rf"data\.broken=skip: .*train-000001\.tar: {says}.*, another takes", capsys.readouterr().err)
    assert len(batch.label) == 15
    assert batch.skipped == lacking
    assert len({image.numpy().tobytes() for image in batch.image}) == 15  # another augmentation


def _spoil_three(file: Path, spoilt: Callable[[str], bytes]) -> list[str]:
    """Spoils the first images of a shard; gives the names of all."""
    with tarfile.open(file) as tar:
        members = {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]
    images = [name for name in members if not name.endswith(".cls")]
    for name, kind in zip(images[:3], ("truncated", "text", "GIF"), strict=True):
        members[name] = spoilt(kind)
    write_tar(file, members)
    return images


def test_broken_images_are_replaced_in_training(
    own: ShardIndex, spoilt: Callable[[str], bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    images = _spoil_three(Path(own.root) / "train-000000.tar", spoilt)
    own = ShardIndex(own.root, own.classes, {"train": {"train-000000.tar": 4}})
    data = TrainShards(own, corner, 4, seed=0, buffer=1)
    with pytest.raises(UserError, match=rf"train-000000\.tar \({images[0]}\): broken image"):
        list(ShardLoader(data, num_workers=0))
    data = TrainShards(own, corner, 4, seed=0, buffer=1, broken="skip")
    for _ in range(2):
        (batch,) = ShardLoader(data, num_workers=0)
        assert batch.skipped == 3
        assert len(set(batch.label.tolist())) == 1  # the first good one stands for those before it
        assert all(torch.equal(image, batch.image[3]) for image in batch.image[:3])
    lines = capsys.readouterr().err.splitlines()  # once, not in each epoch
    assert [line.split(" (")[1].split(")")[0] for line in lines] == images[:3]
    assert all(line.startswith(f"data.broken=skip: {own.root}/train-000000.tar (") for line in lines)
    assert all(line.endswith(", another takes its place") for line in lines)


def test_broken_images_and_shards_are_not_scored(
    own: ShardIndex, spoilt: Callable[[str], bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    file = Path(own.root) / "val-000000.tar"
    images = _spoil_three(file, spoilt)
    transform = eval_transform(AUGMENT)
    with pytest.raises(UserError, match=rf"val-000000\.tar \({images[0]}\): broken image"):
        list(ShardBatches(EvalShards(own, transform, 6), num_workers=0))
    (Path(own.root) / "val-000001.tar").unlink()
    (batch,) = ShardBatches(EvalShards(own, transform, 6, broken="skip"), num_workers=0)
    assert batch.skipped == 5
    assert batch.image.shape == (6, 3, 16, 16)
    assert [label == IGNORED for label in batch.label.tolist()] == [True, True, True, False, True, True]
    assert [bool(image.any()) for image in batch.image] == [False, False, False, True, False, False]
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 4
    assert f"({images[0]}): broken image (" in lines[0]
    assert "val-000001.tar: 0 images where the index counts 2: there is no such file" in lines[3]
    assert all(line.endswith(", left out of the scores") for line in lines)


def test_no_readable_image_at_all(own: ShardIndex) -> None:
    for file in Path(own.root).glob("train*"):
        file.unlink()
    data = TrainShards(own, train_transform(AUGMENT), 15, seed=0, broken="skip")
    with pytest.raises(UserError, match="not one of 15 images in a row can be read"):
        list(ShardLoader(data, num_workers=0))


@pytest.mark.parametrize(("label", "says"), [(b"7", "is of class 7, but the index names 3"), (b"owl", "holds b'owl'")])
def test_classes_that_are_none(own: ShardIndex, label: bytes, says: str) -> None:
    write_tar(Path(own.root) / "val-000001.tar", {"1.jpg": b"", "1.cls": label})
    with pytest.raises(UserError, match=says):
        list(ShardBatches(EvalShards(own, eval_transform(AUGMENT), 6, broken="skip"), num_workers=0))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{", "is not JSON"),
        ("[]", "is not an index of shards"),
        ("{}", "is not an index of shards .KeyError: 'version'"),
        (json.dumps({"version": 1, "classes": ["a"], "splits": {"train": {"a.tar": "many"}}}), "is not an index"),
        (json.dumps({"version": 2, "classes": [], "splits": {}}), "has version 2, this program reads 1"),
    ],
)
def test_indices_that_are_none(tmp_path: Path, content: str, says: str) -> None:
    (tmp_path / "index.json").write_text(content)
    with pytest.raises(UserError, match=says):
        find_index(str(tmp_path))
