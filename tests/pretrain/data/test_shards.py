"""Reading shards: epochs that resume exactly, over ranks and workers; evaluation."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pretrain.data import shard_tar
from pretrain.data.augment import eval_transform
from pretrain.data.imagenet import ImageFolder
from pretrain.data.shard_index import ShardIndex
from pretrain.data.shard_loader import ShardBatches
from pretrain.data.shard_reader import ShardReader
from pretrain.data.shards import EvalShards
from rtseg.errors import UserError
from tests.helpers.shards import AUGMENT, corner, prints, shard_loader


def test_only_shards_with_something_left_are_opened(packed: ShardIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []
    original = shard_tar.open_file

    def open_file(url: str) -> Any:
        opened.append(url[-5])
        return original(url)

    monkeypatch.setattr(shard_tar, "open_file", open_file)
    reader = ShardReader(packed, "train", "refuse")
    found = list(reader.read(np.array([2, 0, 3, 1]), 2, np.array([0, 8, 7])))  # of shards 2, 3, 3
    assert [number for number, _ in found] == [10, 14, 13]
    assert opened == ["2", "3"]


def test_epochs_resume_exactly_and_differ(packed: ShardIndex) -> None:
    """With persistent workers, which must learn of the next epoch and of a position."""
    loader = shard_loader(packed, workers=2)
    assert loader.sampler is loader  # where Lightning sets the epoch
    whole = []
    for epoch in range(3):
        loader.sampler.set_epoch(epoch)
        whole.append(prints(loader))
    assert [len(epoch) for epoch in whole] == [len(loader)] * 3 == [3] * 3
    assert len({image for epoch in whole for image, _ in epoch}) == 9

    state: dict[str, int] = {}
    loader.set_epoch(1)
    for k, _ in enumerate(loader):
        if k == 0:
            state = loader.state_dict()
    for other in (shard_loader(packed, workers=2), loader):
        other.load_state_dict(state)
        assert {key: other.state_dict()[key] for key in state} == state
        other.set_epoch(1)
        assert prints(other) == whole[1][1:]
        other.set_epoch(2)
        assert prints(other) == whole[2]
    loader.load_state_dict(loader.state_dict())
    loader.set_epoch(0)  # an epoch that is asked for by name starts at its beginning
    assert prints(loader) == whole[0]


def test_broken_off_epochs_leave_nothing_behind(packed: ShardIndex) -> None:
    whole, cut = shard_loader(packed, workers=1), shard_loader(packed, workers=1)
    next(iter(cut))
    for loader in (whole, cut):
        loader.set_epoch(1)
    assert prints(cut) == prints(whole)


@pytest.mark.parametrize(("world_size", "workers", "pieces"), [(1, 0, 1), (1, 2, 1), (2, 1, 1), (3, 0, 1), (2, 0, 3)])
def test_images_of_an_epoch_over_ranks_and_workers(
    packed: ShardIndex, world_size: int, workers: int, pieces: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Images are told apart by their first pixel, which is shown untouched."""
    seen: list[bytes] = []
    for rank in range(world_size):
        options = {"world_size": world_size, "pieces": pieces, "batch_size": 6}
        loader = shard_loader(packed, rank, workers, **options)
        loader._data.transform = corner
        batches = list(loader)
        assert [len(batch.label) for batch in batches] == [6 // world_size // pieces] * (2 * pieces)
        seen += [image.numpy().tobytes() for batch in batches for image in batch.image]
    assert len(set(seen)) == len(seen) == 12


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
    loader = shard_loader(packed)
    next(iter(loader))
    inside = loader.state_dict()
    prints(loader)
    end = loader.state_dict()
    other = shard_loader(packed, **options)
    with pytest.raises(UserError, match=f"inside epoch 0 with {key}="):
        other.load_state_dict(inside)
    other.load_state_dict(end)
    other.set_epoch(1)
    assert len(prints(other)) == len(other)


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


def test_splits_and_batches_that_cannot_be(packed: ShardIndex) -> None:
    with pytest.raises(UserError, match="names no 'test' shards; it has train, val"):
        packed.size("test")
    with pytest.raises(UserError, match="batch_size=16 is more than the 15 training images"):
        shard_loader(packed, batch_size=16)
