"""What all formats share: splits, names, images that are turned, archives, and that nothing is half-written."""

import json
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from rtseg.cli import main
from rtseg.data.dataset import create_dataset
from rtseg.data.files import read_image
from rtseg.data.labels.find import FORMATS
from rtseg.data.labels.split import split
from rtseg.errors import UserError
from tests.helpers.command import check_refused, exit_status
from tests.helpers.labels import Convert, Picture, masks, write_json

CORNER = [[1.0, 2.0], [5.0, 2.0], [5.0, 4.0], [1.0, 4.0]]


def label(image: Path, height: int, width: int) -> Path:
    """A file of LabelMe beside an image, with one shape near the left upper corner."""
    shapes = [{"label": "car", "points": CORNER, "shape_type": "polygon"}]
    content = {"version": "5.5.0", "shapes": shapes, "imagePath": image.name, "imageHeight": height}
    return write_json(image.with_name(f"{image.name}.json"), {**content, "imageWidth": width})


def labelled(picture: Picture, folder: Path, *names: str) -> Path:
    for name in names:
        label(picture(folder / name, (6, 8)), 6, 8)
    return folder


def test_splits_do_not_change_when_images_are_added() -> None:
    names = [f"film/{k}" for k in range(400)]
    few, many = split(names[:200], 0.2), split(names, 0.2)
    assert many[:200] == few
    assert 0.15 < many.count("val") / 400 < 0.25
    assert [split(names[:number], 0.01).count("val") for number in (1, 2, 3)] == [0, 1, 1]
    assert set(split(names[:5], 0)) == {"train"}
    assert sorted(split(names[:2], 0.999)) == ["train", "val"]


def test_the_split_of_the_source_is_kept(tmp_path: Path, picture: Picture, converted: Convert) -> None:
    folder = labelled(picture, tmp_path / "in", "train/a.png", "train/b.png", "valid/a.png", "test/a.png")
    with pytest.raises(UserError, match="leave --val out"):
        converted(folder, unlabelled="ignore", val=0.5)
    summary = converted(folder, unlabelled="ignore")
    assert summary.images == {"train": 2, "val": 1, "test": 1}
    assert summary.divided is None
    assert len(create_dataset("folder", tmp_path / "out", "test")) == 1


def test_equal_names_stay_apart(tmp_path: Path, picture: Picture, converted: Convert) -> None:
    folder = labelled(picture, tmp_path / "in", "x/a.png", "y/a.png", "y/a.jpg", ".hidden.png", "A b.png")
    (folder / ".hidden.png.json").rename(folder / "hidden.json")
    assert converted(folder, unlabelled="ignore", val=0).images == {"train": 5}
    dataset = create_dataset("folder", tmp_path / "out", "train")
    names = {pair[0].relative_to(tmp_path / "out" / "images" / "train").as_posix() for pair in dataset.pairs}
    assert names == {"x/a.png", "y/a.png.png", "y/a.jpg.jpg", "_hidden.png", "A b.png"}


@pytest.mark.parametrize("orientation", [3, 5, 6, 7, 8])
def test_images_that_exif_turns(tmp_path: Path, picture: Picture, converted: Convert, orientation: int) -> None:
    """Labels of the upright image are taken as they are; those of the file's pixels, where sizes differ, are turned."""
    swapped = orientation > 4
    upright = label(picture(tmp_path / "in" / "upright.jpg", (6, 8), orientation), *((8, 6) if swapped else (6, 8)))
    summary = converted(upright, unlabelled="background", val=0)
    expected = np.zeros((8, 6) if swapped else (6, 8), np.uint8)
    expected[2:4, 1:5] = 1
    assert np.array_equal(masks(tmp_path / "out")["upright"], expected)
    assert not summary.counts["turned"]
    if swapped:
        summary = converted(label(picture(tmp_path / "in" / "raw.jpg", (6, 8), orientation), 6, 8), unlabelled="ignore")
        assert summary.counts["turned"] == 1
        stored = np.full((6, 8, 3), 255, np.uint8)
        stored[2:4, 1:5] = 0
        exif = Image.Exif()
        exif[0x0112] = orientation
        Image.fromarray(stored).save(tmp_path / "oracle.png", exif=exif)
        assert np.array_equal(masks(tmp_path / "out")["raw"], read_image(tmp_path / "oracle.png")[..., 0])


def test_labels_of_another_size_are_refused(tmp_path: Path, picture: Picture, converted: Convert) -> None:
    with pytest.raises(UserError, match=r"1 image of another size than their labels .*: 6x8, labels 12x16"):
        converted(label(picture(tmp_path / "in" / "a.jpg", (6, 8)), 12, 16), unlabelled="ignore")


def test_images_of_more_channels(tmp_path: Path, converted: Convert) -> None:
    (tmp_path / "in").mkdir()
    for name, channels in (("a.npy", 5), ("b.tif", 4)):
        pixels = np.zeros((6, 8, channels), np.uint16)
        if name == "a.npy":
            np.save(tmp_path / "in" / name, pixels)
        else:
            cv2.imwrite(str(tmp_path / "in" / name), pixels)
        label(tmp_path / "in" / name, 6, 8)
    assert converted(tmp_path / "in", unlabelled="ignore", val=0).images.total() == 2
    written = tmp_path / "out" / "images" / "train"
    assert (written / "a.npy").read_bytes() == (tmp_path / "in" / "a.npy").read_bytes()
    assert (written / "b.tif").is_file()


def test_images_are_copied_or_linked(tmp_path: Path, picture: Picture, converted: Convert) -> None:
    folder = labelled(picture, tmp_path / "in", "a.png", "b.png")
    before = (folder / "a.png").read_bytes()
    converted(folder, unlabelled="ignore", val=0, link=True)
    linked = tmp_path / "out" / "images" / "train" / "a.png"
    assert linked.is_symlink()
    converted(folder, unlabelled="ignore", val=0)
    assert not linked.is_symlink()
    assert linked.read_bytes() == before
    mask = tmp_path / "out" / "masks" / "train" / "a.png"
    with Image.open(mask) as file:
        assert file.mode == "P", "people see colours"
        assert file.convert("RGB").getcolors(9) is not None


def test_a_zip_and_what_is_refused_of_one(tmp_path: Path, picture: Picture, converted: Convert) -> None:
    folder = labelled(picture, tmp_path / "in", "a.png", "b.png")
    good, slip, bomb = (tmp_path / f"{name}.zip" for name in ("good", "slip", "bomb"))
    with zipfile.ZipFile(good, "w") as archive:
        for file in folder.iterdir():
            archive.write(file, f"export/{file.name}")
    with zipfile.ZipFile(slip, "w") as archive:
        archive.writestr("../../evil.json", "{}")
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.json", bytes(2**25 + 1))
    with zipfile.ZipFile(tmp_path / "empty.zip", "w"):
        pass
    named = rf"^'{tmp_path}/empty\.zip' is of no label tool"
    for file, says in ((slip, "leads out of it"), (bomb, "nothing was unpacked"), (tmp_path / "empty.zip", named)):
        with pytest.raises(UserError, match=says):
            converted(file, unlabelled="ignore")
    (tmp_path / "cut.zip").write_bytes(good.read_bytes()[:200])
    with pytest.raises(UserError, match="cannot be unpacked"):
        converted(tmp_path / "cut.zip", unlabelled="ignore")
    with pytest.raises(UserError, match="--link"):
        converted(good, unlabelled="ignore", link=True)
    assert not (tmp_path.parent / "evil.json").exists()
    assert converted(good, unlabelled="ignore").images.total() == 2
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["dataset.yaml", "images", "masks"]


def test_the_command(tmp_path: Path, picture: Picture, capsys: pytest.CaptureFixture[str]) -> None:
    folder, out = str(labelled(picture, tmp_path / "in", *(f"{k}.png" for k in range(8)))), str(tmp_path / "out")
    check_refused(exit_status(main, "convert-labels", folder, "-o", out), "--unlabelled background", capsys)
    assert exit_status(main, "convert-labels", folder, "-o", out, "--unlabelled", "background") == 0
    said = capsys.readouterr().out
    assert "LabelMe: 8 images" in said
    assert "chosen by a hash of their names" in said
    assert "Unlabelled: 83.3 % of the pixels became the class `background`" in said
    check_refused(exit_status(main, "convert-labels", folder, "-o", out), "is not empty", capsys)
    check_refused(exit_status(main, "convert-labels", folder, "-o", f"{out}2", "--format", "yol"), "--format", capsys)
    assert exit_status(main, "convert-labels", "--help") == 0
    page = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert all(name in page for name in FORMATS)


def test_the_command_on_one_image(tmp_path: Path, picture: Picture, capsys: pytest.CaptureFixture[str]) -> None:
    name = next(f"{k}.png" for k in range(99) if split([str(k)], 0.2) == ["val"])
    words = ("convert-labels", str(labelled(picture, tmp_path / "in", name)), "--unlabelled", "ignore")
    assert exit_status(main, *words, "-o", str(tmp_path / "a")) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "No image is for training" in said
    assert "give more images, or --val 0." in said
    assert "rtseg fit" not in said
    assert exit_status(main, *words, "-o", str(tmp_path / "b"), "--val", "0") == 0
    said = capsys.readouterr().out
    assert "rtseg fit" in said
    assert "hash" not in said


def test_a_class_whose_shapes_are_left_out_is_named(
    tmp_path: Path, picture: Picture, capsys: pytest.CaptureFixture[str]
) -> None:
    picture(tmp_path / "in" / "a.png", (6, 8))
    box = [1.0, 2.0, 5.0, 2.0, 5.0, 4.0]
    file = write_json(tmp_path / "in" / "a.json", {
        "images": [{"id": 1, "file_name": "a.png", "height": 6, "width": 8}],
        "categories": [{"id": 1, "name": "car"}, {"id": 2, "name": "pole"}],
        "annotations": [{"id": k, "image_id": 1, "category_id": k, "segmentation": [one], "iscrowd": 0}
                        for k, one in ((1, box), (2, box[:4]))],
    })  # fmt: skip
    words = ("convert-labels", str(file), "-o", str(tmp_path / "out"), "--unlabelled", "ignore", "--val", "0")
    assert exit_status(main, *words, "--broken", "skip") == 0
    assert "In no image: pole. What was left out" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.json", json.dumps({"_via_img_metadata": {}}), "VGG Image Annotator"),
        ("a.json", json.dumps([{"annotations": []}]), "Label Studio"),
        ("a.json", '{"shapes": 3', "is not JSON"),
        ("a.json", json.dumps({"x": 1}), "JSON with the keys x"),
        ("annotations.xml", "<annotations/>", "Segmentation mask 1.1"),
        ("a.txt", "0 0.5 0.5 0.1 0.1", r"1 files \(.txt\)"),
    ],
)
def test_files_of_another_kind(tmp_path: Path, converted: Convert, name: str, content: str, says: str) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / name).write_text(content)
    with pytest.raises(UserError, match=says):
        converted(tmp_path / "in")
