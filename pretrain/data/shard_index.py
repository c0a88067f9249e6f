"""The index of shards in a folder or an object store: their names, and how many images each holds.

The index makes the length of an epoch exact, and a position in it a number. WebDataset's own reader has neither.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pretrain.data.store import join, open_file, store_errors
from rtseg.errors import UserError

INDEX = "index.json"
VERSION = 1


@dataclass(frozen=True)
class ShardIndex:
    """What the shards hold.

    Attributes:
        root: folder or URL.
        classes: names in the order of their numbers.
        splits: split -> shard's file name -> number of images.
    """

    root: str
    classes: tuple[str, ...]
    splits: Mapping[str, Mapping[str, int]]

    def size(self, split: str) -> int:
        """Images of a split. UserError where there is none such."""
        return sum(self.shards(split).values())

    def shards(self, split: str) -> Mapping[str, int]:
        """File name -> number of images. UserError where there is no such split."""
        if not self.splits.get(split):
            raise UserError(f"{join(self.root, INDEX)} names no '{split}' shards; it has {', '.join(self.splits)}")
        return self.splits[split]


def find_index(root: str) -> ShardIndex | None:
    """The index of a folder or URL; None for a folder without, whose layout is another. UserError for an empty name."""
    if not root.strip():  # else the folder that one happens to be in
        raise UserError(
            "data.root is empty: give the folder of train/<class>/*.JPEG and val/<class>/*.JPEG, or folder or URL of "
            "shards, as in --data.root=/data/imagenet"
        )
    if "://" not in root and not (Path(root) / INDEX).is_file():
        return None
    return read_index(root)


def read_index(root: str) -> ShardIndex:
    """Raises: UserError where there is no index, or one that is not understood."""
    url = join(root, INDEX)
    try:
        with store_errors(url), open_file(url) as file:
            data = file.read()
    except FileNotFoundError:
        raise UserError(
            f"data.root={root} has no {INDEX}; make shards with python -m pretrain make-shards, which writes it too"
        ) from None
    try:
        content = json.loads(data)
    except ValueError as error:
        raise UserError(f"{url} is not JSON ({error}); make it again") from None
    try:
        version, classes = content["version"], tuple(map(str, content["classes"]))
        splits = {split: {name: int(count) for name, count in of.items()} for split, of in content["splits"].items()}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(
            f"{url} is not an index of shards ({type(error).__name__}: {error}); it holds "
            '{"version": 1, "classes": [names], "splits": {"train": {"train-000000.tar": 1000}, "val": {}}}'
        ) from None
    if version != VERSION:
        raise UserError(f"{url} has version {version}, this program reads {VERSION}; make the index again")
    return ShardIndex(root, classes, splits)
