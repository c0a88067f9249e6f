"""Which shards there are and how many images each holds, in a folder or an object store.

The index makes epochs exact and a position in one a number, which WebDataset's own reader has neither of.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import fsspec

from rtseg.errors import UserError

INDEX = "index.json"
VERSION = 1

# Every store that was opened, never given up: a loader's process, forked, drops fsspec's own list of them, and would
# take the open connections of this process out of the event loop that both share. The next request would wait minutes.
_STORES: set[fsspec.AbstractFileSystem] = set()


class CutShard(Exception):
    """A tar that ends before its time, or is none."""


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


def join(root: str, name: str) -> str:
    """A file in a folder or below a URL."""
    return f"{root.rstrip('/')}/{name}"


def open_file(url: str) -> IO[bytes]:
    """A local file or an object of a store, seekable.

    Raises:
        FileNotFoundError
        UserError: the store cannot be reached, or what reads from it is not installed.
    """
    with store_errors(url):
        found = fsspec.open(url, "rb")
        _STORES.add(found.fs)
        return found.open()


@contextmanager
def store_errors(url: str, done: str = "read") -> Iterator[None]:
    """What a store raises inside becomes one that says what to do.

    Args:
        url: of what is asked for.
        done: "read" or "written".

    Raises:
        FileNotFoundError: the store was reached, but has no such thing.
        UserError: anything else.
    """
    try:
        yield
    except (UserError, CutShard):
        raise
    except FileNotFoundError as error:
        cause: BaseException | None = error  # over HTTP fsspec says this whatever went wrong, and the cause tells
        while isinstance(cause, FileNotFoundError):
            cause = cause.__cause__
        if url.startswith("http") and isinstance(cause, Exception) and getattr(cause, "status", None) != 404:
            raise unreachable(url, cause, done) from None
        raise
    except ImportError as error:  # fsspec says which package
        raise UserError(f"{url}: {error}. Install it with pip, or copy the shards to a local folder") from None
    except NotImplementedError:
        raise UserError(
            f"{url}: nothing can be {done} over {url.partition('://')[0]}; give a local folder, or the URL of a store "
            "such as s3://bucket/imagenet"
        ) from None
    except ValueError as error:
        raise UserError(f"{url}: {error}; give a folder, or a URL such as s3://bucket/imagenet") from None
    except Exception as error:  # each store has its own
        raise unreachable(url, error, done) from None


def unreachable(url: str, error: Exception, done: str = "read") -> UserError:
    """Of what cannot be read or written, and why."""
    reason = str(error).partition("\n")[0][:200] or type(error).__name__  # some hold what a server sent
    return UserError(f"{url}: cannot be {done} ({reason}); check the address, the permissions and the network")


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
        raise UserError(f"{url} is no JSON ({error}); make it again") from None
    try:
        version, classes = content["version"], tuple(map(str, content["classes"]))
        splits = {split: {name: int(count) for name, count in of.items()} for split, of in content["splits"].items()}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(
            f"{url} is no index of shards ({type(error).__name__}: {error}); it holds "
            '{"version": 1, "classes": [names], "splits": {"train": {"train-000000.tar": 1000}, "val": {}}}'
        ) from None
    if version != VERSION:
        raise UserError(f"{url} has version {version}, this program reads {VERSION}; make the index again")
    return ShardIndex(root, classes, splits)
