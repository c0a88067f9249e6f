"""`rtseg score`: class maps in files against masks in files."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml

from rtseg.cli import main
from rtseg.metrics import confusion_matrix, mean_iou

Maps = list[np.ndarray]
YAML = {"classes": ["a", "b", "c"], "label_map": {0: "a", 7: "b", 255: "c"}, "train": {"images": "i", "masks": "m"}}


def write(folder: Path, maps: Maps, names: str = "{}.png") -> Path:
    for k, one in enumerate(maps):
        file = folder / names.format(k)
        file.parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(file), one)
    return folder


def maps(number: int = 3, values: tuple[int, ...] = (0, 1, 2)) -> Maps:
    rng = np.random.default_rng(number)
    return [np.array(values, np.uint8)[rng.integers(0, len(values), (20 + k, 30))] for k in range(number)]


def score(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    with pytest.raises(SystemExit) as end:
        main(["score", *map(str, words)])
    assert end.value.code == 0
    return " ".join(capsys.readouterr().out.split())


def refused(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    with pytest.raises(SystemExit) as end:
        main(["score", *map(str, words)])
    assert end.value.code == 2
    return " ".join(capsys.readouterr().err.split())


@pytest.fixture
def pred(tmp_path: Path) -> Path:
    return write(tmp_path / "pred", maps())


@pytest.fixture
def masks(tmp_path: Path) -> Path:
    return write(tmp_path / "masks", [np.where(one == 0, 255, one) for one in maps(3)])


def test_counts_and_writes(tmp_path: Path, pred: Path, capsys: pytest.CaptureFixture[str]) -> None:
    truth = [np.roll(one, 3) for one in maps()]
    truth[0][:4] = 255
    masks = write(tmp_path / "masks", truth)
    write(pred, maps(1), "{}_colour.png")  # what `rtseg predict` writes beside
    write(pred, maps(4)[3:], "lonely.png")
    counts = sum(
        (
            confusion_matrix(torch.from_numpy(one), torch.from_numpy(other), 3)
            for one, other in zip(maps(), truth, strict=True)
        ),
        torch.zeros(3, 3, dtype=torch.int64),
    )
    words = (
        pred,
        masks,
        "--classes",
        3,
        "-o",
        tmp_path / "s.json",
        "--boundary",
        0.02,
        "--picture",
        tmp_path / "c.png",
    )
    said = score(capsys, *words)
    assert f"mIoU {mean_iou(counts):.4f}" in said
    assert "not scored: 1 class map without a mask, such as" in said
    assert "lonely.png" in said
    found = json.loads((tmp_path / "s.json").read_text())
    assert found["confusion"] == counts.tolist()
    assert found["boundary_width"] == 0.02
    assert sorted(image["name"] for image in found["images"]) == ["0", "1", "2"]
    assert cv2.imread(str(tmp_path / "c.png")) is not None


def test_a_folder_whose_ids_are_0_7_and_255(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """255 is a class, or it is what does not count."""
    pred = write(tmp_path / "pred", maps(2, (0, 7, 255)))
    masks = write(tmp_path / "masks", maps(2, (0, 7, 255)))
    file = tmp_path / "dataset.yaml"
    file.write_text(yaml.safe_dump(YAML))
    assert "mIoU 1.0000" in (said := score(capsys, pred, masks, "--data", file))
    assert "does not occur" not in said
    file.write_text(yaml.safe_dump(YAML | {"classes": ["a", "b"], "label_map": {0: "a", 7: "b"}, "ignore": 255}))
    said = score(capsys, pred, masks, "--data", tmp_path)
    assert "mIoU 1.0000" in said  # where the mask has 255, nothing counts


def test_cityscapes_names_and_ids(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pred = write(tmp_path / "pred", maps(2, (7, 8, 11)), "ulm/ulm_00000{}_000019_leftImg8bit.png")
    masks = write(tmp_path / "gt", maps(2, (7, 8, 11)), "ulm/ulm_00000{}_000019_gtFine_labelIds.png")
    write(tmp_path / "gt", maps(2), "ulm/ulm_00000{}_000019_gtFine_instanceIds.png")
    assert "mIoU 1.0000" in score(capsys, pred, masks, "--data", "cityscapes")
    numbers = write(tmp_path / "numbers", maps(2), "flat_{}.png")
    flat = write(tmp_path / "flat", maps(2, (7, 8, 11)), "a/flat_{}.png")
    assert "mIoU 1.0000" in score(capsys, numbers, flat, "--data", "cityscapes", "--class-numbers")


def test_cityscapes_folders_may_hold_train_ids(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    masks = write(tmp_path / "masks", maps(2, (7, 8, 11)), "flat_{}_gtFine_labelIds.png")
    write(masks, maps(2), "flat_{}_gtFine_labelTrainIds.png")
    flat = write(tmp_path / "flat", maps(2, (7, 8, 11)), "flat_{}_leftImg8bit.png")
    assert "mIoU 1.0000" in score(capsys, flat, masks, "--data", "cityscapes")


def test_bad_files(tmp_path: Path, pred: Path, masks: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = write(tmp_path / "other", [one[:-1] for one in maps()])
    assert "other/0.png is 19x30, its mask" in refused(capsys, other, masks, "--classes", 3)
    color = write(
        tmp_path / "color", [np.repeat(one[..., None], 3, 2) + np.arange(3, dtype=np.uint8) for one in maps()]
    )
    assert "3 channels" in refused(capsys, color, pred, "--classes", 3)
    beyond = refused(capsys, write(tmp_path / "beyond", maps(3, (0, 1, 9))), pred, "--classes", 3)
    assert "0.png: label" not in beyond
    assert "0.png: 9 (" in beyond
    assert "0, 1, 2" in beyond
    assert "outside the classes" in refused(capsys, pred, write(tmp_path / "wrong", maps(3, (0, 1, 9))), "--classes", 3)
    jpeg = write(tmp_path / "jpeg", maps(), "{}.jpg")
    assert "as JPEG does" in refused(capsys, jpeg, masks, "--classes", 3)
    (jpeg / "0.jpg").rename(jpeg / "0.png")
    assert "JPEG, which changes class numbers" in refused(capsys, jpeg, masks, "--classes", 3)
    (tmp_path / "empty").mkdir()
    assert "no class maps in" in refused(capsys, tmp_path / "empty", masks, "--classes", 3)
    assert "are one folder, whose files equal themselves" in refused(capsys, masks, tmp_path / "masks/", "--classes", 3)
    strange = write(tmp_path / "strange", maps(), "x{}.png")
    assert "no class map has the name of a mask" in refused(capsys, strange, masks, "--classes", 3)


def test_swapped_folders(tmp_path: Path, pred: Path, masks: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (pred / "predictions.jsonl").touch()
    assert "comes second: give the folder of class maps, then" in refused(capsys, masks, pred, "--classes", 3)
    score(capsys, pred, masks, "--classes", 3)
    (masks / "predictions.jsonl").touch()  # those of another network
    score(capsys, pred, masks, "--classes", 3)


def test_bad_options(tmp_path: Path, pred: Path, masks: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words, says in (
        (("--classes", 0), "from 1 to 254"),
        (("--classes", 70000), "from 1 to 254"),
        (("--classes", 3, "--ignore", 2), "this is a class"),
        (("--classes", 3, "--boundary", 3), "share of the image's diagonal"),
        (("--data", "camvit"), "Did you mean 'camvid'?"),
        (("--data", tmp_path / "lost.yaml"), "No such file"),
    ):
        assert says in refused(capsys, pred, masks, *words)
