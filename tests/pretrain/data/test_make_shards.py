"""Writing shards, and counting those of others."""

from pathlib import Path

import numpy as np
import pytest

from pretrain.data.imagenet import ImageFolder
from pretrain.data.make_shards import index_shards, write_index, write_shards
from pretrain.data.shard_index import ShardIndex, find_index, read_index
from pretrain.data.shard_reader import ShardReader
from pretrain.data.shard_tar import tar_images
from rtseg.errors import UserError
from tests.helpers.shards import write_tar

# Writing and reading.


def test_shards_hold_the_files_byte_for_byte(animals: Path, packed: ShardIndex) -> None:
    assert packed.classes == ("cat", "dog", "owl")
    assert packed.splits["train"] == {f"train-{k:06d}.tar": count for k, count in enumerate((4, 4, 4, 3))}
    assert packed.splits["val"] == {"val-000000.tar": 4, "val-000001.tar": 2}
    assert find_index(packed.root) == read_index(packed.root) == packed
    assert find_index(str(animals)) is None
    for split in ("train", "val"):
        images = ImageFolder(animals, split)
        wanted = sorted((images.path(k).read_bytes(), int(images.labels[k])) for k in range(len(images)))
        found = [raw for name in packed.shards(split) for raw in tar_images(f"{packed.root}/{name}")]
        assert sorted((raw.data, raw.label) for raw in found if raw) == wanted
        assert [raw.label for raw in found if raw] != sorted(raw.label for raw in found if raw)  # mixed
    assert not list(Path(packed.root).glob(".*"))


def test_the_same_images_make_the_same_shards(animals: Path, packed: ShardIndex, tmp_path: Path) -> None:
    write_shards(animals, tmp_path / "again", per_shard=4, workers=2)
    for file in Path(packed.root).iterdir():
        assert file.read_bytes() == (tmp_path / "again" / file.name).read_bytes()


@pytest.mark.parametrize("workers", [0, -2])
def test_workers_that_cannot_be(animals: Path, packed: ShardIndex, tmp_path: Path, workers: int) -> None:
    with pytest.raises(UserError, match=f"workers={workers} must be at least 1"):
        write_shards(animals, tmp_path / "out", workers=workers)
    assert not (tmp_path / "out").exists()
    with pytest.raises(UserError, match=f"workers={workers} must be at least 1"):
        index_shards(packed.root, {"val": "val-*.tar"}, workers=workers)


def test_nothing_is_overwritten_or_left_out(own_animals: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not empty"):
        write_shards(own_animals, own_animals)
    with pytest.raises(UserError, match="--per-shard 0 must be at least 1"):
        write_shards(own_animals, tmp_path / "out", per_shard=0)
    (own_animals / "train" / "cat" / "cat.0.JPEG").unlink()
    (own_animals / "train" / "cat" / "cat.0.JPEG").symlink_to("nowhere")
    with pytest.raises(UserError, match=r"cat\.0\.JPEG: cannot be read"):
        write_shards(own_animals, tmp_path / "out")
    assert not (tmp_path / "out" / "index.json").exists()


def test_shards_of_others(tmp_path: Path) -> None:
    """With folders, other members, two dots, the class before the image, images without a class."""
    write_tar(
        tmp_path / "a-1.tar",
        {"x/1.jpg": b"one", "x/1.cls": b"2", "x/1.json": b"{}", "y/1.cls": b"0", "y/1.PNG": b"two"},
    )
    write_tar(
        tmp_path / "a-2.tar", {"n.seg.png": b"no", "n.cls": b"1", "p.jpeg": b"three", "p.cls": b"1\n", "q.jpg": b"no"}
    )
    write_tar(tmp_path / "b-1.tar", {"1.jpg": b"four", "1.cls": b"0"})
    index = index_shards(str(tmp_path), {"train": "a-*.tar", "val": "b-*.tar"}, workers=1)
    assert index.classes == ("0", "1", "2")
    assert index.splits == {"train": {"a-1.tar": 2, "a-2.tar": 1}, "val": {"b-1.tar": 1}}
    write_index(index)
    assert read_index(str(tmp_path)) == index
    found = ShardReader(index, "train", "refuse").read(np.array([1, 0]), 0, np.array([2, 0, 1]))
    read = [(number, raw.data, raw.label) for number, raw in found if raw]
    assert read == [(1, b"two", 0), (2, b"three", 1), (0, b"one", 2)]
    with pytest.raises(UserError, match=r"a class 2 in .*, but names for 2 \(0..1\)"):
        index_shards(str(tmp_path), {"train": "a-*.tar"}, classes=("x", "y"))
    with pytest.raises(UserError, match=r"no 'val' shards: nothing in .* matches c-\*.tar"):
        index_shards(str(tmp_path), {"val": "c-*.tar"})
