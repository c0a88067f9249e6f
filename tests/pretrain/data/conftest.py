"""Shards of the animals."""

import shutil
from pathlib import Path

import pytest

from pretrain.data.make_shards import write_shards
from pretrain.data.shard_index import ShardIndex, read_index


@pytest.fixture(scope="module")
def packed(animals: Path, tmp_path_factory: pytest.TempPathFactory) -> ShardIndex:
    """15 training images in shards of 4, 4, 4, 3, 6 validation images in 4 and 2; to be read only."""
    return write_shards(animals, tmp_path_factory.mktemp("packed") / "shards", per_shard=4, workers=1)


@pytest.fixture
def own(packed: ShardIndex, tmp_path: Path) -> ShardIndex:
    """The same, to be spoilt."""
    shutil.copytree(packed.root, tmp_path / "shards")
    return read_index(str(tmp_path / "shards"))
