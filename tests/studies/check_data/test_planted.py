"""Each fault that is planted in a clean folder is found, and nothing else; each is told with file, count and repair."""

import os
import shutil
import unicodedata
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from rtseg.data.findings.every import find_all
from rtseg.data.findings.finding import Finding, Severity
from rtseg.studies.check_data.look import look
from rtseg.studies.check_data.source import open_source
from tests.helpers.planted import Planted, image, mask

FAULT, CAUTION, NOTE = Severity
Plant = Callable[[Planted], object]


def findings(root: Path) -> list[Finding]:
    source = open_source("folder", root)
    return [*source.findings, *find_all(look(source, lambda done, total: None))]


@pytest.fixture
def planted(tmp_path: Path) -> Planted:
    return Planted(tmp_path)


def test_a_clean_folder_has_no_finding(planted: Planted) -> None:
    assert findings(planted.root) == []


def values(**mapped: int) -> Callable[[np.ndarray], np.ndarray]:
    table = np.arange(256, dtype=np.uint8)
    for value, other in mapped.items():
        table[int(value[1:])] = other
    return lambda drawn: table[drawn]


def save(path: Path, pixels: np.ndarray) -> Path:
    cv2.imwrite(str(path), pixels)
    return path


def two_classes(data: Planted, change: Callable[[np.ndarray], np.ndarray], pairs: range = range(10)) -> None:
    data.yaml["classes"] = ["background", "object"]
    data.write()
    data.masks(values(_2=0, _255=0))
    data.masks(change, pairs)


def wide(data: Planted) -> None:
    """Classes 0, 4, 8 of nine: room between them."""
    data.yaml["classes"] = [f"c{k}" for k in range(9)]
    data.write()
    data.masks(values(_1=4, _2=8, _255=8))


def smooth(data: Planted) -> None:
    wide(data)
    data.masks(lambda drawn: cv2.GaussianBlur(drawn, (5, 5), 0))


def as_jpeg(data: Planted) -> None:
    wide(data)
    data.masks(lambda drawn: np.asarray(cv2.imdecode(cv2.imencode(".jpg", drawn)[1], 0)), range(3))


def one_class(data: Planted, change: Callable[[np.ndarray], np.ndarray]) -> None:
    data.yaml["classes"] = ["object"]
    data.write()
    data.masks(change)


def slip(data: Planted) -> None:
    two_classes(data, values(_1=255))
    drawn = np.asarray(cv2.imread(str(data.mask(0)), 0))
    drawn[0, 0] = 7
    save(data.mask(0), drawn)


def same_images(data: Planted) -> None:
    data.yaml["val"] = data.yaml["train"]
    data.write()


def deep(data: Planted) -> None:
    """12 bits in 16, as cameras have it."""
    for k in range(10):
        save(data.image(k), image(k)[..., 0].astype(np.uint16) * 16)


def one_in_colours(data: Planted) -> None:
    drawn = mask(2)
    save(data.mask(2), np.dstack([drawn, drawn * 2, drawn // 2]))


def colours(data: Planted) -> None:
    table = np.zeros((256, 3), np.uint8)
    table[1], table[2] = (255, 0, 0), (0, 255, 0)
    data.masks(lambda drawn: table[drawn])


def palette(data: Planted) -> None:
    for k in range(10):
        drawn = Image.fromarray(mask(k)).convert("P")
        red, green = (255, 0, 0), (0, 255, 0)
        drawn.putpalette([*(red + green if k else green + red), *range(250)])
        drawn.save(data.mask(k))


def turned(data: Planted) -> None:
    for k in range(2):
        exif = Image.Exif()
        exif[0x0112] = 6
        data.image(k).unlink()
        Image.fromarray(image(k)).save(data.image(k).with_suffix(".jpg"), exif=exif, quality=95)


def upside_down(data: Planted) -> None:
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.fromarray(image(1)).save(data.image(1), exif=exif)


def cut(path: Path, share: float) -> None:
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])


def flip_bits(data: Planted) -> None:
    content = bytearray(data.image(2).read_bytes())
    content[len(content) // 2] ^= 255
    data.image(2).write_bytes(content)


def spoilt_jpeg(data: Planted) -> None:
    data.image(3).unlink()
    file = data.image(3).with_suffix(".jpg")
    save(file, image(3))
    content = bytearray(file.read_bytes())
    del content[len(content) * 2 // 3 : len(content) - 40]
    file.write_bytes(content)


def nearly_alike(data: Planted) -> None:
    other = np.clip(image(0) * 0.9 + 8, 0, 255).astype(np.uint8)
    data.image(7).unlink()
    cv2.imwrite(str(data.image(7).with_suffix(".jpg")), cv2.resize(other, (128, 96)), [1, 60])
    save(data.mask(7), cv2.resize(mask(0), (128, 96), interpolation=cv2.INTER_NEAREST))


def rename(path: Path, name: str) -> Path:
    return path.rename(path.with_name(name))


def in_two_cases(data: Planted) -> None:
    for k, name in enumerate(("B.png", "b.png")):
        save(data.image(0).with_name(name), image(70 + k))
        save(data.mask(0).with_name(name), mask(k))


def unicode_names(data: Planted) -> None:
    rename(data.image(4), unicodedata.normalize("NFC", "é.png"))
    rename(data.mask(4), unicodedata.normalize("NFD", "é.png"))


def loop(data: Planted) -> None:
    (data.root / "images" / "train" / "again").symlink_to(data.root / "images" / "train")


def link_to(data: Planted, target: Path) -> None:
    (data.root / "images" / "train" / "link.png").symlink_to(target)


def twice_by_link(data: Planted) -> None:
    link_to(data, data.image(0))
    shutil.copy(data.mask(0), data.mask(0).with_name("link.png"))


def image_of(data: Planted, mode: str) -> None:
    Image.fromarray(image(2)).convert(mode).save(data.image(2).with_suffix(".tif"))
    data.image(2).unlink()


def half_transparent(data: Planted) -> None:
    pixels = np.dstack([image(2), np.full((48, 64), 255, np.uint8)])
    pixels[:10, ..., 3] = 0
    save(data.image(2), pixels)


def of_split(data: Planted, k: int, like: int) -> None:
    shutil.copy(data.image(like), data.image(k))
    shutil.copy(data.mask(like), data.mask(k))


def junk(data: Planted) -> None:
    for name in ("Thumbs.db", ".DS_Store", "._0.png", "desktop.ini"):
        (data.root / "images" / "train" / name).write_bytes(b"x")
    (data.root / "masks" / "train" / ".ipynb_checkpoints").mkdir()


# What is planted; then the severity, the kind and a part of the sentence.
PLANTED: dict[str, tuple[Plant, Severity, str, str]] = {
    "out of range": (
        lambda d: d.masks(values(_2=7), range(2, 4)), FAULT, "outside",
        "2 of 10 masks hold numbers outside the classes: 7 (1,248 pixels) in",
    ),
    "0 and 255": (
        lambda d: two_classes(d, values(_1=255)), FAULT, "white",
        "so 'object' would vanish; write `label_map: {0: background, 255: object}`",
    ),
    "0 and 255 in some": (
        lambda d: two_classes(d, values(_1=255), range(2)), FAULT, "white",
        "2 of 10 masks hold 0 and 255 (",
    ),
    "255 for the last of three": (
        lambda d: d.masks(values(_255=0, _2=255)), CAUTION, "white",
        "if 255 is 'tree', write `label_map: {0: road, 1: car, 255: tree}`",
    ),
    "a slip beside 0 and 255": (
        slip, FAULT, "outside",
        "7 (1 pixel) in {root}/masks/train/0.png; allowed are 0-1, 255; repair the files",
    ),
    "255 for the first of three": (
        lambda d: d.masks(values(_0=255)), CAUTION, "white",
        "if 255 is 'road', write `label_map: {1: car, 2: tree, 255: road}`",
    ),
    "spread numbers": (
        lambda d: d.masks(values(_1=127, _2=255, _255=0)), FAULT, "outside",
        "the numbers are spread: write `label_map: {0: road, 127: car, 255: tree}`",
    ),
    "from 1": (
        lambda d: d.masks(values(_0=1, _1=2, _2=3)), FAULT, "off-by-one", "`label_map: {1: road, 2: car, 3: tree}`",
    ),
    "one more number": (
        lambda d: d.masks(values(_1=2, _2=3, _255=1)), FAULT, "off-by-one", "`classes: [road, car, tree, class_3]`",
    ),
    "0 and 255 of one class": (
        lambda d: one_class(d, values(_1=255, _2=255)), FAULT, "one class",
        "as in `classes: [background, object]` and `label_map: {0: background, 255: object}`",
    ),
    "0 and 1 of one class": (
        lambda d: one_class(d, values(_2=1)), FAULT, "off-by-one", "write `classes: [background, object]` into",
    ),
    "colours in one": (one_in_colours, FAULT, "colours", "the others hold numbers: save these too as grey PNGs"),
    "colours": (colours, FAULT, "colours", "10 of 10 masks hold colours ("),
    "equal channels": (
        lambda d: d.masks(lambda m: np.dstack([m] * 3), range(1)), FAULT, "channels", "1 of 10 masks has three equal",
    ),
    "palettes": (palette, FAULT, "palettes", "#ff0000 is 1 in"),
    "JPEG under the name of PNG": (
        lambda d: d.mask(1).write_bytes(cv2.imencode(".jpg", mask(1))[1].tobytes()), FAULT, "unreadable",
        "JPEG, which changes class numbers",
    ),
    "masks saved as JPEG": (
        lambda d: save(d.mask(1).rename(d.mask(1).with_suffix(".jpg")), mask(1)), FAULT, "lossy",
        "1 file in the folder of the masks has a lossy format",
    ),
    "JPEG, then PNG": (as_jpeg, FAULT, "blended", "3 of 10 masks were resized smoothly or saved as JPEG: numbers"),
    "smoothed": (smooth, FAULT, "blended", "10 of 10 masks were resized smoothly"),
    "smoothed, of three": (
        lambda d: d.masks(lambda m: cv2.blur(values(_1=2, _255=1)(m), (3, 3))), CAUTION, "blended",
        "if number 1 is an outline that was drawn",
    ),
    "another size": (
        lambda d: save(d.mask(8), mask(8)[:40]), FAULT, "sizes", "with 40x64 and",
    ),
    "turned by EXIF": (turned, FAULT, "sizes", "2 of 6 train masks and their images differ in size"),
    "upside down by EXIF": (upside_down, CAUTION, "turned", "orientation 3"),
    "empty image": (lambda d: d.image(5).write_bytes(b""), FAULT, "unreadable", "empty file"),
    "cut image": (lambda d: cut(d.image(5), 0.5), FAULT, "unreadable", "1 of 6 train images cannot be used: "),
    "cut mask": (lambda d: cut(d.mask(9), 0.6), FAULT, "unreadable", "1 of 4 val masks cannot be used: "),
    "damaged PNG": (flip_bits, FAULT, "unreadable", "2.png: "),
    "damaged JPEG": (spoilt_jpeg, FAULT, "damaged", "premature end"),
    "text for a mask": (lambda d: d.mask(2).write_text("hello, this is no mask"), FAULT, "unreadable", "a text file"),
    "train in val": (lambda d: of_split(d, 7, 1), FAULT, "leak", "1 of 4 val images is in train too, pixel for pixel"),
    "nearly train in val": (nearly_alike, CAUTION, "near leak", "1 val image looks like images of another split"),
    "mirrored train in val": (
        lambda d: (save(d.image(7), image(1)[:, ::-1]), save(d.mask(7), mask(1)[:, ::-1])), CAUTION, "near leak",
        "turned or mirrored",
    ),
    "a quarter turn of train in val": (
        lambda d: (save(d.image(7), np.rot90(image(1))), save(d.mask(7), np.rot90(mask(1)))), CAUTION, "near leak",
        "turned or mirrored",
    ),
    "twice in train": (lambda d: of_split(d, 4, 1), CAUTION, "twins", "has the pixels of"),
    "twice, with another mask": (
        lambda d: save(d.image(4), image(1)), CAUTION, "two masks", "has different masks",
    ),
    "twice by a link": (twice_by_link, CAUTION, "twins", "leads to the same file as"),
    "absent in train": (lambda d: d.masks(values(_1=0), range(6)), CAUTION, "absent", "'car' never occurs in 6 train"),
    "absent in val": (lambda d: d.masks(values(_1=0), range(6, 10)), CAUTION, "absent", "'car' never occurs in 4 val"),
    "one class": (lambda d: d.masks(values(_1=0, _2=0), range(6)), FAULT, "one class", "only 'road' occurs in 6 train"),
    "nothing labelled": (
        lambda d: save(d.mask(3), np.full((48, 64), 255, np.uint8)), CAUTION, "unlabelled",
        "1 of 6 train masks has no labelled pixel",
    ),
    "image without mask": (lambda d: d.mask(3).unlink(), FAULT, "unpaired", "1 image has no mask ("),
    "mask without image": (lambda d: d.image(3).unlink(), CAUTION, "unpaired", "1 mask without an image is left out"),
    "upper and lower case": (
        lambda d: (rename(d.image(0), "A.png"), rename(d.mask(0), "a.png")), FAULT, "unpaired",
        "a.png differs in upper and lower case",
    ),
    "names of another pattern": (
        lambda d: rename(d.mask(0), "0_mask.png"), FAULT, "unpaired", "`masks: masks/*_mask.png`",
    ),
    "two files for a name": (
        lambda d: save(d.image(0).with_suffix(".bmp"), image(0)), FAULT, "doubled", "1 name stands for two files each",
    ),
    "one name in two cases": (
        in_two_cases, CAUTION, "case", "4 files have names that differ in",
    ),
    "two forms of Unicode": (unicode_names, NOTE, "unicode", "1 pair has names in two forms of Unicode"),
    "link that leads nowhere": (lambda d: link_to(d, d.root / "lost.png"), CAUTION, "link", "1 link leads nowhere ("),
    "loop": (loop, NOTE, "link", "1 link to a folder above is not followed"),
    "junk": (junk, NOTE, "junk", "5 system files are left out ("),
    "empty file": (lambda d: (d.root / "images/train/x.part").touch(), CAUTION, "empty", "1 file is empty"),
    "text among masks": (
        lambda d: (d.root / "masks/train/readme.txt").write_text("x"), NOTE, "text", "readme.txt",
    ),
    "a format that is not read": (
        lambda d: (d.root / "images/train/x.heic").write_bytes(b"x"), CAUTION, "other format",
        "1 image of another format is left out",
    ),
    "16 bits everywhere": (
        deep, CAUTION, "depth", "are nearly black; `rtseg check-data --channels 1` reads all",
    ),
    "nearly black": (
        lambda d: [save(d.image(k), image(k) // 16) for k in range(10)], CAUTION, "black",
        "give the YAML `channels: 3` with the mean",
    ),
    "validation by the training images": (
        same_images, FAULT, "leak",
        "such as " + os.path.join("{root}", "images", "train", "0.png") + "; take",
    ),
    "16 bits": (
        lambda d: save(d.image(2), image(2).astype(np.uint16) * 257), CAUTION, "pixels", "is RGB, 16 bits (",
    ),
    "grey among colour": (lambda d: save(d.image(2), image(2)[..., 0]), NOTE, "pixels", "is grey, 8 bits ("),
    "CMYK": (lambda d: image_of(d, "CMYK"), CAUTION, "pixels", "is CMYK, 8 bits ("),
    "alpha": (half_transparent, CAUTION, "transparent", "in 20.8 % of its pixels; as RGB"),
    "enormous": (
        lambda d: (save(d.image(2), image(2, (480, 640))), save(d.mask(2), mask(2, (480, 640)))),
        CAUTION, "odd size", "with 480x640 where most have 48x64",
    ),
    "of one colour": (lambda d: save(d.image(2), image(2) * 0), CAUTION, "one colour", "1 image is of one colour"),
}  # fmt: skip


@pytest.mark.parametrize("name", PLANTED)
def test_planted(planted: Planted, name: str) -> None:
    plant, severity, kind, says = PLANTED[name]
    plant(planted)
    found = findings(planted.root)
    told = "\n".join(f"{one.severity.word} {one.kind}: {one.text}" for one in found)
    says = says.replace("{root}", str(planted.root))
    assert any(one.severity == severity and one.kind == kind and says in one.text for one in found), told
    assert severity == FAULT or not any(one.severity == FAULT for one in found), told
    assert all(os.path.lexists(file) for one in found for file in one.files)
    print(name, "|", told)
