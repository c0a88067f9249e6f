"""Where the windows over a large image lie; without torch, so that a command can check its options at once.

(T, U) the size of a window, (H, W) the size of the image.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rtseg.errors import UserError

if TYPE_CHECKING:
    from rtseg.deploy.graph import Graph

_LEAST = 32  # pixels of a window's side: one logit of the coarsest map
_MOST = 2**26  # pixels of a window, which the network's memory follows


@dataclass(frozen=True)
class Tiling:
    """Windows over an image.

    Attributes:
        size: (T, U). In an image that is smaller than a window, windows are as small as the image.
        overlap: pixels that two neighbours share at least, below and beside each other.

    Raises:
        UserError: a window is too small or too large, or no larger than the overlap.
    """

    size: tuple[int, int]
    overlap: tuple[int, int]

    def __post_init__(self) -> None:
        height, width = self.size
        if min(self.size) < _LEAST or height * width > _MOST:
            raise UserError(
                f"--tile {height} {width}: a window has at least {_LEAST} pixels on each side and at most {_MOST:,} in "
                "all; 512 1024 is a good size"
            )
        for overlap, side in zip(self.overlap, self.size, strict=True):
            if not 0 <= overlap < side:
                raise UserError(
                    f"--overlap {overlap} with --tile {height} {width}: the overlap is at least 0 and below both "
                    f"sides of the window; {side // 8} is a good one"
                )

    def __str__(self) -> str:
        return "windows of {}x{} that overlap by {}x{}".format(*self.size, *self.overlap)

    def covers(self, size: Sequence[int]) -> bool:
        """Whether one window is the whole image of (H, W, ...)."""
        return size[0] <= self.size[0] and size[1] <= self.size[1]

    def starts(self, size: tuple[int, int]) -> tuple[list[int], list[int]]:
        """The first rows and the first columns of the windows in an image of (H, W)."""
        rows, columns = (
            [*range(0, length - side, side - overlap), max(length - side, 0)]
            for length, side, overlap in zip(size, self.size, self.overlap, strict=True)
        )
        return rows, columns


def tiling(size: tuple[int, int] | None, overlap: int | None = None) -> Tiling | None:
    """`Tiling` with one overlap in both directions; without an overlap, an eighth of the window's shorter side.

    Returns:
        None for no size.

    Raises:
        UserError: see `Tiling`; or an overlap without a size.
    """
    if size is None:
        if overlap is not None:
            raise UserError(f"--overlap {overlap} needs windows that overlap: add --tile, such as --tile 512 1024")
        return None
    if not isinstance(size, Sequence) or len(size) != 2 or not all(isinstance(side, int) for side in size):
        raise UserError(f"tile is (height, width), two whole numbers such as (512, 1024), not {size!r}")
    overlap = min(size) // 8 if overlap is None else overlap
    return Tiling((size[0], size[1]), (overlap, overlap))


def check_tiles(graph: "Graph", tiles: Tiling) -> None:
    """Raises: UserError where an exported file cannot take these windows."""
    if graph.output != "logits":
        raise UserError(
            f"windows are averaged by their logits, and {graph.name} puts out none: export it without --result, or "
            "leave --tile out"
        )
    taken = tuple(own or side for own, side in zip(graph.shape[1:], tiles.size, strict=True))
    if taken != tiles.size:
        raise UserError(
            "--tile {} {}: {} takes no such windows. Give --tile {} {}, or the checkpoint, which takes any size".format(
                *tiles.size, graph.name, *taken
            )
        )
