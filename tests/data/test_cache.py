"""A cache gives what the files say: to the bit, whoever writes, is killed or finds it full."""

import multiprocessing
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from rtseg.data.cache import ImageCache, cache_bytes, open_cache
from rtseg.data.dataset import create_dataset
from rtseg.data.files import read_image
from rtseg.errors import UserError
from rtseg.training.datamodule import SegmentationData
from tests.data.conftest import Write

OWNER = {"dataset": "camvid", "root": "here"}
ENTRY = 4096 + 40 * 56 * 3
fork = multiprocessing.get_context("fork") if "fork" in multiprocessing.get_all_start_methods() else None


@pytest.fixture(autouse=True)
def disk(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """What the disk says of itself: half of it is free, whatever else lies on this machine's."""
    said = SimpleNamespace(total=100 * 2**30, free=50 * 2**30)
    monkeypatch.setattr("rtseg.data.cache.shutil.disk_usage", lambda path: said)
    return said


@pytest.fixture
def images(tiny_camvid: Path) -> list[Path]:
    return sorted((tiny_camvid / "train").iterdir())


@pytest.fixture
def cache(tmp_path: Path) -> ImageCache:
    return opened(tmp_path / "cache")


def opened(folder: Path, limit: int | None = None) -> ImageCache:
    cache = ImageCache(folder, limit)
    cache.open(OWNER)
    return cache


def never(path: Path) -> np.ndarray:
    raise AssertionError(f"{path} was decoded again")


def entries(cache: ImageCache) -> list[Path]:
    return sorted(cache.folder.glob("*.pixels"))


def check_count(cache: ImageCache) -> None:
    """The count is what lies there, and nothing is half written."""
    assert int((cache.folder / "used").read_text()) == sum(path.stat().st_size for path in entries(cache))
    assert not list(cache.folder.glob("*.part"))


@pytest.mark.parametrize(
    "array",
    [
        np.arange(60, dtype=np.uint8).reshape(4, 5, 3),
        np.arange(20, dtype=np.uint16).reshape(4, 5),
        np.arange(80, dtype=np.float32).reshape(4, 5, 4),
    ],
)
def test_what_was_read_comes_back(cache: ImageCache, images: list[Path], array: np.ndarray) -> None:
    assert cache.get(images[0], "image", lambda path: array) is not None
    again = cache.get(images[0], "image", never)
    np.testing.assert_array_equal(again, array)
    assert again.dtype == array.dtype
    assert not again.flags.writeable  # what other processes see
    np.testing.assert_array_equal(cache.get(images[0], "labels", lambda path: array + 1), array + 1)
    check_count(cache)


def test_a_file_that_changed_is_decoded_again(cache: ImageCache, write: Write, tmp_path: Path) -> None:
    for level in (10, 20):
        path = write(tmp_path / "image.png", np.full((8, 9, 3), level, np.uint8))
        os.utime(path, ns=(level, level))
        assert (cache.get(path, "image", read_image) == level).all()
    assert len(entries(cache)) == 1
    check_count(cache)
    path.unlink()
    with pytest.raises(UserError, match="No such file"):
        cache.get(path, "image", read_image)


@pytest.mark.parametrize("damage", [b"", b"rtsegpx1", b"x" * 9000])
def test_what_is_no_entry_is_written_anew(cache: ImageCache, images: list[Path], damage: bytes) -> None:
    expected = cache.get(images[0], "image", read_image).copy()
    (entry,) = entries(cache)
    entry.write_bytes(entry.read_bytes()[:5000] if damage == b"" else damage)
    np.testing.assert_array_equal(cache.get(images[0], "image", read_image), expected)
    np.testing.assert_array_equal(cache.get(images[0], "image", never), expected)


def test_a_full_one_decodes_the_rest_and_says_so_once(
    tmp_path: Path, images: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    cache = opened(tmp_path / "cache", 3 * ENTRY + 100)
    for _ in range(2):
        for path in images:
            np.testing.assert_array_equal(cache.get(path, "image", read_image), read_image(path))
    assert len(entries(cache)) == 3
    check_count(cache)
    assert capsys.readouterr().err.count("is full (3.25e-05 GB): what it does not hold is decoded each time") == 1
    opened(cache.folder, 3 * ENTRY)
    assert "is full" in capsys.readouterr().err


def test_a_twentieth_of_the_disk_stays_free(
    cache: ImageCache, images: list[Path], disk: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    disk.free = disk.total // 20 + ENTRY
    np.testing.assert_array_equal(cache.get(images[0], "image", read_image), read_image(images[0]))
    assert not entries(cache)
    assert "is full (less than 5 % of its disk are free)" in capsys.readouterr().err


def test_a_full_disk_is_no_error(cache: ImageCache, images: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("rtseg.data.cache.os.write", refuse)
    np.testing.assert_array_equal(cache.get(images[0], "image", read_image), read_image(images[0]))
    assert cache.full
    assert not entries(cache)
    check_count(cache)


def test_a_folder_that_is_removed_is_no_error(
    cache: ImageCache, images: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    kept = cache.get(images[0], "image", read_image)
    kept = cache.get(images[0], "image", never)
    shutil.rmtree(cache.folder)
    for path in images:
        np.testing.assert_array_equal(cache.get(path, "image", read_image), read_image(path))
    np.testing.assert_array_equal(kept, read_image(images[0]))  # still mapped
    assert capsys.readouterr().err.count("was removed: from now on") == 1


def in_child(work: Callable[[], None]) -> int | None:
    assert fork is not None
    process = fork.Process(target=work)
    process.start()
    process.join()
    return process.exitcode


@pytest.mark.skipif(fork is None, reason="no fork here")
@pytest.mark.parametrize("after", [0, 1, 2], ids=["before", "in", "after"])
def test_a_killed_writer_leaves_nothing(cache: ImageCache, images: list[Path], after: int) -> None:
    """Before the first byte, in the middle of the pixels, or with all written and not yet renamed."""
    written, write = 0, os.write

    def deadly(descriptor: int, data: memoryview) -> int:
        nonlocal written
        if written == after:
            write(descriptor, data[: len(data) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
        written += 1
        return write(descriptor, data)

    def child() -> None:
        os.write = deadly  # type: ignore[assignment]
        os.fsync = lambda descriptor: os.kill(os.getpid(), signal.SIGKILL)  # type: ignore[assignment]
        cache.get(images[0], "image", read_image)

    assert in_child(child) == -signal.SIGKILL
    assert not entries(cache)
    assert len(list(cache.folder.glob("*.part"))) == 1
    np.testing.assert_array_equal(cache.get(images[0], "image", read_image), read_image(images[0]))
    opened(cache.folder)
    check_count(cache)
    assert len(entries(cache)) == 1


@pytest.mark.skipif(fork is None, reason="no fork here")
def test_processes_that_write_at_once_stay_within_the_limit(tmp_path: Path, images: list[Path]) -> None:
    assert fork is not None
    cache = opened(tmp_path / "cache", 6 * ENTRY + 200)
    start = fork.Barrier(4)

    def child() -> None:
        start.wait()
        for _ in range(3):
            for path in images:
                if not np.array_equal(cache.get(path, "image", read_image), read_image(path)):
                    os._exit(3)

    processes = [fork.Process(target=child) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 4
    assert 3 <= len(entries(cache)) <= 6  # two writers of one entry count twice until the second has ended
    check_count(cache)


def test_another_data_sets_folder_is_refused(tmp_path: Path) -> None:
    open_cache(str(tmp_path / "cache"), "camvid", tmp_path)
    open_cache(str(tmp_path / "cache"), "camvid", tmp_path)
    with pytest.raises(
        UserError, match=r"belongs to another data set, 'camvid' in '.*': give another folder, or remove"
    ):
        open_cache(str(tmp_path / "cache"), "ade20k", tmp_path)
    (tmp_path / "cache" / "cache.json").write_text("{}")
    with pytest.raises(UserError, match="is damaged: remove its folder"):
        open_cache(str(tmp_path / "cache"), "camvid", tmp_path)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "street.png").touch()
    with pytest.raises(UserError, match=r"holds other files \(street\.png\): give an empty folder, or a size"):
        open_cache(str(tmp_path / "other"), "camvid", tmp_path)
    assert [path.name for path in (tmp_path / "other").iterdir()] == ["street.png"]
    with pytest.raises(UserError, match=r"holds other files \(street\.png\)"):
        SegmentationData("camvid", str(tmp_path), cache=str(tmp_path / "other"))  # before a network is built
    SegmentationData("camvid", str(tmp_path), cache=str(tmp_path / "none"))
    assert not (tmp_path / "none").exists()
    with pytest.raises(UserError, match=r"street\.png"):
        open_cache(str(tmp_path / "other" / "street.png"), "camvid", tmp_path)


@pytest.mark.parametrize(
    ("value", "expected"),
    [("4GB", 4_000_000_000), ("1.5 gb", 1_500_000_000), ("4GiB", 2**32), ("500M", 500_000_000), ("fast/disk", None)],
)
def test_sizes(value: str, expected: int | None) -> None:
    assert cache_bytes(value) == expected


@pytest.mark.parametrize("value", ["4", "0GB", "4096B"])
def test_a_number_needs_a_unit(value: str) -> None:
    with pytest.raises(UserError, match=f"data.cache={value}: give a size as 4GB, or a folder, or null for none"):
        SegmentationData("camvid", ".", cache=value)


@pytest.mark.parametrize("value", ["4XB", "4,5GB", "4 Gigabyte"])
def test_a_mistyped_size_is_no_folder(value: str) -> None:
    with pytest.raises(UserError, match=rf"data.cache={value}: give a size as 4GB, or a folder as \./{value}"):
        cache_bytes(value)
    assert cache_bytes(f"./{value}") is None


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_a_training_gets_the_same_batches(tiny_camvid: Path, tmp_path: Path, workers: int) -> None:
    """In its first epoch, which fills it, and in its second."""
    options = {"batch_size": 4, "crop_size": (32, 48), "num_workers": workers}
    plain = SegmentationData("camvid", str(tiny_camvid), **options)  # type: ignore[arg-type]
    cached = SegmentationData("camvid", str(tiny_camvid), cache=str(tmp_path / "cache"), **options)  # type: ignore[arg-type]
    loaders = [data.create_train_loader() for data in (plain, cached)]
    for epoch in range(2):
        for loader in loaders:
            loader.batch_sampler.set_epoch(epoch)  # type: ignore[union-attr]
        for first, second in zip(*loaders, strict=True):
            assert torch.equal(first.image, second.image)
            assert torch.equal(first.mask, second.mask)
    assert len(list((tmp_path / "cache").glob("*.pixels"))) in (16, 20)  # an epoch leaves out two of ten images
    for first, second in zip(plain.val_dataloader(), cached.val_dataloader(), strict=True):
        assert torch.equal(first.image, second.image)
        assert torch.equal(first.mask, second.mask)
    assert create_dataset("camvid", tiny_camvid, "train").cache is None
