"""Logits of an image at full size, some rows at a time: resized, put together from windows, averaged.

150 classes at 2048x2048 are 2.5 GB; a map here holds the network's own logits, at the stride of its head.

K classes; sizes are (height, width).
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from torch import Tensor

from rtseg.deploy.class_map.upsampling import Size, resized_rows


class LogitMap(Protocol):
    """Logits of one image.

    Attributes:
        size: of the map.
    """

    @property
    def size(self) -> Size: ...

    def rows(self, first: int, last: int) -> Tensor:
        """Rows first..last - 1, (1, K, last - first, width) float32."""
        ...


class Head(NamedTuple):
    """What a network puts out, (1, K, h, w)."""

    logits: Tensor

    @property
    def size(self) -> Size:
        return self.logits.shape[2], self.logits.shape[3]

    def rows(self, first: int, last: int) -> Tensor:
        return self.logits[:, :, first:last].float()


class Resized(NamedTuple):
    """Another map, bilinear (align_corners=False)."""

    inner: LogitMap
    size: Size

    def rows(self, first: int, last: int) -> Tensor:
        if self.inner.size == self.size:
            return self.inner.rows(first, last)
        return resized_rows(self.inner.rows, self.inner.size[0], self.size, first, last)


class Mirrored(NamedTuple):
    """Another map, left and right exchanged."""

    inner: LogitMap

    @property
    def size(self) -> Size:
        return self.inner.size

    def rows(self, first: int, last: int) -> Tensor:
        return self.inner.rows(first, last).flip(3)


class Windows(NamedTuple):
    """Maps at places of an image, averaged where they overlap; together they cover it.

    Attributes:
        parts: ((first row, first column), map).
    """

    parts: Sequence[tuple[tuple[int, int], LogitMap]]
    size: Size

    def rows(self, first: int, last: int) -> Tensor:
        total: Tensor | None = None
        for (top, left), part in self.parts:
            begin, end = max(first, top), min(last, top + part.size[0])
            if begin >= end:
                continue
            values = part.rows(begin - top, end - top)
            if total is None:
                total = values.new_zeros(1, values.shape[1], last - first, self.size[1])
                times = values.new_zeros(last - first, self.size[1])
            place = slice(begin - first, end - first), slice(left, left + part.size[1])
            total[:, :, *place] += values
            times[place] += 1
        assert total is not None  # the windows cover the image
        return total.div_(times)


class Mean(NamedTuple):
    """The mean of maps of one size."""

    maps: Sequence[LogitMap]

    @property
    def size(self) -> Size:
        return self.maps[0].size

    def rows(self, first: int, last: int) -> Tensor:
        total = self.maps[0].rows(first, last)
        if len(self.maps) == 1:
            return total
        total = total.clone()
        for other in self.maps[1:]:
            total += other.rows(first, last)
        return total.div_(len(self.maps))


def whole(found: LogitMap) -> Tensor:
    """All rows of a map, (1, K, H, W)."""
    return found.rows(0, found.size[0])
