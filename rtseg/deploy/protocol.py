"""How an image is shown to a network when it is scored: resized, mirrored, at several scales, in windows.

A protocol is written as parts with a plus between them, such as `ade20k+ms-flip`. It works on any network by its
logits, which are averaged, not the probabilities, and always at the image's own size: the rules of PaddleSeg's
evaluation. docs/evaluation.md says what each part does.

K classes, H, W size of the image, h, w size at which the network sees it.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Self

import torch.nn.functional as F
from torch import Tensor

from rtseg.data.evaluation import check_eval_resize
from rtseg.deploy.class_map.upsampling import MOST_ELEMENTS, Size
from rtseg.deploy.logit_maps import Head, LogitMap, Mean, Mirrored, Resized, Windows, whole
from rtseg.deploy.windows.tiling import Tiling
from rtseg.errors import UserError
from rtseg.models.model_card import LONGEST_RESIZE, UPSAMPLINGS

SCALES = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)  # of `ms`
ADE20K = (512, 2048)
GOOD = (
    "whole, cityscapes, ade20k, resize:SHORTxLONG, flip, ms, ms-flip, ms:0.75,1,1.25, slide:HxW:HxW (window and "
    "stride, such as slide:1024x1024:768x768), once or twice (upsampling); several with a plus, as ade20k+ms-flip"
)
_LARGEST_SCALE, _MOST_SCALES = 4, 16
_SIZE = re.compile(r"(\d{1,6})x(\d{1,6})")
Run = Callable[[Tensor], Tensor]  # (1, C, h, w) -> the network's own logits, (1, K, ., .)


@dataclass(frozen=True)
class Protocol:
    """A rule of evaluation.

    Attributes:
        text: as it was written.
        resize: (short side, long side) of `rtseg.data.evaluation`, to which whoever loads images resizes them; None
            leaves them as they are.
        scales: factors of this size; the logits of all are averaged.
        flip: also the mirrored image, at each scale.
        windows: each image goes through the network in windows of this size; where they overlap, logits are averaged.
            A smaller image is one window.
        upsampling: "once", straight from the head's stride to the image's own size; or "twice", to the size that the
            network saw, from there to (h, w) and then to (H, W).
    """

    text: str = "whole"
    resize: Size | None = None
    scales: tuple[float, ...] = (1.0,)
    flip: bool = False
    windows: Tiling | None = None
    upsampling: str = "once"

    @classmethod
    def parse(cls, text: str, *, resize: Size | None = None, upsampling: str = "once") -> Self:
        """A protocol from its text.

        Args:
            resize, upsampling: the data set's own, which hold where the text names no other.

        Raises:
            UserError: the text is none.
        """
        found, kinds = cls(text, resize, upsampling=upsampling), set[str]()
        for part in text.split("+"):
            name, _, rest = part.partition(":")
            kind, changes = _part(text, name.strip(), rest)
            if kind in kinds:
                raise _wrong(text, f"it says twice what {kind} is")
            kinds.add(kind)
            found = replace(found, **changes)
        return found

    @property
    def is_whole(self) -> bool:
        """Whether the network sees each image once, and whole."""
        return self.scales == (1.0,) and not self.flip and self.windows is None

    def map(self, run: Run, image: Tensor, size: Size) -> LogitMap:
        """The logits of an image at its own size.

        Args:
            run: the network; each result must be its own memory.
            image: (1, C, h, w) floats, in any unit: what `run` takes.
            size: (H, W).
        """
        seen = image.shape[2], image.shape[3]
        maps: list[LogitMap] = []
        for scale in self.scales:
            at = int(seen[0] * scale + 0.5) or 1, int(seen[1] * scale + 0.5) or 1
            scaled = image if at == seen else F.interpolate(image, at, mode="bilinear", align_corners=False)
            target = seen if self.upsampling == "twice" else size
            maps.append(Resized(self._at(run, scaled), target))
            if self.flip:
                maps.append(Resized(Mirrored(self._at(run, scaled.flip(3))), target))
        return Resized(Mean(maps), size)

    def _at(self, run: Run, image: Tensor) -> LogitMap:
        """One pass: at the size of what it sees, or at the head's stride where one step of upsampling follows."""
        at = image.shape[2], image.shape[3]
        if self.windows is not None:
            return Windows(list(self._windows(run, image)), at)
        found = Head(run(image.contiguous()))
        return Resized(found, at) if self.upsampling == "twice" else found

    def _windows(self, run: Run, image: Tensor) -> Iterator[tuple[tuple[int, int], LogitMap]]:
        assert self.windows is not None
        size = image.shape[2], image.shape[3]
        height, width = (min(pair) for pair in zip(self.windows.size, size, strict=True))
        rows, columns = self.windows.starts(size)
        for top in rows:
            for left in columns:
                logits = run(image[:, :, top : top + height, left : left + width].contiguous())
                yield (top, left), Resized(Head(logits), (height, width))

    def rows(self, run: Run, image: Tensor, size: Size) -> Iterator[tuple[slice, Tensor]]:
        """The logits of an image some rows at a time, from the top: the rows, and (1, K, rows, W) float32.

        Args: see `map`.
        """
        found = self.map(run, image, size)
        first, step = 0, 1  # one row says how many classes there are
        while first < size[0]:
            last = min(first + step, size[0])
            values = found.rows(first, last)
            yield slice(first, last), values
            first, step = last, max(1, MOST_ELEMENTS // (values.shape[1] * size[1]))

    def logits(self, run: Run, image: Tensor, size: Size) -> Tensor:
        """All of them, (1, K, H, W) float32. Args: see `map`."""
        return whole(self.map(run, image, size))


def _part(text: str, name: str, rest: str) -> tuple[str, dict[str, Any]]:
    """What a part of a protocol is about, and the attributes that it sets."""
    if name in ("whole", "cityscapes", "ade20k", "flip", *UPSAMPLINGS) and rest:
        raise _wrong(text, f"'{name}' takes no ':{rest}'")
    match name:
        case "whole":
            return "the rule", {}
        case "cityscapes" | "ade20k":
            return "the resizing", {"resize": ADE20K if name == "ade20k" else None}
        case "resize":
            return "the resizing", {"resize": _resize(text, rest)}
        case "flip":
            return "flip", {"flip": True}
        case "ms" | "ms-flip":
            scales = {"scales": _scales(text, rest) if rest else SCALES}
            return "the scales", scales | ({"flip": True} if name == "ms-flip" else {})
        case "slide":
            return "the window", {"windows": _tiling(text, rest)}
        case "once" | "twice":
            return "the upsampling", {"upsampling": name}
    raise _wrong(text, f"'{name}' is none of its parts" if name else "a part is empty")


def _resize(text: str, rest: str) -> Size:
    if not (match := _SIZE.fullmatch(rest)):
        raise _wrong(text, "resize takes the short and the long side, as resize:512x2048")
    size = int(match[1]), int(match[2])
    if size[1] > LONGEST_RESIZE:
        raise _wrong(text, f"sides are at most {LONGEST_RESIZE}")
    check_eval_resize(size)
    return size


def _scales(text: str, rest: str) -> tuple[float, ...]:
    try:
        scales = tuple(float(word) for word in rest.split(","))
    except ValueError:
        raise _wrong(text, f"'{rest}' are no scales") from None
    if len(scales) > _MOST_SCALES or not all(0.05 <= scale <= _LARGEST_SCALE for scale in scales):
        raise _wrong(text, f"scales are at most {_MOST_SCALES}, from 0.05 to {_LARGEST_SCALE}")
    if len(set(scales)) < len(scales):
        raise _wrong(text, "a scale is given twice")
    return scales


def _tiling(text: str, rest: str) -> Tiling:
    match [_SIZE.fullmatch(word) for word in rest.split(":")]:
        case [re.Match() as window, re.Match() as stride]:
            size, step = ((int(found[1]), int(found[2])) for found in (window, stride))
        case _:
            raise _wrong(text, "slide takes window and stride, (height)x(width), as slide:1024x1024:768x768")
    if not all(1 <= s <= side for s, side in zip(step, size, strict=True)):
        raise _wrong(text, "a stride is at least 1 and at most the side of the window")
    try:
        return Tiling(size, (size[0] - step[0], size[1] - step[1]))
    except UserError as error:
        raise _wrong(text, str(error).partition(": ")[2].partition(";")[0]) from None


def _wrong(text: str, why: str) -> UserError:
    return UserError(f"--protocol '{text}': {why}. Good are {GOOD} (docs/evaluation.md)")
