"""`rtseg predict --labels`: what `rtseg convert-labels` makes of its files are the class maps again, to the pixel."""

import json
import shutil
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from rtseg.cli import main
from rtseg.data.dataset import create_dataset
from rtseg.data.fill import crosses_itself, windings
from rtseg.data.labels.convert import Choices, convert
from rtseg.data.labels.cvat import HEAD, labels_of
from rtseg.data.polygons import polygons
from rtseg.deploy.folder.label_files import check_classes, write_labels
from rtseg.deploy.folder.labelme import one_ring
from rtseg.errors import UserError
from rtseg.models.segmenter import Segmenter
from tests.helpers.command import exit_status

NAMES = ("road", "car", "background")
CLASS_MAPS = arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.integers(0, 2))
SLOW = pytest.mark.slow
TOOLS = {"coco": "coco.json", "cvat": "cvat.zip", "labelme": "labelme"}


def results(folder: Path, class_maps: dict[str, np.ndarray], palette: tuple[tuple[int, int, int], ...]) -> Path:
    """Images, and what `rtseg predict` writes of them."""
    shutil.rmtree(folder, ignore_errors=True)
    classes = [
        {"name": name, "id": 7 * k, "rgb": color} for k, (name, color) in enumerate(zip(NAMES, palette, strict=True))
    ]
    lines = [json.dumps({"network": "n", "alpha": None, "classes": classes})]
    for name, class_map in class_maps.items():
        for path, content in (
            (folder / "in" / f"{name}.png", class_map),
            (folder / "out" / f"{name}.png", 7 * class_map),
        ):
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), content)
        lines.append(json.dumps({"name": name, "image": f"{name.rpartition('/')[2]}.png", "pixels": {}}))
    (folder / "out" / "predictions.jsonl").write_text("\n".join(lines))
    return folder


def check_round_trip(tool: str, folder: Path, class_maps: dict[str, np.ndarray]) -> None:
    write_labels(tool, folder / "out", [folder / "in"])
    choices = Choices(unlabelled="background", val=0, images=None if tool == "labelme" else folder / "in")
    summary = convert(folder / "out" / TOOLS[tool], folder / "back", choices)
    dataset = create_dataset("folder", folder / "back", "train")
    back = {
        pair[0].relative_to(folder / "back/images/train").with_suffix("").as_posix(): k
        for k, pair in enumerate(dataset.pairs)
    }
    assert back.keys() == class_maps.keys()
    for name, class_map in class_maps.items():
        mask = dataset[back[name]].mask
        found = np.array([NAMES.index(name) for name in summary.names])[mask]
        assert np.array_equal(found, class_map)
    assert not any(summary.counts[key] for key in ("overlapped", "crossed", "clipped", "empty"))


@pytest.mark.parametrize("tool", TOOLS)
@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(class_map=CLASS_MAPS)
def test_class_maps_come_back_to_the_pixel(tmp_path: Path, tool: str, class_map: np.ndarray) -> None:
    palette = ((0, 0, 0), (9, 9, 9), (9, 9, 9))  # which CVAT could not tell apart
    maps = {"a": class_map, "b c/d": class_map[::-1]}
    check_round_trip(tool, results(tmp_path / "house", maps, palette), maps)


@settings(max_examples=20, deadline=None)
@given(arrays(bool, st.tuples(st.integers(3, 12), st.integers(3, 12))))
def test_a_ring_with_cuts_covers_the_part(mask: np.ndarray) -> None:
    found = np.zeros(mask.shape, bool)
    for part in polygons(mask, edges=True):
        region, turns = windings(one_ring(part), mask.shape)
        assert not crosses_itself(turns)
        assert not (found[region] & (turns & 1).astype(bool)).any()
        found[region] |= (turns & 1).astype(bool)
    assert np.array_equal(found, mask)


@pytest.mark.slow
@pytest.mark.parametrize("tool", TOOLS)
def test_many_class_maps_come_back(tmp_path: Path, tool: str) -> None:
    rng = np.random.default_rng(0)
    for k in range(60):
        shape = (int(rng.integers(1, 40)), int(rng.integers(1, 40)))
        maps = {f"m{number}": rng.choice(3, shape, p=[0.6, 0.3, 0.1]).astype(np.uint8) for number in range(3)}
        check_round_trip(tool, results(tmp_path / str(k), maps, ((9, 9, 9), (4, 5, 6), (0, 0, 0))), maps)


def test_cvat_cannot_tell_two_apart(tmp_path: Path) -> None:
    class_map = np.zeros((3, 4), np.uint8)
    folder = results(tmp_path / "house", {"a": class_map, "b": class_map}, ((1, 2, 3), (4, 5, 6), (7, 8, 9)))
    record = folder / "out" / "predictions.jsonl"
    record.write_text(record.read_text().replace('"b.png"', '"a.jpg"'))
    with pytest.raises(UserError, match="two images called 'a'"):
        write_labels("cvat", folder / "out", [folder / "in"])
    assert not (folder / "out" / "cvat.zip").exists()


def test_cvat_keeps_each_name_or_refuses_it(tmp_path: Path) -> None:
    """`#` begins a comment in CVAT's lists: of classes, which is refused, and of images, which are quoted."""
    one, many = np.zeros((2, 3), np.uint8), ((1, 2, 3), (4, 5, 6), (7, 8, 9))
    check_round_trip("cvat", results(tmp_path / "house", {"#1": one}, many), {"#1": one})
    with zipfile.ZipFile(tmp_path / "house" / "out" / "cvat.zip") as archive:
        assert archive.read("ImageSets/Segmentation/default.txt") == b'"#1"\n'
    for name in ("#car", " #car", "", "a\nb", "a\u2028b"):
        with pytest.raises(UserError, match=r"has no place in CVAT's labelmap\.txt"):
            check_classes("cvat", ["road", name])
    for name in ("c#", "a:b", "Ärger", "car "):
        check_classes("cvat", [name])
        (tmp_path / "labelmap.txt").write_text(f"{HEAD}\n{name}:1,2,3::\n", encoding="utf-8")
        assert list(labels_of(tmp_path / "labelmap.txt")) == [name]
    check_classes("coco", ["#car"])


@pytest.mark.parametrize(
    "tool", ["labelme", *(pytest.param(tool, marks=pytest.mark.slow) for tool in ("coco", "cvat"))]
)
def test_the_command(tmp_path: Path, segmenter: Segmenter, tool: str, capsys: pytest.CaptureFixture[str]) -> None:
    segmenter.save_pretrained(tmp_path / "net")
    (tmp_path / "in").mkdir()
    cv2.imwrite(str(tmp_path / "in" / "a.png"), np.random.default_rng(0).integers(0, 256, (40, 56, 3), np.uint8))
    words = ["predict", str(tmp_path / "net"), str(tmp_path / "in"), "-o", str(tmp_path / "out"), "--labels", tool]
    assert exit_status(main, *words, "--no-overlay", "--device", "cpu") == 0
    assert f"{TOOLS[tool]}: 1 image" in capsys.readouterr().out
    back = [str(tmp_path / "out" / TOOLS[tool]), "-o", str(tmp_path / "back"), "--val", "0", "--unlabelled", "ignore"]
    assert exit_status(main, "convert-labels", *back, "--images", str(tmp_path / "in")) == 0
    mask = create_dataset("folder", tmp_path / "back", "train")[0].mask
    class_map = cv2.imread(str(tmp_path / "out" / "a.png"), cv2.IMREAD_UNCHANGED)
    assert mask.shape == (40, 56)
    pairs = set(zip(mask.ravel().tolist(), np.asarray(class_map).ravel().tolist(), strict=True))
    assert len(pairs) == len({one for one, _ in pairs}) == len({other for _, other in pairs}), (
        "one number for each class"
    )
