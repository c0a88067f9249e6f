import json
import re
import shutil
import tarfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from itertools import chain
from pathlib import Path
from threading import Thread
from typing import Any
from unittest.mock import Mock

import fsspec
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pretrain.data import shards
from pretrain.data.augment import AugmentConfig, eval_transform, train_transform
from pretrain.data.imagenet import IGNORED, Broken, ImageFolder
from pretrain.data.make_shards import index_shards, write_index, write_shards
from pretrain.data.shard_index import ShardIndex, find_index, read_index
from pretrain.data.shard_order import eval_part, shuffled, train_part
from pretrain.data.shards import EvalShards, ShardBatches, ShardLoader, ShardReader, TrainShards, tar_images
from rtseg.errors import UserError

AUGMENT = AugmentConfig(image_size=16)
few = st.integers(1, 4)


@pytest.fixture(scope="module")
def packed(animals: Path, tmp_path_factory: pytest.TempPathFactory) -> ShardIndex:
    """15 training images in shards of 4, 4, 4, 3, 6 validation images in 4 and 2; to be read only."""
    return write_shards(animals, tmp_path_factory.mktemp("packed") / "shards", per_shard=4, workers=1)


@pytest.fixture
def own(packed: ShardIndex, tmp_path: Path) -> ShardIndex:
    """The same, to be spoilt."""
    shutil.copytree(packed.root, tmp_path / "shards")
    return read_index(str(tmp_path / "shards"))


# Pure functions of counts.


def delivered(batches: int, share: int, start: int, *, rank: int, world: int, workers: int) -> list[list[int]]:
    """The batches of a rank from `start` on, as places in the epoch's sequence, in the order that a loader gives."""
    outputs: list[Iterator[int]] = []
    for worker in range(workers):
        part = train_part(batches, share, rank=rank, world_size=world, worker=worker, num_workers=workers, start=start)
        order = shuffled(part.samples, 3, np.random.default_rng(part.first))
        outputs.append(iter((part.first + order[part.delivered :]).tolist()))
    found = [[next(outputs[k % workers]) for _ in range(share)] for k in range(batches - start)]
    assert not list(chain(*outputs))  # nothing is left
    return found


@settings(deadline=None)
@given(st.integers(1, 9), few, few, few, st.data())
def test_every_image_of_an_epoch_once(batches: int, share: int, world: int, workers: int, data: st.DataObject) -> None:
    """Over all ranks and workers; and from any batch on, the very same ones."""
    ranks = [delivered(batches, share, 0, rank=rank, world=world, workers=workers) for rank in range(world)]
    assert sorted(chain(*chain(*ranks))) == list(range(batches * share * world))
    start = data.draw(st.integers(0, batches))
    for rank, whole in enumerate(ranks):
        assert delivered(batches, share, start, rank=rank, world=world, workers=workers) == whole[start:]


@settings(deadline=None)
@given(st.integers(0, 50), few, few, few)
def test_every_image_is_evaluated_once(total: int, batch_size: int, world: int, workers: int) -> None:
    seen = []
    for rank in range(world):
        parts = [
            eval_part(total, batch_size, rank=rank, world_size=world, worker=worker, num_workers=workers)
            for worker in range(workers)
        ]
        seen += [range(part.first, part.first + part.samples) for part in parts]
        sizes = [part.samples for part in parts]
        assert sum(-(-size // batch_size) for size in sizes) == -(-sum(sizes) // batch_size)
    assert list(chain(*seen)) == list(range(total))


@settings(deadline=None)
@given(st.integers(0, 60), st.integers(1, 20))
def test_a_shuffle_buffer_holds_no_more_than_it_may(number: int, buffer: int) -> None:
    order = shuffled(number, buffer, np.random.default_rng(0))
    assert sorted(order) == list(range(number))
    assert all(image < place + buffer for place, image in enumerate(order))


def test_a_shuffle_buffer_shuffles() -> None:
    order = shuffled(1000, 100, np.random.default_rng(0))
    assert np.mean(np.abs(order - np.arange(1000))) > 50
    assert np.array_equal(shuffled(1000, 1, np.random.default_rng(0)), np.arange(1000))
    first = Counter(int(shuffled(40, 20, np.random.default_rng(seed))[0]) for seed in range(300))
    assert first.keys() == {0, 1, 2}  # it begins with a tenth and one
    assert min(first.values()) > 70


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


def _tar(file: Path, members: dict[str, bytes]) -> None:
    with tarfile.open(file, "w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, BytesIO(data))


def test_shards_of_others(tmp_path: Path) -> None:
    """With folders, other members, two dots, the class before the image, images without a class."""
    _tar(
        tmp_path / "a-1.tar",
        {"x/1.jpg": b"one", "x/1.cls": b"2", "x/1.json": b"{}", "y/1.cls": b"0", "y/1.PNG": b"two"},
    )
    _tar(tmp_path / "a-2.tar", {"n.seg.png": b"no", "n.cls": b"1", "p.jpeg": b"three", "p.cls": b"1\n", "q.jpg": b"no"})
    _tar(tmp_path / "b-1.tar", {"1.jpg": b"four", "1.cls": b"0"})
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


def test_only_shards_with_something_left_are_opened(packed: ShardIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []
    original = shards.open_file

    def open_file(url: str) -> Any:
        opened.append(url[-5])
        return original(url)

    monkeypatch.setattr(shards, "open_file", open_file)
    reader = ShardReader(packed, "train", "refuse")
    found = list(reader.read(np.array([2, 0, 3, 1]), 2, np.array([0, 8, 7])))  # of shards 2, 3, 3
    assert [number for number, _ in found] == [10, 14, 13]
    assert opened == ["2", "3"]


def _loader(index: ShardIndex, rank: int = 0, workers: int = 0, **options: int) -> ShardLoader:
    settings: dict[str, Any] = {"seed": 0, "world_size": 1, "pieces": 1, "buffer": 5, "batch_size": 4, **options}
    data = TrainShards(index, train_transform(AUGMENT), rank=rank, **settings)
    return ShardLoader(data, num_workers=workers, persistent_workers=workers > 0)


def _prints(loader: ShardLoader) -> list[tuple[bytes, tuple[int, ...]]]:
    return [(batch.image.contiguous().numpy().tobytes(), tuple(batch.label.tolist())) for batch in loader]


def test_epochs_resume_exactly_and_differ(packed: ShardIndex) -> None:
    """With persistent workers, which must learn of the next epoch and of a position."""
    loader = _loader(packed, workers=2)
    assert loader.sampler is loader  # where Lightning sets the epoch
    whole = []
    for epoch in range(3):
        loader.sampler.set_epoch(epoch)
        whole.append(_prints(loader))
    assert [len(epoch) for epoch in whole] == [len(loader)] * 3 == [3] * 3
    assert len({image for epoch in whole for image, _ in epoch}) == 9

    state: dict[str, int] = {}
    loader.set_epoch(1)
    for k, _ in enumerate(loader):
        if k == 0:
            state = loader.state_dict()
    for other in (_loader(packed, workers=2), loader):
        other.load_state_dict(state)
        assert {key: other.state_dict()[key] for key in state} == state
        other.set_epoch(1)
        assert _prints(other) == whole[1][1:]
        other.set_epoch(2)
        assert _prints(other) == whole[2]
    loader.load_state_dict(loader.state_dict())
    loader.set_epoch(0)  # an epoch that is asked for by name starts at its beginning
    assert _prints(loader) == whole[0]


def test_broken_off_epochs_leave_nothing_behind(packed: ShardIndex) -> None:
    whole, cut = _loader(packed, workers=1), _loader(packed, workers=1)
    next(iter(cut))
    for loader in (whole, cut):
        loader.set_epoch(1)
    assert _prints(cut) == _prints(whole)


@pytest.mark.parametrize(("world_size", "workers", "pieces"), [(1, 0, 1), (1, 2, 1), (2, 1, 1), (3, 0, 1), (2, 0, 3)])
def test_images_of_an_epoch_over_ranks_and_workers(
    packed: ShardIndex, world_size: int, workers: int, pieces: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Images are told apart by their first pixel, which is shown untouched."""
    seen: list[bytes] = []
    for rank in range(world_size):
        options = {"world_size": world_size, "pieces": pieces, "batch_size": 6}
        loader = _loader(packed, rank, workers, **options)
        loader._data.transform = _corner
        batches = list(loader)
        assert [len(batch.label) for batch in batches] == [6 // world_size // pieces] * (2 * pieces)
        seen += [image.numpy().tobytes() for batch in batches for image in batch.image]
    assert len(set(seen)) == len(seen) == 12


def _corner(image: object) -> torch.Tensor:
    return torch.from_numpy(np.asarray(image)[:1, :8].copy()).permute(2, 0, 1)


@pytest.mark.parametrize(
    ("key", "options"),
    [
        ("batch_size", {"batch_size": 2}),
        ("seed", {"seed": 1}),
        ("devices", {"world_size": 2}),
        ("accumulated parts", {"pieces": 2}),
        ("num_workers", {"workers": 2}),
        ("shuffle buffer", {"buffer": 4}),
    ],
)
def test_another_order_is_refused_inside_an_epoch_alone(packed: ShardIndex, key: str, options: dict[str, int]) -> None:
    loader = _loader(packed)
    next(iter(loader))
    inside = loader.state_dict()
    _prints(loader)
    end = loader.state_dict()
    other = _loader(packed, **options)
    with pytest.raises(UserError, match=f"inside epoch 0 with {key}="):
        other.load_state_dict(inside)
    other.load_state_dict(end)
    other.set_epoch(1)
    assert len(_prints(other)) == len(other)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("world_size", [1, 2])
def test_evaluation(animals: Path, packed: ShardIndex, world_size: int, workers: int) -> None:
    transform = eval_transform(AUGMENT)
    images = ImageFolder(animals, "val")
    found = []
    for rank in range(world_size):
        data = EvalShards(packed, transform, 2, rank=rank, world_size=world_size)
        loader = ShardBatches(data, num_workers=workers)
        batches = list(loader)
        assert len(batches) == len(loader)
        found += [
            (image.numpy().tobytes(), int(label))
            for b in batches
            for image, label in zip(b.image, b.label, strict=True)
        ]
    wanted = [(transform(image).numpy().tobytes(), label) for image, label, _ in map(images.read, range(6))]
    assert Counter(found) == Counter(wanted)


def test_from_a_url(packed: ShardIndex) -> None:
    store = fsspec.filesystem("memory")
    store.put(packed.root, "/bucket/imagenet", recursive=True)
    index = find_index("memory://bucket/imagenet")
    assert index is not None
    assert index.splits == packed.splits
    assert _prints(_loader(index)) == _prints(_loader(packed))
    again = index_shards(index.root, {"train": "train-*.tar", "val": "val-*.tar"}, classes=packed.classes)
    assert again == index
    with pytest.raises(UserError, match=r"memory://bucket/imagenet has its index\.json"):
        write_index(again)
    store.rm("/bucket/imagenet/index.json")
    write_index(again)
    assert read_index(index.root) == index


class _Ranges(SimpleHTTPRequestHandler):
    """Gives the part of a file that is asked for, as object stores do."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        file = Path(self.translate_path(self.path))
        if not file.is_file():
            self.send_error(404)
            return
        data = file.read_bytes()
        first, _, last = self.headers.get("Range", "bytes=0-").partition("=")[2].partition("-")
        part = data[int(first) : int(last or len(data)) + 1]
        self.send_response(206 if "Range" in self.headers else 200)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Range", f"bytes {first}-{int(first) + len(part) - 1}/{len(data)}")
        self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        self.wfile.write(part)

    def log_message(self, *args: object) -> None:
        pass


class _Whole(SimpleHTTPRequestHandler):
    """Gives whole files alone, and says so."""

    def end_headers(self) -> None:
        self.send_header("Accept-Ranges", "none")
        super().end_headers()

    def log_message(self, *args: object) -> None:
        pass


class _Cut(_Ranges):
    """Breaks off in the middle of a tar."""

    def do_GET(self) -> None:
        if not self.path.endswith(".tar"):
            super().do_GET()
            return
        self.send_response(206)
        self.send_header("Content-Length", "2000000")
        self.end_headers()
        self.wfile.write(b"x" * 100)
        self.close_connection = True


class _Forbidden(_Ranges):
    def do_GET(self) -> None:
        self.send_error(403)

    def do_HEAD(self) -> None:
        self.send_error(403)


@contextmanager
def _serve(handler: type[SimpleHTTPRequestHandler], folder: str) -> Iterator[str]:
    pytest.importorskip("aiohttp")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=folder))
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def test_workers_read_from_a_server(packed: ShardIndex) -> None:
    """Though the training's own process has read the index from it, and the threads of that are not in a worker."""
    with _serve(_Ranges, packed.root) as url:
        index = find_index(url)
        assert index is not None
        assert _prints(_loader(index, workers=2)) == _prints(_loader(packed, workers=2))
        with pytest.raises(UserError, match=rf"data\.root={url}/nowhere has no index\.json"):
            find_index(f"{url}/nowhere")


@pytest.mark.parametrize(
    ("handler", "says"),
    [
        (_Whole, r"train-00000\d\.tar: .*seek.*servers that give parts of files"),
        (_Cut, r"train-00000\d\.tar: cannot be read \(Response payload is not completed.*check the address"),
    ],
)
@pytest.mark.parametrize("broken", ["refuse", "skip"])
def test_servers_that_give_no_tar(
    packed: ShardIndex, handler: type[SimpleHTTPRequestHandler], says: str, broken: Broken
) -> None:
    """That is nothing to be skipped."""
    with _serve(handler, packed.root) as url:
        index = find_index(url)
        assert index is not None
        assert index.splits == packed.splits
        data = TrainShards(index, train_transform(AUGMENT), 4, seed=0, broken=broken)
        with pytest.raises(UserError, match=says):
            list(ShardLoader(data, num_workers=0))


def test_a_server_that_refuses(packed: ShardIndex) -> None:
    with _serve(_Forbidden, packed.root) as url, pytest.raises(UserError, match=r"index\.json: cannot be read \(403"):
        find_index(url)


def test_no_server_at_all() -> None:
    with _serve(_Ranges, ".") as url:
        pass
    for read in (find_index, lambda root: index_shards(root, {"val": "*.tar"})):
        with pytest.raises(UserError, match=rf"{url}.*: cannot be read \(Cannot connect.*check the address"):
            read(f"{url}/x")


def test_an_index_that_cannot_be_written(packed: ShardIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="nosuch://x: Protocol not known: nosuch; give a folder, or a URL"):
        index_shards("nosuch://x", {"val": "*.tar"})
    with (
        _serve(_Ranges, packed.root) as url,
        pytest.raises(UserError, match=r"nothing can be written over http; give a local folder"),
    ):
        write_index(ShardIndex(f"{url}/new", packed.classes, packed.splits))
    for error in (RuntimeError("Access Denied"), FileNotFoundError("Access Denied")):
        monkeypatch.setattr(fsspec, "open", Mock(side_effect=error))
        with pytest.raises(UserError, match=r"memory://new/index\.json: cannot be written \(Access Denied\)"):
            write_index(ShardIndex("memory://new", packed.classes, packed.splits))


# Bad input.


def _cut(file: Path) -> None:
    with tarfile.open(file) as tar:
        third = tar.getmembers()[4]
    file.write_bytes(file.read_bytes()[: third.offset_data + third.size // 2])


def _shorten(file: Path) -> None:
    with tarfile.open(file) as tar:
        members = {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]
    _tar(file, dict(list(members.items())[:4]))


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
    _tar(file, members)
    return images


def test_broken_images_are_replaced_in_training(
    own: ShardIndex, spoilt: Callable[[str], bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    images = _spoil_three(Path(own.root) / "train-000000.tar", spoilt)
    own = ShardIndex(own.root, own.classes, {"train": {"train-000000.tar": 4}})
    data = TrainShards(own, _corner, 4, seed=0, buffer=1)
    with pytest.raises(UserError, match=rf"train-000000\.tar \({images[0]}\): broken image"):
        list(ShardLoader(data, num_workers=0))
    data = TrainShards(own, _corner, 4, seed=0, buffer=1, broken="skip")
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
    _tar(Path(own.root) / "val-000001.tar", {"1.jpg": b"", "1.cls": label})
    with pytest.raises(UserError, match=says):
        list(ShardBatches(EvalShards(own, eval_transform(AUGMENT), 6, broken="skip"), num_workers=0))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{", "is no JSON"),
        ("[]", "is no index of shards"),
        ("{}", "is no index of shards .KeyError: 'version'"),
        (json.dumps({"version": 1, "classes": ["a"], "splits": {"train": {"a.tar": "many"}}}), "is no index of shards"),
        (json.dumps({"version": 2, "classes": [], "splits": {}}), "has version 2, this program reads 1"),
    ],
)
def test_indices_that_are_none(tmp_path: Path, content: str, says: str) -> None:
    (tmp_path / "index.json").write_text(content)
    with pytest.raises(UserError, match=says):
        find_index(str(tmp_path))


def test_splits_and_batches_that_cannot_be(packed: ShardIndex) -> None:
    with pytest.raises(UserError, match="names no 'test' shards; it has train, val"):
        packed.size("test")
    with pytest.raises(UserError, match="batch_size=16 is more than the 15 training images"):
        _loader(packed, batch_size=16)


@pytest.mark.parametrize(
    ("url", "error", "says"),
    [
        ("memory://nowhere", None, "data.root=memory://nowhere has no index.json"),
        ("nosuch://bucket", None, r"nosuch://bucket/index\.json: Protocol not known.*give a folder, or a URL"),
        ("s3://bucket", ImportError("Install s3fs to access S3"), "s3://bucket/index.json: Install s3fs to access S3"),
        ("s3://bucket", RuntimeError("Access Denied"), r"cannot be read \(Access Denied\); check the address"),
    ],
)
def test_stores_that_cannot_be_reached(
    url: str, error: Exception | None, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if error is not None:

        def fail(*args: object) -> None:
            raise error

        monkeypatch.setattr(fsspec, "open", fail)
    with pytest.raises(UserError, match=says):
        find_index(url)
