"""CVAT's, Pascal VOC's, Mapillary's and Roboflow's masks: numbers and colours become the classes they stand for."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rtseg.data.labels.voc import voc_colors
from rtseg.errors import UserError
from tests.helpers.labels import Convert, Picture, masks, write_json

SIZE = (6, 8)
LABELS = np.arange(48, dtype=np.uint8).reshape(SIZE) % 3  # 0 is background
MAP = "# label:color_rgb:parts:actions\nroad:128,64,128::\nbackground:0,128,0::\nbig:car:10,10,128::\n"
COLORS = np.array([(0, 128, 0), (128, 64, 128), (10, 10, 128)], np.uint8)


def save(path: Path, labels: np.ndarray, palette: np.ndarray | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    file = Image.fromarray(labels)
    if palette is not None:
        file.putpalette(palette.astype(np.uint8).tobytes())
    file.save(path)


def cvat(folder: Path, picture: Picture, mask: np.ndarray, palette: np.ndarray | None = None) -> Path:
    folder.mkdir()
    (folder / "labelmap.txt").write_text(MAP)
    (folder / "ImageSets" / "Segmentation").mkdir(parents=True)
    (folder / "ImageSets" / "Segmentation" / "default.txt").write_text('"day 1/a"\n')
    save(folder / "SegmentationClass" / "day 1" / "a.png", mask, palette)
    picture(folder.parent / "images" / "day 1" / "a.jpg", SIZE)
    return folder


@pytest.mark.parametrize("kind", ["colours", "palette", "numbers"])
def test_cvat(tmp_path: Path, picture: Picture, converted: Convert, kind: str) -> None:
    """`background` may have any colour and any place; a label may have a colon."""
    mask, palette = COLORS[LABELS], None
    if kind == "palette":
        mask, palette = LABELS + 5, np.concatenate([np.ones((5, 3)), COLORS])
    elif kind == "numbers":
        mask = np.array([1, 0, 2], np.uint8)[LABELS]
    folder = cvat(tmp_path / "in", picture, mask, palette)
    with pytest.raises(UserError, match=r"'Save images'.*: day 1/a|masks? without an image"):
        converted(folder, unlabelled="ignore")
    with pytest.raises(UserError, match=r"16 pixels .* where nobody drew"):
        converted(folder, images=tmp_path / "images")
    summary = converted(folder, images=tmp_path / "images", unlabelled="background", val=0)
    assert summary.names == ("background", "road", "big:car")
    assert np.array_equal(masks(tmp_path / "out")["a"], LABELS)
    assert (tmp_path / "out" / "masks" / "train" / "day 1" / "a.png").is_file()


def test_colours_that_the_map_lacks(tmp_path: Path, picture: Picture, converted: Convert) -> None:
    mask = COLORS[LABELS]
    mask[:2, :3] = (1, 2, 3)
    folder = cvat(tmp_path / "in", picture, mask)
    with pytest.raises(UserError, match=r"1 mask with colours of no class .*a.png: #010203 in 6 pixels"):
        converted(folder, images=tmp_path / "images", unlabelled="ignore")
    for line in ("road:128,64::", "road:1,2,256::", "road:1,1,1::\nroad:2,2,2::", "a:1,1,1::\nb:1,1,1::"):
        (folder / "labelmap.txt").write_text(line)
        with pytest.raises(UserError, match=r"labelmap.txt': "):
            converted(folder, images=tmp_path / "images", unlabelled="ignore")


def test_pascal_voc(tmp_path: Path, picture: Picture, converted: Convert) -> None:
    labels = np.where(LABELS == 2, 255, LABELS * 15).astype(np.uint8)
    for name in ("2007_1", "2007_2", "2007_3"):
        picture(tmp_path / "in" / "JPEGImages" / f"{name}.jpg", SIZE)
        palette = np.array([*voc_colors(255), (224, 224, 192)])
        as_colors = palette[labels].astype(np.uint8)
        save(
            tmp_path / "in" / "SegmentationClass" / f"{name}.png",
            *((as_colors,) if name[-1] == "3" else (labels, palette)),
        )
    lists = tmp_path / "in" / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    for split, names in {"train": "2007_1\n2007_3\n", "val": "2007_2\n", "trainval": "2007_1\n2007_2\n"}.items():
        (lists / f"{split}.txt").write_text(names)
    summary = converted(tmp_path / "in", unlabelled="background")
    assert summary.images == {"train": 2, "val": 1}
    assert len(summary.names) == 21
    assert summary.names[15] == "person"
    found = masks(tmp_path / "out")
    assert np.array_equal(found["2007_1"], labels)
    assert np.array_equal(found["2007_3"], labels), "a mask of colours"
    (lists / "val.txt").write_text("2007_9\n")
    with pytest.raises(UserError, match=r"image without a mask \(2007_9\)"):
        converted(tmp_path / "in", unlabelled="background")


def test_names_of_labelme2voc(tmp_path: Path, picture: Picture, converted: Convert) -> None:
    picture(tmp_path / "in" / "JPEGImages" / "a.jpg", SIZE)
    save(tmp_path / "in" / "SegmentationClass" / "a.png", LABELS)
    (tmp_path / "in" / "class_names.txt").write_text("_background_\ncat\n")
    with pytest.raises(UserError, match=r"1 mask with numbers of no class .*a.png: 2 in 16 pixels"):
        converted(tmp_path / "in", unlabelled="ignore")
    (tmp_path / "in" / "class_names.txt").write_text("_background_\ncat\ndog\n")
    converted(tmp_path / "in", unlabelled="ignore", val=0)
    assert np.array_equal(masks(tmp_path / "out")["a"], np.where(LABELS, LABELS - 1, 255))


def test_mapillary(tmp_path: Path, picture: Picture, converted: Convert) -> None:
    """The newer of two versions is read; what is not evaluated is ignored, and nothing is asked."""
    for version, names in {"v1.2": "ab", "v2.0": "xyz"}.items():
        labels = [{"name": name, "color": [k, 1, 2], "evaluate": name != "y"} for k, name in enumerate(names)]
        write_json(tmp_path / "in" / f"config_{version}.json", {"labels": labels})
        for part in ("training", "validation"):
            save(tmp_path / "in" / part / version / "labels" / "a.png", LABELS)
            picture(tmp_path / "in" / part / "images" / "a.jpg", SIZE)
    picture(tmp_path / "in" / "testing" / "images" / "b.jpg", SIZE)
    summary = converted(tmp_path / "in")
    assert summary.names == ("x", "z")
    assert summary.images == {"train": 1, "val": 1}
    assert np.array_equal(masks(tmp_path / "out")["a"], np.array([0, 255, 1], np.uint8)[LABELS])


def test_roboflow(tmp_path: Path, picture: Picture, converted: Convert) -> None:
    for part in ("train", "valid"):
        picture(tmp_path / "in" / part / "a_jpg.rf.1.jpg", SIZE)
        save(tmp_path / "in" / part / "a_jpg.rf.1_mask.png", LABELS)
        (tmp_path / "in" / part / "_classes.csv").write_text("Pixel Value, Class\n0, background\n1, leaf\n2, pot\n")
    assert converted(tmp_path / "in", unlabelled="ignore").names == ("leaf", "pot")
    assert np.array_equal(masks(tmp_path / "out")["a_jpg.rf.1"], np.where(LABELS, LABELS - 1, 255))
    (tmp_path / "in" / "train" / "_classes.csv").write_text("Pixel Value, Class\nzero, background\n")
    with pytest.raises(UserError, match="is not a pixel value and a class"):
        converted(tmp_path / "in" / "train")


def test_text_that_is_none(tmp_path: Path, picture: Picture, converted: Convert) -> None:
    """Damaged lists end in a sentence with their names."""
    folder = cvat(tmp_path / "in", picture, LABELS)
    damaged = [folder / "labelmap.txt", folder / "ImageSets" / "Segmentation" / "default.txt"]
    for file in damaged:
        before = file.read_bytes()
        file.write_bytes(b"\xff\xfe")
        with pytest.raises(UserError, match=rf"{file.name}' is not UTF-8 text \(byte 0\)"):
            converted(folder, images=tmp_path / "images", unlabelled="ignore")
        file.write_bytes(before)
    damaged[1].write_text(' \n"\n"day 1/a"\n')
    assert converted(folder, images=tmp_path / "images", unlabelled="ignore").images.total() == 1
    with pytest.raises(UserError, match=r"has no \.json with images"):
        converted(folder, format="coco")
