"""`rtseg check-data` as it is typed: exit status, files, a stopped check, folders without a YAML, bad input."""

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from rtseg.cli import main
from rtseg.data import create_dataset
from rtseg.data.findings.looking import Job
from rtseg.errors import UserError
from rtseg.studies.check_data.record import Record
from rtseg.studies.check_data.source import open_source
from rtseg.training.from_data import choose_class_weights
from tests.helpers.planted import Planted, image, mask


def run(*words: str | Path) -> int:
    """The exit status."""
    with pytest.raises(SystemExit) as end:
        main(["check-data", *map(str, words)])
    return int(end.value.code or 0)


@pytest.fixture
def planted(tmp_path: Path) -> Planted:
    return Planted(tmp_path / "my")


def test_a_clean_folder(planted: Planted, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(planted.root, "--json", tmp_path / "found.json", "--html", tmp_path / "page.html") == 0
    said = capsys.readouterr().out
    assert "train: 6 pairs; median image 48x64 (height x width); 6.2 % of the pixels are ignored." in said
    assert "No fault, no caution, no note." in said
    found = json.loads((tmp_path / "found.json").read_text())
    assert (found["findings"], found["splits"]["val"]["pairs"]) == ([], 4)
    pixels = np.concatenate([image(k)[..., ::-1].reshape(-1, 3) for k in range(6)]) / 255
    assert found["mean"] == pytest.approx(pixels.mean(0), abs=1e-4)
    assert found["std"] == pytest.approx(pixels.std(0), abs=1e-4)
    masks = np.stack([mask(k) for k in range(6)])
    shares = [float((masks == k).sum() / (masks != 255).sum()) for k in range(3)]
    assert [one["shares"]["train"] for one in found["classes"]] == pytest.approx(shares)
    assert [one["weight"] for one in found["classes"]] == list(choose_class_weights(shares))
    page = (tmp_path / "page.html").read_text()
    assert page.count("data:image/jpeg") == 10
    assert "<script" not in page


def test_a_fault_is_the_exit_status_and_its_repair_is_written(planted: Planted, tmp_path: Path) -> None:
    planted.masks(lambda drawn: np.where(drawn == 255, 255, drawn + 1).astype(np.uint8))
    assert run(planted.root, "--yaml", tmp_path / "my" / "repaired.yaml") == 1
    repaired = yaml.safe_load((tmp_path / "my" / "repaired.yaml").read_text())
    assert repaired["label_map"] == {1: "road", 2: "car", 3: "tree"}
    assert run(tmp_path / "my" / "repaired.yaml") == 0


def test_a_yaml_in_another_folder_finds_the_images(planted: Planted, tmp_path: Path) -> None:
    planted.yaml["val"] = {"images": str(planted.root / "images/val"), "masks": "masks/val/*.png"}
    planted.write()
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "deep" / "er")
    assert run(planted.root, "--yaml", tmp_path / "link" / "other.yaml") == 0
    other = yaml.safe_load((tmp_path / "link" / "other.yaml").read_text())
    assert other["train"] == {"images": "../../my/images/train", "masks": "../../my/masks/train"}
    assert other["val"] == {"images": str(planted.root / "images/val"), "masks": "../../my/masks/val/*.png"}
    assert run(tmp_path / "link" / "other.yaml") == 0


def test_a_proposal_without_val_says_so(planted: Planted, capsys: pytest.CaptureFixture[str]) -> None:
    (planted.root / "dataset.yaml").unlink()
    shutil.rmtree(planted.root / "images" / "val")
    assert run(planted.root, "--yaml", planted.root / "dataset.yaml", "--details") == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "no images for `val` were found" in said
    assert "docs/own-images.md#keep-some-images-for-validation" in said
    assert "the YAML to use was guessed from what lies in the folder" in said


def test_a_check_that_was_stopped_resumes(planted: Planted, monkeypatch: pytest.MonkeyPatch) -> None:
    def names(record: Record) -> list[str]:
        return [path.name for path in sorted(planted.root.rglob("*.png")) if record.look(Job("mask", path))]

    assert run(planted.root) == 0
    with Record(planted.root / "dataset.yaml", "folder", None) as other:
        assert names(other) == []
    with Record(planted.root, "folder", None) as record:
        assert len(names(record)) == 10
        cv2.imwrite(str(planted.mask(3)), mask(3)[::-1])
        assert len(names(record)) == 9, "a file that changed is looked at again"
        lines = record.file.read_text()
    record.file.write_text(lines[: len(lines) // 2])  # as a full disk leaves it
    monkeypatch.setattr("rtseg.data.findings.looking.look_at_mask", lambda path: pytest.fail("it was known"))
    planted.mask(3).unlink()
    planted.image(3).unlink()
    with pytest.raises(BaseException, match="it was known"):
        run(planted.root)


# Layouts without a YAML: what the split is said to be.
def beside_each_other(data: Planted) -> dict[str, str]:
    return {"images": "images/train", "masks": "masks/train"}


def of_other_names(data: Planted) -> dict[str, str]:
    for split in ("train", "val"):
        (data.root / split).mkdir()
        (data.root / "images" / split).rename(data.root / split / "imgs")
        (data.root / "masks" / split).rename(data.root / split / "labels")
    return {"images": "train/imgs", "masks": "train/labels"}


def with_endings(data: Planted) -> dict[str, str]:
    for k in range(10):
        data.image(k).rename(data.image(k).with_stem(f"{k}_image"))
        data.mask(k).rename(data.mask(k).with_stem(f"{k}_mask"))
    return {"images": "images/train/*_image.png", "masks": "masks/train/*_mask.png"}


def with_masks_beside_images(data: Planted) -> dict[str, str]:
    for k in range(10):
        data.mask(k).rename(data.image(k).with_stem(f"{k}_mask"))
    return {"images": "images/train/*.png", "masks": "images/train/*_mask.png"}


def in_sub_folders(data: Planted) -> dict[str, str]:
    for k in range(10):
        for file, ending in ((data.image(k), "image"), (data.mask(k), "mask")):
            (file.parent / str(k % 2)).mkdir(exist_ok=True)
            file.rename(file.parent / str(k % 2) / f"{k}_{ending}.png")
    return {"images": "images/train/**/*_image.png", "masks": "masks/train/**/*_mask.png"}


@pytest.mark.parametrize(
    "change",
    [
        beside_each_other,
        with_endings,
        pytest.param(of_other_names, marks=pytest.mark.slow),
        in_sub_folders,
        with_masks_beside_images,
    ],
)
def test_a_yaml_is_proposed(planted: Planted, change, capsys: pytest.CaptureFixture[str]) -> None:  # type: ignore[no-untyped-def]
    train = change(planted)
    (planted.root / "dataset.yaml").unlink()
    (planted.root / "classes.txt").write_text("road\ncar\ntree\n")
    assert run(planted.root, "--yaml", planted.root / "dataset.yaml") == 0
    content = yaml.safe_load((planted.root / "dataset.yaml").read_text())
    assert (content["classes"], content["train"]) == (["road", "car", "tree"], train)
    assert [len(create_dataset("folder", planted.root, split)) for split in ("train", "val")] == [6, 4]
    assert "masks hold the numbers 0, 1, 2, 255" in capsys.readouterr().out


def test_a_yaml_is_proposed_for_what_masks_hold(planted: Planted) -> None:
    (planted.root / "dataset.yaml").unlink()
    planted.masks(lambda drawn: np.where(drawn == 1, 255, 0).astype(np.uint8))
    proposed = open_source("folder", planted.root).yaml
    assert proposed["label_map"] == {0: "background", 255: "object"}
    planted.masks(lambda drawn: np.where(drawn[..., None], [0, 0, 255], [255, 0, 0]).astype(np.uint8))
    assert open_source("folder", planted.root).yaml["colors"] == {"class_0": "#0000ff", "class_1": "#ff0000"}
    planted.masks(lambda drawn: np.where(drawn[..., 2], 2, 1).astype(np.uint8))
    assert open_source("folder", planted.root).yaml["label_map"] == {1: "class_1", 2: "class_2"}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({"classes": []}, "`classes` is a list of names"),
        ({"classes": [f"c{k}" for k in range(300)]}, "`classes` are at most 254, not 300"),
        ("classes: [" + ", ".join(map(str, range(21_000))) + "]", "`classes` are at most 254, not 21,000; merge"),
        pytest.param(
            "classes:\n" + "".join(f"- 'a long name of class {k}'\n" for k in range(70_000)),
            "at most 254, not 70,000; merge or ignore some",
            marks=pytest.mark.slow,
        ),
        ({"classes": {k: f"c{k}" for k in range(300)}}, "`classes` are at most 254, not 300"),
        ({"classes": ["a"], "trian": {}}, "unknown key 'trian'"),
        ([1], "not keys and values"),
        (
            {"classes": ["a", "b"], "train": {"images": "i", "masks": "m"}, "palette": ["#000000"] * 3},
            "2 classes, 3 colours",
        ),
    ],
)
def test_a_yaml_that_is_wrong(planted: Planted, content: object, says: str) -> None:
    (planted.root / "dataset.yaml").write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    with pytest.raises(UserError) as told:
        open_source("folder", planted.root)
    assert says in str(told.value)
    assert str(told.value).startswith(str(planted.root / "dataset.yaml"))
    assert len(str(told.value)) < len(str(planted.root)) + 200
    assert str(told.value).count("\n") == 0


def test_a_folder_of_nothing(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no images in .* give the folder of images and masks, a YAML"):
        open_source("folder", tmp_path)
    cv2.imwrite(str(tmp_path / "a.png"), image(0))
    with pytest.raises(
        UserError, match=rf"like images, and no masks: .* give the folder above \('{tmp_path.parent}'\)"
    ):
        open_source("folder", tmp_path)
    with pytest.raises(UserError, match="no CamVid data in"):
        open_source("camvid", tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "folder"), [("camvid", "camvid"), ("ade20k", "ade20k")])
def test_clean_data_sets(shared: Path, name: str, folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(shared / "data" / folder, "--dataset", name) == 0
    assert "0 faults, 0 cautions" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("folder", ["stanford_background", "voc3", "coco_stuff", "comma10k", "idd_lite"])
def test_clean_folders_without_a_yaml(shared: Path, folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(shared / "data" / folder) == 0
    assert "0 faults, 0 cautions" in capsys.readouterr().out
