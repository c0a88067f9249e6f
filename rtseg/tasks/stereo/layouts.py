"""Which files make a stereo pair, in the folders of the usual data sets.

| name | images | disparities | training | validation |
|---|---|---|---|---|
| sceneflow | frames_cleanpass/**/left | disparity/**/left, .pfm | all but TEST | TEST |
| sceneflow_final | frames_finalpass/**/left | the same | all but TEST | TEST |
| kitti2012 | training/colored_0 | training/disp_occ | the first four fifths | the last fifth |
| kitti2015 | training/image_2 | training/disp_occ_0 | the first four fifths | the last fifth |
| middlebury | */im0.png | disp0GT.pfm or disp0.pfm beside it | none | all |

FlyingThings3D, Driving and Monkaa may lie in folders of their own below the root, or together in it.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from rtseg.checks import check_one_of
from rtseg.data.files import IMAGE_SUFFIXES
from rtseg.data.walk import find_files
from rtseg.errors import UserError
from rtseg.tasks.stereo.disparity_files import Bad, file_size

SPLITS = ("train", "val")
_NAMED = 5  # faults in a message
_THREADS = 8


class StereoPair(NamedTuple):
    """The files of one pair.

    Attributes:
        disparity: of the left image's pixels.
        name: the left image's path below the root.
    """

    left: Path
    right: Path
    disparity: Path
    name: str


Finder = Callable[[Path, str], list[StereoPair]]


def _sceneflow(frames: str) -> Finder:
    def find(root: Path, split: str) -> list[StereoPair]:
        pairs = []
        for left in find_files(root, IMAGE_SUFFIXES, f"**/{frames}/**/left/*"):
            parts = list(left.relative_to(root).parts)
            at = parts.index(frames)
            if ("TEST" in parts[at:]) == (split == "val"):
                right = left.parent.with_name("right") / left.name
                below = Path(*parts[at + 1 :]).with_suffix(".pfm")
                disparity = root.joinpath(*parts[:at], "disparity") / below
                pairs.append(StereoPair(left, right, disparity, Path(*parts).as_posix()))
        return pairs

    return find


def _kitti(lefts: str, rights: str, disparities: str) -> Finder:
    def find(root: Path, split: str) -> list[StereoPair]:
        folder = root / "training"
        found = [path for path in find_files(folder / lefts, IMAGE_SUFFIXES) if path.stem.endswith("_10")]
        pairs = [
            StereoPair(
                left,
                folder / rights / left.name,
                folder / disparities / f"{left.stem}.png",
                left.relative_to(root).as_posix(),
            )
            for left in found
        ]
        border = len(pairs) * 4 // 5
        return pairs[:border] if split == "train" else pairs[border:]

    return find


def _middlebury(root: Path, split: str) -> list[StereoPair]:
    if split == "train":
        raise UserError("middlebury has some dozen scenes, which are only scored: train on sceneflow")
    pairs = []
    for left in find_files(root, IMAGE_SUFFIXES, "**/im0.*"):
        names = [left.with_name(name) for name in ("disp0GT.pfm", "disp0.pfm")]
        disparity = next((path for path in names if path.exists()), names[0])
        name = left.relative_to(root).as_posix()
        pairs.append(StereoPair(left, left.with_name(f"im1{left.suffix}"), disparity, name))
    return pairs


_LAYOUTS: dict[str, tuple[Finder, str]] = {  # and what is looked for
    "sceneflow": (_sceneflow("frames_cleanpass"), "frames_cleanpass/**/left/*.png"),
    "sceneflow_final": (_sceneflow("frames_finalpass"), "frames_finalpass/**/left/*.png"),
    "kitti2012": (_kitti("colored_0", "colored_1", "disp_occ"), "training/colored_0/*_10.png"),
    "kitti2015": (_kitti("image_2", "image_3", "disp_occ_0"), "training/image_2/*_10.png"),
    "middlebury": (_middlebury, "**/im0.png"),
}


def list_stereo_datasets() -> list[str]:
    """Names that `find_pairs` takes."""
    return list(_LAYOUTS)


class Found(NamedTuple):
    """The pairs of a split.

    Attributes:
        pairs: those that can be used.
        left_out: what is wrong with each of the others, a sentence.
        smallest: least height, and least width, of the images.
    """

    pairs: list[StereoPair]
    left_out: list[str]
    smallest: tuple[int, int]


def find_pairs(dataset: str, root: Path, split: str, bad: Bad = "refuse") -> Found:
    """The pairs of a split, sorted. The headers of their files are compared, and the lengths of PFM files.

    Args:
        bad: what is done about a pair with a missing or broken file, or with images or disparities of other sizes.

    Raises:
        UserError: unknown name, no pair, or pairs that cannot be used and shall not be left out.
    """
    check_one_of("data.dataset", dataset, _LAYOUTS)
    check_one_of("split", split, SPLITS)
    find, looked_for = _LAYOUTS[dataset]
    pairs = find(root, split)
    if not pairs:
        raise UserError(
            f"no {dataset} pairs for '{split}' in {root}: looked for {looked_for}. Give the folder that holds it "
            "(docs/stereo.md)"
        )
    with ThreadPoolExecutor(_THREADS) as pool:
        looked = list(pool.map(_look, pairs))
    left_out = [found for found in looked if isinstance(found, str)]
    usable = [pair for pair, found in zip(pairs, looked, strict=True) if not isinstance(found, str)]
    if left_out and (bad == "refuse" or not usable):
        raise UserError(
            f"{len(left_out)} of {len(pairs)} '{split}' pairs in {root} cannot be used:{named(left_out)}\n"
            + ("Mend them, or give --data.bad=skip to leave them out" if usable else "Mend them")
        )
    heights, widths = zip(*(found for found in looked if not isinstance(found, str)), strict=True)
    return Found(usable, left_out, (min(heights), min(widths)))


def named(faults: Sequence[str]) -> str:
    """The first of some faults, a line each."""
    more = f"\n  and {len(faults) - _NAMED} more" if len(faults) > _NAMED else ""
    return "".join(f"\n  {fault}" for fault in faults[:_NAMED]) + more


def _look(pair: StereoPair) -> str | tuple[int, int]:
    """What is wrong with a pair, as far as the headers show; else its (height, width)."""
    for what, path in (("right image", pair.right), ("disparity file", pair.disparity)):
        if not path.is_file():
            return f"{pair.left} has no {what}; looked for {path}"
    try:
        left, right, disparity = map(file_size, pair[:3])
    except UserError as error:
        return str(error)
    for what, size in (("right image", right), ("disparity file", disparity)):
        if size != left:
            return f"{pair.left} is {left[0]}x{left[1]} (height x width), its {what} {size[0]}x{size[1]}"
    return left
