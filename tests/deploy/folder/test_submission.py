"""`rtseg predict --submission`: the files that the test servers of benchmarks take, or a refusal."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from rtseg.cli import main
from rtseg.data import ade20k, cityscapes
from rtseg.data.dataset import LabelSpace
from rtseg.deploy.folder.image_files import Outputs
from rtseg.deploy.folder.submission import find_submission
from rtseg.errors import UserError
from rtseg.models import create_model
from rtseg.models.model_card import ModelCard

BOTH = {"cityscapes": cityscapes.LABELS, "ade20k": ade20k.LABELS}


def network(folder: Path, labels: LabelSpace) -> Path:
    made = create_model(
        "rtformer_slim", len(labels.names), base_channels=8, spp_channels=8, head_channels=8, cross_size=2
    )
    made.card = replace(made.card, class_names=labels.names, ids=labels.ids, palette=labels.palette)
    made.save_pretrained(folder)
    return folder


def predict(*words: str | Path) -> int:
    with pytest.raises(SystemExit) as end:
        main(["predict", *map(str, words), "--device", "cpu"])
    return int(str(end.value.code or 0))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "image"),
    [("cityscapes", "berlin/berlin_000000_000019_leftImg8bit"), ("ade20k", "ADE_test_00000001")],
)
def test_files_are_those_of_the_server(name: str, image: str, tmp_path: Path) -> None:
    file = tmp_path / "images" / f"{image}.png"
    file.parent.mkdir(parents=True)
    cv2.imwrite(str(file), np.random.default_rng(0).integers(0, 256, (40, 72, 3), dtype=np.uint8))
    trained = network(tmp_path / "net", BOTH[name])
    assert predict(trained, tmp_path / "images", "-o", tmp_path / "out", "--submission", name) == 0
    assert [path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.*g")] == [
        f"{image}.png"
    ]
    found = cv2.imread(str(tmp_path / "out" / f"{image}.png"), cv2.IMREAD_UNCHANGED)
    assert found is not None
    assert found.shape == (40, 72)
    assert set(np.unique(found)) <= set(BOTH[name].ids)


def test_what_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "street.png"
    cv2.imwrite(str(file), np.zeros((40, 72, 3), np.uint8))
    trained = network(tmp_path / "net", cityscapes.LABELS)
    for words, says in (
        (("--submission", "ade20k"), "as ids 1 to 150, and this network has 19 (road, sidewalk, building, …)"),
        (("--submission", "cityscapes"), "image 'street' has no name that the test server of Cityscapes knows"),
        (("--submission", "camvid"), "Known: ade20k, cityscapes"),
        (("--submission", "cityscapes", "--margin"), "leave --margin out"),
    ):
        assert predict(trained, file, "-o", tmp_path / "out", *words) == 2
        assert says in " ".join(capsys.readouterr().err.split())
    assert list((tmp_path / "out").rglob("*.png")) == []


def test_an_image_that_is_there_twice() -> None:
    server = find_submission("cityscapes")
    with pytest.raises(UserError, match="both stand for 'ulm_000000_000019'"):
        server.check_names(["a/ulm_000000_000019_leftImg8bit", "ulm_000000_000019_rightImg8bit"])
    server.check_names(["ulm_000000_000019_leftImg8bit", "ulm_000000_000020_leftImg8bit"])
    with pytest.raises(UserError, match="without names"):
        server.check(ModelCard("m", "none", 19))


def test_nothing_else_lies_in_the_folder(tmp_path: Path) -> None:
    """Pictures of an earlier run would match the server's pattern of names."""
    outputs, name = Outputs(overlays=False, submission="cityscapes"), "ulm_000000_000019_leftImg8bit"
    (tmp_path / f"{name}.png").touch()
    outputs.check_names([name], tmp_path)
    (tmp_path / f"{name}_colour.png").touch()
    with pytest.raises(UserError, match=f"holds other .png files .'{name}_colour.png'."):
        outputs.check_names([name], tmp_path)
