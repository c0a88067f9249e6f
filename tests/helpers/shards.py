"""What the tests of shards share: loaders of them, tar files, what a loader gave."""

import tarfile
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pretrain.data.augment import AugmentConfig, train_transform
from pretrain.data.shard_index import ShardIndex
from pretrain.data.shard_loader import ShardLoader
from pretrain.data.shards import TrainShards

AUGMENT = AugmentConfig(image_size=16)


def write_tar(file: Path, members: dict[str, bytes]) -> None:
    with tarfile.open(file, "w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, BytesIO(data))


def shard_loader(index: ShardIndex, rank: int = 0, workers: int = 0, **options: int) -> ShardLoader:
    settings: dict[str, Any] = {"seed": 0, "world_size": 1, "pieces": 1, "buffer": 5, "batch_size": 4, **options}
    data = TrainShards(index, train_transform(AUGMENT), rank=rank, **settings)
    return ShardLoader(data, num_workers=workers, persistent_workers=workers > 0)


def prints(loader: ShardLoader) -> list[tuple[bytes, tuple[int, ...]]]:
    return [(batch.image.contiguous().numpy().tobytes(), tuple(batch.label.tolist())) for batch in loader]


def corner(image: object) -> torch.Tensor:
    return torch.from_numpy(np.asarray(image)[:1, :8].copy()).permute(2, 0, 1)
