"""The score of `rtseg validate` is that of the class maps that `rtseg predict` writes, for both rules of upsampling."""

from pathlib import Path
from typing import Any

import cv2
import lightning as L
import numpy as np
import pytest
import torch

from rtseg.data.dataset import create_dataset
from rtseg.deploy.folder.image_files import Outputs
from rtseg.deploy.folder.predict_files import predict_files
from rtseg.deploy.predictor import Predictor
from rtseg.errors import UserError
from rtseg.metrics import confusion_matrix, mean_iou
from rtseg.models.model_card import ModelCard
from rtseg.training.datamodule import SegmentationData
from rtseg.training.module import SegmentationModule

Resize = tuple[int, int] | None


def scored(
    root: Path, tiny_model: dict[str, Any], resize: Resize, upsampling: Any, dataset: str = "camvid"
) -> tuple[Any, SegmentationModule]:
    """The scores of a validation, and the module, whose card then has the rule."""
    torch.manual_seed(3)
    data = SegmentationData(dataset, str(root), num_workers=0, eval_resize=resize, upsampling=upsampling)
    module = SegmentationModule(num_classes=data.num_classes, **tiny_model)
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    (scores,) = L.Trainer(**quiet).validate(module, data, verbose=False)  # type: ignore[arg-type]
    return scores, module


@pytest.mark.parametrize("resize", [None, (32, 64), (100, 300)])
@pytest.mark.parametrize("upsampling", ["once", "twice"])
def test_files_of_predict_have_the_score_of_validate(
    tmp_path: Path, tiny_camvid: Path, tiny_model: dict[str, Any], resize: Resize, upsampling: str
) -> None:
    check_files(tmp_path, tiny_camvid, tiny_model, resize, upsampling)


@pytest.mark.slow
@pytest.mark.parametrize("resize", [None, (180, 240), (300, 400)])
@pytest.mark.parametrize("upsampling", ["once", "twice"])
def test_files_of_all_frames_have_the_score_of_validate(
    tmp_path: Path, shared: Path, tiny_model: dict[str, Any], resize: Resize, upsampling: str
) -> None:
    check_files(tmp_path, shared / "data" / "camvid", tiny_model, resize, upsampling)


def check_files(folder: Path, root: Path, tiny_model: dict[str, Any], resize: Resize, upsampling: str) -> None:
    scores, module = scored(root, tiny_model, resize, upsampling)
    assert module.card.upsampling == upsampling
    predictor = Predictor(module.segmenter.eval(), engine="eager:fp32", device="cpu")
    dataset = create_dataset("camvid", root, "val")
    predict_files(predictor, [str(root / "val")], folder / "results", outputs=Outputs(overlays=False))
    confusion = torch.zeros(11, 11, dtype=torch.int64)
    for sample in map(dataset.__getitem__, range(len(dataset))):
        path = folder / "results" / Path(sample.name).with_suffix(".png").name
        classes = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        assert classes is not None
        assert np.array_equal(classes, predictor.predict(sample.image).class_map)
        confusion += confusion_matrix(torch.from_numpy(classes), torch.from_numpy(sample.mask), 11)
    assert mean_iou(confusion).item() == pytest.approx(scores["val/miou"], abs=1e-6)


def test_the_rule_changes_what_is_scored(tiny_camvid: Path, tiny_model: dict[str, Any]) -> None:
    once, twice = (scored(tiny_camvid, tiny_model, (100, 300), rule)[0]["val/loss"] for rule in ("once", "twice"))
    assert once != pytest.approx(twice, abs=1e-6)


def test_other_rules_are_refused(tiny_camvid: Path) -> None:
    with pytest.raises(UserError, match=r"data\.upsampling.*once.*twice"):
        SegmentationData("camvid", str(tiny_camvid), upsampling="thrice")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="upsampling='thrice' must be one of once, twice"):
        ModelCard("m", "none", 2, upsampling="thrice")


def test_an_older_card_upsamples_once() -> None:
    card = ModelCard("m", "none", 2).to_dict()
    del card["upsampling"]
    assert ModelCard.from_dict(card).upsampling == "once"
