import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from pretrain.data.check import check_data, describe, write_list
from pretrain.data.make_shards import write_shards
from rtseg.errors import UserError


@pytest.mark.parametrize("workers", [1, 2])
def test_a_good_set(animals: Path, workers: int) -> None:
    report = check_data(str(animals), num_classes=3, workers=workers)
    assert report.images == {
        "train": dict.fromkeys(("cat", "dog", "owl"), 5),
        "val": dict.fromkeys(("cat", "dog", "owl"), 2),
    }
    assert not report.findings
    assert not report.fails
    text = describe(report)
    assert "train: 15 images in 3 classes, 5 to 5 in each" in text
    assert text.endswith("A training can read all of this.")


@pytest.fixture
def bad(own_animals: Path, spoilt: Callable[[str], bytes]) -> Path:
    """One file of each kind."""
    for number, kind in enumerate(("truncated", "empty", "text", "GIF")):
        (own_animals / "train" / "cat" / f"cat.{number}.JPEG").write_bytes(spoilt(kind))
    Image.new("L", (8, 8)).save(own_animals / "train" / "dog" / "dog.0.JPEG")
    Image.new("CMYK", (8, 8)).save(own_animals / "val" / "dog" / "dog.1.JPEG")
    (own_animals / "val" / "owl" / "notes.txt").write_text("")
    return own_animals


@pytest.mark.parametrize("workers", [1, 2])
def test_files_of_every_kind_are_named(bad: Path, workers: int, tmp_path: Path) -> None:
    report = check_data(str(bad), workers=workers)
    assert {(finding.kind, Path(finding.name).name) for finding in report.findings} == {
        ("broken", "cat.0.JPEG"),
        ("broken", "cat.1.JPEG"),
        ("not an image", "cat.2.JPEG"),
        ("animated", "cat.3.JPEG"),
        ("greyscale", "dog.0.JPEG"),
        ("CMYK", "dog.1.JPEG"),
        ("other files", "notes.txt"),
    }
    assert report.fails
    text = describe(report)
    assert "broken: 2\n" in text
    assert f"{bad}/train/cat/cat.3.JPEG: animated image (2 frames)" in text
    assert "greyscale: 1 (converted to RGB)" in text
    assert text.endswith("train with --data.broken=skip")
    write_list(report, tmp_path / "lists" / "bad.txt")
    lines = (tmp_path / "lists" / "bad.txt").read_text().splitlines()
    assert sorted(lines) == [f"{bad}/train/cat/cat.{k}.JPEG" for k in range(4)]


def test_harmless_files_fail_nothing(own_animals: Path) -> None:
    for file in own_animals.glob("*/*/*"):
        Image.new("L", (8, 8)).save(file)
    report = check_data(str(own_animals), workers=1)
    assert not report.fails
    assert "greyscale: 21 (converted to RGB)" in describe(report)
    assert "  and 1 more" in describe(report)


def _empty_class(root: Path) -> None:
    for file in root.glob("train/owl/*"):
        file.unlink()


def _missing_class(root: Path) -> None:
    shutil.rmtree(root / "val" / "dog")


def _no_val(root: Path) -> None:
    shutil.rmtree(root / "val")


def _no_classes(root: Path) -> None:
    shutil.rmtree(root / "val")
    (root / "val").mkdir()


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (_empty_class, "train: 1 classes without images: owl"),
        (_missing_class, "train and val do not have the same classes: only in train: dog"),
        (_no_val, "there is no val"),
        (_no_classes, "val: no class folders"),
    ],
)
def test_layouts(own_animals: Path, spoil: Callable[[Path], None], says: str) -> None:
    spoil(own_animals)
    report = check_data(str(own_animals), workers=1)
    assert says in report.problems
    assert report.fails
    assert describe(report).splitlines()[-1].startswith("A training would fail: ")


def test_another_number_of_classes_than_the_head(animals: Path) -> None:
    report = check_data(str(animals), num_classes=1000, workers=1)
    assert report.problems == [
        f"{split} has 3 classes, --num-classes asks for 1000: add the missing classes or remove those that are too "
        "many, or give --num-classes 3"
        for split in ("train", "val")
    ]


@pytest.mark.parametrize("workers", [1, 2])
def test_shards(bad: Path, tmp_path: Path, workers: int) -> None:
    index = write_shards(bad, tmp_path / "shards", per_shard=4, workers=1)
    report = check_data(index.root, num_classes=3, workers=workers)
    assert report.images["train"] == {"cat": 5, "dog": 5, "owl": 5}
    kinds = [finding.kind for finding in report.findings]
    assert sorted(kinds) == ["CMYK", "animated", "broken", "broken", "greyscale", "not an image"]
    assert any("val-" in finding.name and "_dog_dog_1.jpeg" in finding.name for finding in report.of("CMYK"))
    assert not report.problems


def test_broken_shards(animals: Path, tmp_path: Path) -> None:
    index = write_shards(animals, tmp_path / "shards", per_shard=4, workers=1)
    first, second, third, _ = (tmp_path / "shards" / name for name in index.shards("train"))
    first.write_bytes(first.read_bytes()[:700])
    second.unlink()
    third.write_bytes((tmp_path / "shards" / "train-000003.tar").read_bytes())
    report = check_data(index.root, workers=1)
    found = {Path(finding.name).name: finding.reason for finding in report.of("broken shard")}
    assert found == {
        "train-000000.tar": "0 images, 4 in the index; unexpected end of data",
        "train-000001.tar": "0 images, 4 in the index; there is no such file",
        "train-000002.tar": "3 images, 4 in the index",
    }
    assert report.fails


def test_refuses(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no such folder"):
        check_data(str(tmp_path / "nowhere"))
    with pytest.raises(UserError, match="workers=0 must be at least 1"):
        check_data(str(tmp_path), workers=0)
    for empty in ("", " "):
        with pytest.raises(UserError, match=r"data\.root is empty: give the folder of train/<class>"):
            check_data(empty)
