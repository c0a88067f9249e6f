"""Generated scenes in the folder layouts of real data sets, so that every command runs without a download."""

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from rich.progress import track

from rtseg.checks import check_at_least
from rtseg.data import ade20k, camvid, cityscapes
from rtseg.data.dataset import LabelSpace
from rtseg.data.origin import write_origin
from rtseg.data.pfm import write_pfm
from rtseg.disk import refusals_told
from rtseg.errors import UserError
from rtseg.output.folders import beside, check_empty, make_folder
from rtseg.output.lock import locked_folder, locked_target
from rtseg.registry import UnknownNameError, suggest
from rtseg.scenes.canvas import RNG
from rtseg.scenes.coco_layout import annotated, write_annotations
from rtseg.scenes.scene import draw_scene
from rtseg.scenes.stereo_pairs import draw_pair
from rtseg.scenes.subjects import SUBJECTS, Subject, draw_subject
from rtseg.scenes.things import draw_things
from rtseg.terminal import Console

SMALLEST = 64
ORIGIN = "generated scenes, drawn by rtseg make-data"
Size = tuple[int, int]
Counts = dict[str, int]  # pictures of each split
_REPAIR = "nothing is overwritten: give a new folder, or remove this one"
_SPLITS = ("train", "val", "test")  # a split's place enters the random numbers, so that no picture occurs in two


@dataclass(frozen=True)
class _Picture:
    """What is to be drawn and where it goes below the data set's folder.

    It is a scene with its mask, one subject, things with the file of their annotations, or a stereo pair: then `image`
    is the left one.
    """

    split: str
    index: int
    image: str
    mask: str = ""
    subject: Subject | None = None
    annotations: str = ""
    right: str = ""
    disparity: str = ""


class _Written(NamedTuple):
    """A picture on the disk: its size, and the annotations of its things."""

    size: Size
    annotations: list[dict[str, Any]]


@dataclass(frozen=True)
class _Layout:
    """A folder layout.

    Attributes:
        pictures: lists them for a number in each split.
        size: the size of one picture.
        splits: besides train and val.
        ids: class of a scene -> value in a label file.
        least: pictures of a split.
    """

    pictures: Callable[[Counts], Iterator[_Picture]]
    size: Callable[[RNG], Size]
    splits: tuple[str, ...] = ("train", "val")
    ids: tuple[int, ...] = ()
    least: int = 1


def _ids(labels: LabelSpace, *names: str) -> tuple[int, ...]:
    """The values that a data set writes for the classes of a scene, which it calls by these names."""
    return tuple(labels.ids[labels.names.index(name)] for name in names)


def _camvid(counts: Counts) -> Iterator[_Picture]:
    for split, count in counts.items():
        for k in range(count):
            yield _Picture(split, k, f"{split}/scene_{k:05d}.png", f"{split}annot/scene_{k:05d}.png")


def _ade20k(counts: Counts) -> Iterator[_Picture]:
    for split, count in counts.items():
        folder = {"train": "training", "val": "validation"}[split]
        for k in range(count):
            name, root = f"{folder}/ADE_{split}_{k + 1:08d}", "ADEChallengeData2016"
            yield _Picture(split, k, f"{root}/images/{name}.jpg", f"{root}/annotations/{name}.png")


def _cityscapes(counts: Counts) -> Iterator[_Picture]:
    for split, count in counts.items():
        city = {"train": "aachen", "val": "frankfurt"}[split]
        for k in range(count):
            name = f"{split}/{city}/{city}_{k:06d}_000019"
            yield _Picture(split, k, f"leftImg8bit/{name}_leftImg8bit.png", f"gtFine/{name}_gtFine_labelIds.png")


def _imagenet(counts: Counts) -> Iterator[_Picture]:
    for split, count in counts.items():
        for k in range(count):
            subject = SUBJECTS[k % len(SUBJECTS)]
            yield _Picture(split, k, f"{split}/{subject.wnid}/{subject.wnid}_{k}.JPEG", subject=subject)


def _coco(counts: Counts) -> Iterator[_Picture]:
    for split, count in counts.items():
        for k in range(count):
            annotations = f"annotations/instances_{split}2017.json"
            yield _Picture(split, k, f"{split}2017/{k + 1:012d}.jpg", annotations=annotations)


def _sceneflow(counts: Counts) -> Iterator[_Picture]:
    for split, count in counts.items():
        for k in range(count):
            root, scene = "FlyingThings3D", f"{'TRAIN' if split == 'train' else 'TEST'}/A/{k:04d}"
            left, right = (f"{root}/frames_cleanpass/{scene}/{side}/0006.png" for side in ("left", "right"))
            yield _Picture(split, k, left, right=right, disparity=f"{root}/disparity/{scene}/left/0006.pfm")


def _varied(middle: int) -> Callable[[RNG], Size]:
    """Sizes around a middle, some upright."""

    def size(rng: RNG) -> Size:
        short, long = int(middle * rng.uniform(0.85, 1.0)), int(middle * rng.uniform(1.0, 1.35))
        return (long, short) if rng.random() < 0.25 else (short, long)

    return size


_LAYOUTS = {
    "camvid": _Layout(_camvid, lambda rng: (360, 480), _SPLITS, _ids(camvid.LABELS, *camvid.LABELS.names)),
    "ade20k": _Layout(
        _ade20k,
        _varied(512),
        ids=_ids(
            ade20k.LABELS,
            "sky", "building", "pole", "road", "sidewalk", "tree", "signboard", "fence", "car", "person", "bicycle",
        ),
    ),
    "cityscapes": _Layout(
        _cityscapes,
        lambda rng: (512, 1024),
        ids=_ids(
            cityscapes.LABELS,
            "sky", "building", "pole", "road", "sidewalk", "vegetation", "traffic sign", "fence", "car", "person",
            "rider",
        ),
    ),
    "coco": _Layout(_coco, _varied(256)),
    "sceneflow": _Layout(_sceneflow, lambda rng: (270, 480)),
    "imagenet": _Layout(_imagenet, _varied(256), least=len(SUBJECTS)),
}  # fmt: skip


def make_data(
    layout: str, n: int, out: str | Path, *, n_val: int | None = None, size: Size | None = None, seed: int = 0
) -> Path:
    """Draws a data set of street scenes; for imagenet of single subjects, for coco of things on a table.

    For sceneflow it draws stereo pairs with exact disparities.

    The same arguments draw the same pictures.

    Args:
        layout: ade20k, camvid, cityscapes, coco, imagenet or sceneflow.
        n: number of training pictures.
        out: a folder that does not exist yet, or is empty.
        n_val: number of validation pictures, by default an eighth of `n`, at least ten; CamVid gets as many for test.
        size: (height, width) of every picture; by default as the real data set has them, Cityscapes and Scene Flow at
            half their size.
        seed: another seed, other pictures.

    Returns:
        the folder.

    Raises:
        UserError: unknown layout, too few pictures, too small a size, a folder with files in it or that cannot be
            made, or that another command draws into; a full disk. Nothing is left then.
    """
    if layout not in _LAYOUTS:
        raise UnknownNameError(f"unknown layout '{layout}'.{suggest(layout, _LAYOUTS)}")
    plan = _LAYOUTS[layout]
    n_val = max(10, n // 8) if n_val is None else n_val
    for name, count in (("n", n), ("n_val", n_val)):
        check_at_least(name, count, plan.least, f"layout '{layout}' needs so many images in each part")
    if size is not None and min(size) < SMALLEST:
        raise UserError(
            f"size={size[0]}x{size[1]} is too small for a street: give at least {SMALLEST}x{SMALLEST} pixels"
        )
    check_at_least("seed", seed, 0)
    out = Path(os.path.realpath(Path(out).expanduser()))
    if os.path.ismount(out):  # what is complete is moved there
        raise UserError(f"'{out}' is a file system of its own, which cannot be replaced: give a folder in it")
    with locked_target(out):
        check_empty(out, _REPAIR)
        pictures = list(plan.pictures({split: n if split == "train" else n_val for split in plan.splits}))
        with _whole_data(out) as unfinished:

            def draw(picture: _Picture) -> _Written:
                rng = np.random.default_rng([seed, _SPLITS.index(picture.split), picture.index])
                return _write(picture, plan, rng, plan.size(rng) if size is None else size, unfinished)

            written = _in_threads(draw, pictures, f"drawing {layout}")
            _write_annotations(unfinished, pictures, written)
            write_origin(unfinished, ORIGIN, layout=layout, n=n, n_val=n_val, size=size, seed=seed)
    return out


@contextmanager
def _whole_data(out: Path) -> Iterator[Path]:
    """A folder to draw into, which becomes `out` at the end: a folder called `out` is complete.

    Raises:
        UserError: the disk refuses.
    """
    unfinished = beside(out, "-unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)  # of a command that was killed
    make_folder(unfinished)
    try:
        with refusals_told(out):
            yield unfinished
            if out.exists():  # Windows renames onto no folder at all
                with locked_folder(out):  # nobody has come meanwhile; what a killed command left of its lock goes
                    check_empty(out, _REPAIR)
                out.rmdir()
            unfinished.replace(out)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _in_threads(draw: Callable[[_Picture], _Written], pictures: Sequence[_Picture], title: str) -> list[_Written]:
    pool = ThreadPoolExecutor(os.cpu_count())  # NumPy and OpenCV work outside Python's lock
    try:
        return list(track(pool.map(draw, pictures), title, len(pictures), console=Console(stderr=True)))
    finally:
        pool.shutdown(cancel_futures=True)


def _write(picture: _Picture, plan: _Layout, rng: RNG, size: Size, root: Path) -> _Written:
    annotations: list[dict[str, Any]] = []
    if picture.disparity:
        _write_pair(picture, rng, size, root)
        return _Written(size, [])
    if picture.subject is not None:
        image = draw_subject(rng, size, picture.subject)
    elif picture.annotations:
        image, things = draw_things(rng, size)
        annotations = annotated(things)
    else:
        image, mask = draw_scene(rng, size)
        _save(root / picture.mask, np.array(plan.ids, np.uint8)[mask])
    _save(root / picture.image, cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    return _Written((image.shape[0], image.shape[1]), annotations)


def _write_annotations(root: Path, pictures: Sequence[_Picture], written: Sequence[_Written]) -> None:
    for file in dict.fromkeys(picture.annotations for picture in pictures if picture.annotations):
        own = [(p, w) for p, w in zip(pictures, written, strict=True) if p.annotations == file]
        write_annotations(root / file, [(Path(p.image).name, w.size) for p, w in own], [w.annotations for _, w in own])


def _write_pair(picture: _Picture, rng: RNG, size: Size, root: Path) -> None:
    pair = draw_pair(rng, size)
    for name, image in ((picture.image, pair.left), (picture.right, pair.right)):
        _save(root / name, cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    (root / picture.disparity).parent.mkdir(parents=True, exist_ok=True)
    write_pfm(root / picture.disparity, pair.disparity)


def _save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    suffix = ".png" if path.suffix == ".png" else ".jpg"
    encoded, data = cv2.imencode(suffix, pixels, [cv2.IMWRITE_JPEG_QUALITY, 92] if suffix == ".jpg" else [])
    if not encoded:
        raise UserError(f"'{path}' cannot hold {pixels.shape[1]}x{pixels.shape[0]} pixels (width x height)")
    path.write_bytes(data.tobytes())
