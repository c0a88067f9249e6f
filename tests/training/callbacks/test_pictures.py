"""A validation leaves the images that show every class, with what was predicted and what is true."""

from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
from PIL import Image

from rtseg.data.dataset import create_dataset
from rtseg.deploy.drawing.overlay_colors import distinct_colors
from rtseg.output.examples import read_examples
from rtseg.training.callbacks.pictures import PredictionPictures
from rtseg.training.datamodule import SegmentationData
from rtseg.training.module import SegmentationModule


def test_validation_images_are_kept(tmp_path: Path, tiny_camvid: Path, tiny_model: dict[str, Any]) -> None:
    data = SegmentationData("camvid", str(tiny_camvid), batch_size=2, crop_size=(32, 48), num_workers=0)
    module = SegmentationModule(num_classes=data.num_classes, **tiny_model)
    options: dict[str, Any] = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    callback = PredictionPictures(count=2)
    L.Trainer(accelerator="cpu", default_root_dir=tmp_path, callbacks=[callback], **options).validate(module, data)
    examples = read_examples(tmp_path / "pictures/step_000000")
    assert 2 <= len(examples) <= 3
    dataset = create_dataset("camvid", tiny_camvid, "val")
    truths = {image.name: dataset[k].mask for k, (image, _) in enumerate(dataset.pairs)}
    for example in examples:
        assert (example.truth == truths[example.name]).all()
        assert example.prediction.max() < 11
    shown = set(np.unique([example.truth for example in examples]))
    assert shown | {255} == set(np.unique(list(truths.values()))) | {255}, "every class that the data have"
    with Image.open(tmp_path / "pictures/step_000000/0_truth.png") as drawn:
        colors = np.array(drawn.getpalette()).reshape(-1, 3)[:11]
    assert (colors == distinct_colors(dataset.labels.palette)).all(), "as overlays and the page show them"
    with Image.open(tmp_path / "pictures/step_000000.jpg") as grid:
        assert grid.width == 4 * 320 + 3 * 8
