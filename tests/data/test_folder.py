"""A user's own folder: layouts, label maps, colour masks, and what a wrong YAML is told."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from rtseg.data.dataset import SegmentationDataset, create_dataset, default_palette, label_space
from rtseg.data.folder import ColorDecoder
from rtseg.errors import UserError

Write = Callable[[Path, np.ndarray], Path]
SPLIT = {"images": "images", "masks": "masks"}


def describe(folder: Path, **content: Any) -> Path:
    file = folder / "dataset.yaml"
    file.write_text(yaml.safe_dump({"train": SPLIT, **content}))
    return file


def pair(folder: Path, write: Write, mask: np.ndarray, name: str = "a") -> None:
    write(folder / "images" / f"{name}.jpg", np.zeros((*mask.shape[:2], 3), np.uint8))
    write(folder / "masks" / f"{name}.png", mask)


def mask_of(root: Path, **content: Any) -> np.ndarray:
    return np.asarray(create_dataset("folder", describe(root, **content), "train")[0].mask)


def test_class_numbers_as_they_are(tmp_path: Path, write: Write) -> None:
    pair(tmp_path, write, np.array([[0, 1, 255]], np.uint8))
    np.testing.assert_array_equal(mask_of(tmp_path, classes=["road", "car"]), [[0, 1, 255]])
    labels = label_space("folder", tmp_path)
    assert (labels.names, labels.ids) == (("road", "car"), (0, 1))


def test_label_map_merges_and_ignores(tmp_path: Path, write: Write) -> None:
    pair(tmp_path, write, np.array([[7, 8, 300, 0, 9]], np.uint16))
    label_map = {7: "road", 8: "road", 300: "car", 0: "ignore"}
    out = mask_of(tmp_path, classes=["car", "road"], label_map=label_map, ignore=9)
    np.testing.assert_array_equal(out, [[1, 1, 0, 255, 255]])
    assert label_space("folder", tmp_path).ids == (300, 7)


def test_255_is_ignored_unless_said_otherwise(tmp_path: Path, write: Write) -> None:
    pair(tmp_path, write, np.array([[0, 255]], np.uint8))
    np.testing.assert_array_equal(mask_of(tmp_path, classes=["a"]), [[0, 255]])
    np.testing.assert_array_equal(mask_of(tmp_path, classes=["a", "b"], label_map={0: "a", 255: "b"}), [[0, 1]])
    with pytest.raises(UserError, match=r"a\.png: label 255 \(1 pixel\).*Allowed: 0, 9\."):
        mask_of(tmp_path, classes=["a"], ignore=[9])


@pytest.mark.parametrize("channels", [3, 4])
def test_colour_masks(tmp_path: Path, write: Write, channels: int) -> None:
    rgba = np.array([[[64, 32, 32, 255], [255, 0, 0, 255], [1, 2, 3, 0]]], np.uint8)
    pair(tmp_path, write, np.ascontiguousarray(rgba[..., :channels]))
    colors = {"road": "#402020", "lane": [255, 0, 0], "ignore": [1, 2, 3]}
    np.testing.assert_array_equal(mask_of(tmp_path, classes=["lane", "road"], colors=colors), [[1, 0, 255]])
    assert label_space("folder", tmp_path).palette == ((255, 0, 0), (64, 32, 32))


def test_unknown_colour_is_named_and_counted(tmp_path: Path, write: Write) -> None:
    pair(tmp_path, write, np.array([[[0, 0, 9], [255, 0, 0], [0, 0, 9], [255, 255, 255]]], np.uint8))
    first, second = r"#000009 \(50\.0 %, nearest: black #000000\)", r"#ffffff \(25\.0 %, nearest: lane #ff0000\)"
    says = rf"75\.0 % of the pixels.*{first}, {second}\. "
    with pytest.raises(UserError, match=rf"a\.png: {says}Correct.*`ignore`"):
        mask_of(tmp_path, classes=["lane", "black"], colors={"lane": "#ff0000", "black": "#000000"})


def test_class_numbers_where_colours_are_expected(tmp_path: Path, write: Write) -> None:
    pair(tmp_path, write, np.zeros((2, 2), np.uint8))
    with pytest.raises(UserError, match=r"a\.png: .*\(2, 2\).*remove `colors`"):
        mask_of(tmp_path, classes=["lane"], colors={"lane": "#ff0000"})


@settings(max_examples=30, deadline=None)
@given(
    colors=st.lists(st.tuples(*[st.integers(0, 255)] * 3), min_size=1, max_size=20, unique=True),
    pick=st.lists(st.integers(0, 19), min_size=1, max_size=50),
)
def test_colour_decoding_is_exact(colors: list[tuple[int, int, int]], pick: list[int]) -> None:
    wanted = np.array([[index % len(colors) for index in pick]])
    raw = np.array(colors, np.uint8)[wanted]
    decode = ColorDecoder({color: k for k, color in enumerate(colors)}, [str(color) for color in colors])
    np.testing.assert_array_equal(decode(raw, Path("m.png")), wanted)


def test_sub_folders_and_stars(tmp_path: Path, write: Write) -> None:
    for city, frame in (("ulm", "1"), ("ulm", "2"), ("bonn", "1")):
        write(tmp_path / "left" / city / f"{frame}_image.jpg", np.zeros((2, 3, 3), np.uint8))
        value = len(city) * 10 + int(frame)
        write(tmp_path / "labels" / city / f"{frame}_label.png", np.full((2, 3), value, np.uint8))
        write(tmp_path / "labels" / city / f"{frame}_instances.png", np.full((2, 3), 99, np.uint8))
    label_map = {31: "u1", 32: "u2", 41: "b1"}
    for images, masks in (
        ("left/*/*_image.jpg", "labels/*/*_label.png"),
        ("left/**/*_image.*", "labels/**/*_label.*"),
        ("*/*/*_image.jpg", "*/*/*_label.png"),
    ):
        split = {"images": images, "masks": masks}
        if images.startswith("*"):  # the first star is no longer the same
            with pytest.raises(UserError, match=r"1_image\.jpg has no mask \(3 of 3.*stars stand for the same text"):
                create_dataset("folder", describe(tmp_path, train=split, classes=["u1", "u2", "b1"]), "train")
            continue
        file = describe(tmp_path, train=split, classes=["u1", "u2", "b1"], label_map=label_map)
        dataset = create_dataset("folder", file, "train")
        found = {"/".join(path.parts[-2:]): dataset[k].mask.max() for k, (path, _) in enumerate(dataset.pairs)}
        assert found == {"ulm/1_image.jpg": 0, "ulm/2_image.jpg": 1, "bonn/1_image.jpg": 2}


def test_folders_pair_below_themselves_and_brackets_are_plain(tmp_path: Path, write: Write) -> None:
    write(tmp_path / "my [images]" / "x" / "a.PNG", np.zeros((2, 3, 3), np.uint8))
    write(tmp_path / "other" / "masks" / "x" / "a.png", np.zeros((2, 3), np.uint8))
    (tmp_path / "my [images]" / "notes.txt").touch()
    split = {"images": "my [images]/", "masks": str(tmp_path / "other" / "masks")}
    assert len(create_dataset("folder", describe(tmp_path, train=split, classes=["a"]), "train")) == 1


@pytest.mark.parametrize("images", ["i", "i/", "i/*", "i/**", "i/**/*", "i/*.*", "i/*.jpg", "./i/**/*.JPG"])
def test_ways_to_say_folder(tmp_path: Path, write: Write, images: str) -> None:
    write(tmp_path / "i" / "a.v1.jpg", np.zeros((2, 3, 3), np.uint8))
    write(tmp_path / "m" / "a.v1.png", np.zeros((2, 3), np.uint8))
    file = describe(tmp_path, train={"images": images, "masks": "m/*"}, classes=["a"])
    assert create_dataset("folder", file, "train")[0].name == "a.v1"


def test_palette(tmp_path: Path) -> None:
    describe(tmp_path, classes=["a", "b"], palette=[[1, 2, 3], "#0a0b0c"])
    assert label_space("folder", tmp_path).palette == ((1, 2, 3), (10, 11, 12))
    describe(tmp_path, classes=["a", "b"], palette={"b": "#000001", "a": "#000002"})
    assert label_space("folder", tmp_path).palette == ((0, 0, 2), (0, 0, 1))
    describe(tmp_path, classes=[f"class {k}" for k in range(254)])
    assert label_space("folder", tmp_path).palette == default_palette(254)


BAD = {
    "clases: [a]": r"unknown key 'clases'.*Did you mean 'classes'",
    "[a, b]": r"holds list, not keys and values",
    "": r"is empty, not keys and values",
    "classes: road": r"`classes` is a list of names.*not 'road'",
    "classes: [road, no]": r"`classes` is a list.*quotes",
    "classes: []": r"`classes` is a list of names",
    "train: {images: i, masks: m}": r"`classes` is a list of names.*not None",
    "classes: [a, a]": r"different names",
    "classes: [a, ignore]": r"none of them 'ignore'",
    "classes: [a]": r"no split; give `train:",
    "classes: [a]\ntrain: images": r"`train` is \{images: .*not 'images'",
    "classes: [a]\ntrain: {images: i, mask: m}": r"`train` is \{images: .*masks: ",
    "classes: [a]\ntrain: {images: [i], masks: m}": r"`train` holds \[\['i'\], 'm'\]",
    "classes: [a]\ntrain: {images: i, masks: m}\nlabel_map: {1: b}": r"`label_map` names 'b'.*Known: a, ignore",
    "classes: [a, b]\ntrain: {images: i, masks: m}\nlabel_map: {1: a}": r"`label_map` leaves out b;",
    "classes: [a]\ntrain: {images: i, masks: m}\nlabel_map: [a]": r"`label_map` is \{value: class\}.*not \['a'\]",
    "classes: [a]\ntrain: {images: i, masks: m}\nlabel_map: {x: a}": r"`label_map` holds 'x'.*0 to 65535",
    "classes: [a]\ntrain: {images: i, masks: m}\nlabel_map: {-1: a}": r"`label_map` holds -1.*0 to 65535",
    "classes: [a]\ntrain: {images: i, masks: m}\nignore: 0": r"value 0 is class 'a' and in `ignore`.*label_map",
    "classes: [a]\ntrain: {images: i, masks: m}\nignore: [true]": r"`ignore` holds True",
    "classes: [a]\ntrain: {images: i, masks: m}\ncolors: [a]": r"`colors` is \{class: \[r, g, b\]\}",
    "classes: [a]\ntrain: {images: i, masks: m}\ncolors: {a: red}": r"`colors` of 'a' holds 'red'.*'#rrggbb'",
    "classes: [a]\ntrain: {images: i, masks: m}\ncolors: {a: [0, 0, 256]}": r"`colors` of 'a' holds \[0, 0, 256\]",
    "classes: [a, b]\ntrain: {images: i, masks: m}\ncolors: {a: [0, 0, 0], b: '#000000'}": r"gives \[0, 0, 0\] to 'b'",
    "classes: [a, b]\ntrain: {images: i, masks: m}\ncolors: {a: [0, 0, 0]}": r"`colors` leaves out b",
    "classes: [a]\ntrain: {images: i, masks: m}\ncolors: {a: [0, 0, 0]}\nignore: 0": r"remove `label_map` and `ignore`",
    "classes: [a]\ntrain: {images: i, masks: m}\npalette: [[0, 0, 0], [1, 1, 1]]": r"`palette` .*1 class, 2 colours",
    "classes: [a]\ntrain: {images: i, masks: m}\npalette: {b: '#000000'}": r"`palette` names 'b'",
    "classes: [a": r", line 2: not valid YAML: .*line 1",
}


@pytest.mark.parametrize("text", list(BAD))
def test_a_wrong_yaml_is_told_what_is_right(tmp_path: Path, text: str) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    with pytest.raises(UserError, match=re.compile(rf"{re.escape(str(file))}.*{BAD[text]}", re.DOTALL)):
        label_space("folder", file)


def test_missing_yaml_split_and_files(tmp_path: Path, write: Write) -> None:
    with pytest.raises(UserError, match=r"dataset\.yaml: No such file.*docs/data\.md"):
        create_dataset("folder", tmp_path, "train")
    with pytest.raises(UserError, match=r"described by a YAML file; give it"):
        label_space("folder")
    describe(tmp_path, classes=["a"])
    with pytest.raises(UserError, match=r"dataset\.yaml has no `val` images: add `val: .*limit_val_batches=0"):
        create_dataset("folder", tmp_path, "val")
    with pytest.raises(UserError, match=r"looked for .*/images/\*\*/\*, but in .* there is: dataset\.yaml"):
        create_dataset("folder", tmp_path, "train")
    write(tmp_path / "images" / "a.png", np.zeros((2, 3, 3), np.uint8))
    write(tmp_path / "masks" / "a.jpg", np.zeros((2, 3), np.uint8))
    with pytest.raises(UserError, match=r"looked for .*/masks/\*\*/\*, but in .*masks there is: a\.jpg.*never \.jpg"):
        create_dataset("folder", tmp_path, "train")


def real(tmp_path: Path, folder: Path, images: str, masks: str, **content: Any) -> SegmentationDataset:
    split = {"images": str(folder / images), "masks": str(folder / masks)}
    dataset = create_dataset("folder", describe(tmp_path, train=split, **content), "train")
    for sample in map(dataset.__getitem__, range(len(dataset))):
        assert ((sample.mask < len(dataset.labels.names)) | (sample.mask == 255)).all()
        assert (sample.mask < 255).mean() > 0.2
    return dataset


def test_real_colour_masks(shared: Path, tmp_path: Path) -> None:
    colors = {"road": "#402020", "lane": "#ff0000", "undrivable": "#808060", "movable": "#00ff66", "own car": "#cc00ff"}
    dataset = real(tmp_path, shared / "data" / "comma10k", "imgs", "masks", classes=list(colors), colors=colors)
    assert len(dataset) == 4
    masks = [dataset[k].mask for k in range(4)]
    assert all((mask[-20:] == 4).mean() > 0.5 for mask in masks)  # the own car is below
    assert {name for mask in masks for name in np.unique(mask)} == set(range(5))


def test_real_palette_masks(shared: Path, tmp_path: Path) -> None:
    names = (shared / "data" / "voc3" / "class_names.txt").read_text().split("\n")
    names = [name for name in names if name]
    dataset = real(tmp_path, shared / "data" / "voc3", "JPEGImages", "SegmentationClass", classes=names)
    assert len(dataset) == 3
    first = np.unique(dataset[0].mask)
    assert [names[k] for k in first if k < 255] == ["_background_", "bottle", "person"]


def test_real_number_masks(shared: Path, tmp_path: Path) -> None:
    folder = shared / "data"
    coco = real(tmp_path, folder / "coco_stuff", "train_img", "train_label", classes=[f"c{k}" for k in range(182)])
    assert len(coco) == 13
    names = (folder / "stanford_background" / "classes.txt").read_text().split("\n")
    names = [name for name in names if name]
    assert len(real(tmp_path, folder / "stanford_background", "images", "labels", classes=names)) == 80
    patterns = "leftImg8bit/train/*/*_image.jpg", "gtFine/train/*/*_label.png"
    idd = real(tmp_path, folder / "idd_lite", *patterns, classes=[f"c{k}" for k in range(7)])
    assert len(idd) == 376
    assert all(image.stem.removesuffix("_image") == mask.stem.removesuffix("_label") for image, mask in idd.pairs)
    assert all(image.parent.name == mask.parent.name for image, mask in idd.pairs)
