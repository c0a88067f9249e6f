"""`validate` by a protocol: its counts are those of the averaged logits, on one process and on several."""

import json
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from rtseg.cli import main
from rtseg.deploy.protocol import Protocol
from rtseg.metrics import confusion_matrix
from rtseg.training.datamodule import SegmentationData
from rtseg.training.module import SegmentationModule
from tests.helpers.processes import DDP, finished

QUIET: dict[str, Any] = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}


def validated(
    root: Path, tiny_model: dict[str, Any], protocol: str, upsampling: Any = "once"
) -> tuple[SegmentationModule, dict[str, float]]:
    torch.manual_seed(3)
    module = SegmentationModule(num_classes=11, **tiny_model)
    data = SegmentationData("camvid", str(root), num_workers=0, eval_resize=(48, 90), upsampling=upsampling)
    module.protocol = Protocol.parse(protocol, resize=(48, 90), upsampling=upsampling)
    (found,) = L.Trainer(accelerator="cpu", **QUIET).validate(module, data, verbose=False)
    return module, dict(found)


def test_one_window_over_everything_is_the_whole(tiny_camvid: Path, tiny_model: dict[str, Any]) -> None:
    """What is counted some rows at a time is what is counted at once."""
    (whole, expected), (module, found) = (
        validated(tiny_camvid, tiny_model, text, "twice") for text in ("whole", "slide:512x512:512x512")
    )
    assert module.scores is not None
    assert whole.scores is not None
    assert torch.equal(module.scores.confusion, whole.scores.confusion)
    assert module.scores.json() == whole.scores.json()
    assert found["val/loss"] == pytest.approx(expected["val/loss"], rel=1e-5)


@pytest.mark.slow
def test_mirror_images_are_averaged(tiny_camvid: Path, tiny_model: dict[str, Any]) -> None:
    module, found = validated(tiny_camvid, tiny_model, "flip")
    module.eval()
    counts, losses = torch.zeros(11, 11, dtype=torch.int64), []
    data = SegmentationData("camvid", str(tiny_camvid), num_workers=0, eval_resize=(48, 90))
    with torch.no_grad():
        for batch in data.val_dataloader():
            image, mask = module.prepare(batch.image[None].float()), batch.mask.long()

            def up(logits: Tensor, size: Any = mask.shape) -> Tensor:
                return F.interpolate(logits, size, mode="bilinear")

            logits = (up(module.evaluated.logits(image)) + up(module.evaluated.logits(image.flip(3)).flip(3))) / 2
            counts += confusion_matrix(logits[0].argmax(0), mask, 11)
            losses.append(F.cross_entropy(logits, mask[None], ignore_index=255))
    assert module.scores is not None
    assert torch.equal(module.scores.confusion, counts)
    assert found["val/loss"] == pytest.approx(torch.stack(losses).mean().item(), rel=1e-5)


@pytest.mark.slow
def test_other_protocols_are_refused_before_anything_is_built(
    tiny_camvid: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for words, says in (
        (("--protocol", "city"), "'city' is none of its parts. Good are whole, cityscapes, ade20k"),
        (("--boundary", "7"), "0.02 in the paper"),
    ):
        with pytest.raises(SystemExit) as end:
            main(["validate", "--model.weights", str(tmp_path), "--data.dataset=camvid", f"--data.root={tiny_camvid}",
                  *words])  # fmt: skip
        assert end.value.code == 2
        assert says in " ".join(capsys.readouterr().err.split())


@pytest.mark.slow
def test_two_processes_count_as_one(tiny_camvid: Path, tmp_path: Path) -> None:
    data = ("--data.dataset=camvid", f"--data.root={tiny_camvid}", "--data.num_workers=0", "--trainer.accelerator=cpu")
    small = "--model.options={base_channels: 8, head_channels: 8, spp_channels: 8, cross_size: 2, drop_path: 0.0}"
    finished("fit", *data, small, "--trainer.max_steps=1", "--data.batch_size=2", "--data.crop_size=[32,32]",
             "--fps.enabled=false", "--trainer.devices=1", f"--output={tmp_path / 'run'}")  # fmt: skip
    texts = []
    for devices in (("--trainer.devices=1",), DDP):
        file = tmp_path / f"{len(devices)}.json"
        finished("validate", f"--ckpt_path={tmp_path / 'run' / 'last.ckpt'}", *data, *devices, "--boundary=0.02",
                 "--protocol=ade20k+ms-flip:0.5,1+slide:256x256:128x128", "-o", str(file))  # fmt: skip
        texts.append(file.read_text())
    assert texts[0] == texts[1]
    found = json.loads(texts[0])
    assert found["protocol"] == "ade20k+ms-flip:0.5,1+slide:256x256:128x128"
    assert found["eval_resize"] == [512, 2048]
    assert len(found["images"]) == 3
