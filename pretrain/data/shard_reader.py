"""Images out of many shards in a given order, as they are stored and decoded."""

from collections.abc import Iterable, Iterator

import numpy as np
from PIL import Image

from pretrain.data.image_files import LEFT_OUT, REPLACED, Broken, BrokenImage, decode, name_skipped, repair
from pretrain.data.shard_index import ShardIndex
from pretrain.data.shard_tar import Raw, tar_images
from pretrain.data.store import CutShard, join
from rtseg.errors import UserError
from rtseg.training.loading import reading_each


class ShardReader:
    """Images of a split's shards in a given order of shards.

    Args:
        index: of the shards.
        split: "train" or "val".
        broken: "refuse" ends at a shard or image that is broken and names it; "skip" gives None in their place.
    """

    def __init__(self, index: ShardIndex, split: str, broken: Broken) -> None:
        self.index, self.broken = index, broken
        self.instead = REPLACED if split == "train" else LEFT_OUT
        self.names = list(index.shards(split))
        self.counts = np.array(list(index.shards(split).values()))
        self.firsts = np.cumsum(self.counts) - self.counts  # the number of each shard's first image

    def read(self, shards: np.ndarray, first: int, order: np.ndarray) -> Iterator[tuple[int, Raw | None]]:
        """Number of an image in the split, and the image.

        Args:
            shards: numbers of the shards in the order of the epoch; their images, one after the other, are a sequence.
            first: place of the first image in that sequence.
            order: places after `first`, in the order in which their images are returned. Shards that have none of them
                are not opened.
        """
        held: dict[int, tuple[int, Raw | None]] = {}
        images = self._in_sequence(shards, first + np.sort(order))
        for place in order:
            while first + place not in held:
                at, number, raw = next(images)
                held[at] = number, raw
            yield held.pop(first + place)

    def _in_sequence(self, shards: np.ndarray, places: np.ndarray) -> Iterator[tuple[int, int, Raw | None]]:
        """Place in the sequence, number in the split and image, for increasing places."""
        ends = np.cumsum(self.counts[shards])
        for shard, end in zip(shards, ends, strict=True):
            begin = end - self.counts[shard]
            wanted = places[np.searchsorted(places, begin) : np.searchsorted(places, end)] - begin
            if len(wanted):
                for within, raw in self._shard(int(shard), wanted):
                    yield int(begin) + within, int(self.firsts[shard]) + within, raw

    def _shard(self, shard: int, wanted: np.ndarray) -> Iterator[tuple[int, Raw | None]]:
        url, count = join(self.index.root, self.names[shard]), self.counts[shard]
        mask = np.zeros(count, bool)
        mask[wanted] = True
        found = 0
        problem = "it is shorter"
        try:
            for within, raw in enumerate(reading_each(tar_images(url, mask), url)):
                found = within + 1
                if raw is not None:
                    yield within, self._checked(raw)
        except FileNotFoundError:
            problem = "there is no such file"
        except CutShard as error:
            problem = f"it is cut off or damaged ({error})"
        if found <= wanted[-1]:
            if self.broken == "refuse":
                raise UserError(
                    f"{url}: {found} images where the index counts {count}: {problem}. Copy or make that shard again, "
                    "make the index anew, or continue with --data.broken=skip"
                )
            name_skipped(url, f"{found} images where the index counts {count}: {problem}", self.instead)
            yield from ((int(within), None) for within in wanted[wanted >= found])

    def _checked(self, raw: Raw) -> Raw:
        if not 0 <= raw.label < len(self.index.classes):
            raise UserError(
                f"{raw.name} is of class {raw.label}, but the index names {len(self.index.classes)} classes, "
                f"0..{len(self.index.classes) - 1}; make the index again"
            )
        return raw


def replaced(images: Iterable[tuple[int, Raw | None]], broken: Broken) -> Iterator[tuple[int, Image.Image, int, int]]:
    """Numbers and images in bytes -> number, RGB image, class, and 1 where it is another's, since its own is broken.

    That is the next good one's: what came before is not known where a training was resumed.

    Raises:
        UserError: a broken image is refused, or there is no good one.
    """
    waiting: list[int] = []
    good: tuple[Image.Image, int] | None = None
    for number, raw in images:
        found = decoded(raw, broken, REPLACED)
        if found is None:
            waiting.append(number)
            continue
        good = found
        yield from ((earlier, *good, 1) for earlier in waiting)
        waiting.clear()
        yield number, *good, 0
    if waiting:
        if good is None:
            raise UserError(f"not one of {len(waiting)} images in a row can be read; check-data says why")
        yield from ((earlier, *good, 1) for earlier in waiting)


def decoded(raw: Raw | None, broken: Broken, instead: str) -> tuple[Image.Image, int] | None:
    """RGB image and class; None where it is broken and skipped."""
    if raw is None:
        return None
    try:
        return decode(raw.data), raw.label
    except BrokenImage as error:
        if broken == "refuse":
            raise repair(raw.name, error) from None
        name_skipped(raw.name, str(error), instead)
        return None
