"""Images that stick out: another kind of pixels, another size, transparent, or of one colour."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from rtseg.data.findings.finding import CAUTION, NOTE, Finding, counted, named, percent, shown, verb
from rtseg.data.findings.looks import ImageLook, Seen
from rtseg.data.findings.pixel_format import PLAIN

_FEW = 0.1  # of the images: so many or fewer stick out
_FAR = 16  # times more or fewer pixels than the median image
_BLACK = 16  # levels of 255: 12 bits of 16 end there
_LOOK = "look whether it belongs here"
_DEEP = ("16 bits", "32 bits", "floats")
_HARMLESS = (PLAIN, "palette, 8 bits", "grey, 8 bits", "unknown")


def _images(seen: Seen) -> list[tuple[Path, ImageLook]]:
    return [
        (file, image)
        for split in seen.splits
        for file, image in zip(split.image_files, split.images, strict=True)
        if image.fault is None
    ]


def odd_pixels(seen: Seen) -> Iterator[Finding]:
    """Images of several kinds of pixels: a caution where some of them lose something when they become 8-bit RGB."""
    images = _images(seen)
    by_form: dict[str, list[Path]] = defaultdict(list)
    for file, image in images:
        by_form[image.form].append(file)
    if len(by_form) < 2:
        return
    usual = max(by_form, key=lambda form: len(by_form[form]))
    for form, files in by_form.items():
        if form != usual:
            lossy = form not in _HARMLESS and seen.channels is None
            yield Finding(
                CAUTION if lossy else NOTE,
                "pixels",
                f"{counted(len(files), 'image', len(images))} {verb(len(files), 'is', 'are')} {form} ({named(files)}), "
                f"while {len(by_form[usual]):,} are {usual}; {_becomes(form) if seen.channels is None else _LOOK}",
                files,
            )


def depth(seen: Seen) -> Iterator[Finding]:
    """A caution where most images have more than 8 bits, and are not read at full depth."""
    images = _images(seen)
    deep = {file: image for file, image in images if image.form.endswith(_DEEP)}
    if seen.channels is None and 2 * len(deep) > len(images):
        form = next(iter(deep.values())).form
        black = sum(map(_is_black, deep.values()))
        dark = f", in which {black:,} {verb(black, 'is', 'are')} nearly black" if black else ""
        yield Finding(
            CAUTION,
            "depth",
            f"{counted(len(deep), 'image', len(images))} {verb(len(deep), 'is', 'are')} {form} ({named(list(deep))}), "
            f"and only the upper 8 bits are read{dark}; `rtseg check-data --channels {_channels(form)}` reads all, "
            "and prints the YAML with which trainings do (`channels`)",
            list(deep),
        )


def black(seen: Seen) -> Iterator[Finding]:
    """A caution where most images are nearly black, and have 8 bits: of deeper ones `depth` tells it."""
    images = _images(seen)
    bad = {file: image for file, image in images if _is_black(image) and not image.form.endswith(_DEEP)}
    if seen.channels is None and 2 * len(bad) > len(images):
        form = next(iter(bad.values())).form
        yield Finding(
            CAUTION,
            "black",
            f"{counted(len(bad), 'image', len(images))} {verb(len(bad), 'is', 'are')} nearly black, with levels of "
            f"about {_BLACK} of 255 or less ({named(list(bad))}); look whether they are masks, or give the YAML "
            f"`channels: {_channels(form)}` with the mean and deviation that `rtseg check-data --channels "
            f"{_channels(form)}` prints",
            list(bad),
        )


def _is_black(image: ImageLook) -> bool:
    """Whether the root of the mean square of the levels is that of an image of 12 bits in 16, or less."""
    return bool(image.square) and max(image.square) < (_BLACK / 255) ** 2


def _channels(form: str) -> int:
    return (1 if "grey" in form else 3) + ("alpha" in form)


def _becomes(form: str) -> str:
    if "alpha" in form:
        return (
            "the alpha channel is dropped: if it is a channel such as infrared, save all images with it and read them "
            f"with `--channels {_channels(form)}`; else look whether what it hid is an image, and save RGB"
        )
    if "CMYK" in form:
        return "its colours change when it becomes RGB: convert it with its colour profile"
    if "grey" in form and "8" not in form:
        return "it is reduced to 8 bits: convert all images in one way"
    if "16" in form:
        return "it is reduced to 8 bits: save all images with one depth"
    return f"it is read as RGB: {_LOOK}"


def transparent(seen: Seen) -> Iterator[Finding]:
    """Cautions: images of which a part is transparent, whose colours there are anybody's guess."""
    bad = [(file, image) for file, image in _images(seen) if image.transparent]
    if bad:
        file, image = max(bad, key=lambda entry: entry[1].transparent)
        yield Finding(
            CAUTION,
            "transparent",
            f"{counted(len(bad), 'image')} {verb(len(bad), 'is', 'are')} transparent in places, {shown(file)} in "
            f"{percent(image.transparent)} of its pixels; as RGB the last channel is not read: if it is one such as "
            f"infrared, read it with `--channels {_channels(image.form)}`; only if it is alpha, save "
            f"{verb(len(bad), 'the image', 'the images')} over a background",
            [file for file, _ in bad],
        )


def odd_sizes(seen: Seen) -> Iterator[Finding]:
    """Images far larger or smaller than the others, or a few of another size where nearly all have one."""
    images = _images(seen)
    if len(images) < 3:
        return
    areas = np.array([image.size[0] * image.size[1] for _, image in images])
    middle = float(np.median(areas))
    far = [k for k, area in enumerate(areas) if not middle / _FAR <= area <= middle * _FAR]
    sizes: dict[tuple[int, int], list[int]] = defaultdict(list)
    for k, (_, image) in enumerate(images):
        sizes[image.size].append(k)
    usual = max(sizes, key=lambda size: len(sizes[size]))
    others = [k for size, members in sizes.items() if size != usual for k in members if k not in far]
    for severity, bad in ((CAUTION, far), (NOTE, others if len(others) <= _FEW * len(images) else [])):
        if bad:
            files, size = [images[k][0] for k in bad], images[bad[0]][1].size
            yield Finding(
                severity,
                "odd size",
                f"{counted(len(bad), 'image', len(images))} {verb(len(bad), 'has', 'have')} another size, such as "
                f"{shown(files[0])} with {size[0]}x{size[1]} where most have {usual[0]}x{usual[1]} (height x width); "
                f"{_LOOK}",
                files,
            )


def one_colour(seen: Seen) -> Iterator[Finding]:
    """Cautions: images in which all pixels are equal."""
    bad: Sequence[Path] = [file for file, image in _images(seen) if image.contrast == 0]
    if bad:
        yield Finding(
            CAUTION,
            "one colour",
            f"{counted(len(bad), 'image')} {verb(len(bad), 'is', 'are')} of one colour ({named(bad)}); copy or draw "
            f"{verb(len(bad), 'it', 'them')} again, or remove {verb(len(bad), 'it', 'them')}",
            bad,
        )
