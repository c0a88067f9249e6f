"""One score by every road: of the training, of `validate`, and of the files of every engine and export.

The score is the same because the counts are, but for pixels whose two best classes are equal up to the rounding of
float32: folding BatchNorm and another order of sums decide them otherwise.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import pytest
import yaml

from rtseg.cli import main
from rtseg.deploy.engines import parse_backend
from rtseg.deploy.folder.image_files import Outputs
from rtseg.deploy.folder.predict_files import predict_files
from rtseg.deploy.predictor import Predictor, load
from rtseg.scores import Scores
from rtseg.scores.files import Classes, find_pairs, score_files
from tests.helpers.processes import DDP, finished, last_scores
from tests.training.test_upsampling import scored

SMALL = ("base_channels: 8", "head_channels: 8", "spp_channels: 8", "cross_size: 2", "drop_path: 0.0")
# Those of a CPU; `compile` is eager, a minute for each size of image, and test_engines.py compares it.
ENGINES = ("reference", "eager", "onnxruntime", "onnxruntime-plain", "openvino", "torch-export", "mnn")
EXPORTS = ("onnx", "xml", "pt2", "mnn")
MNN = ("mnn",)  # whose logits differ by up to 1e-3 of their spread (docs/deploy.md)
TIE = 1e-4  # a margin below it is the rounding of float32: logits are a few units, through some 60 layers


class Layout(NamedTuple):
    """A data set on the disk.

    Attributes:
        data: as `rtseg score --data` takes it.
        root: as `--data.root` takes it.
        images, masks: folders of the validation files.
    """

    name: str
    data: str
    root: Path
    images: Path
    masks: Path


def write(folder: Path, number: int, values: list[int], ending: str = "png", size: tuple[int, int] = (56, 72)) -> None:
    """Images in `images`, masks in `masks` of a folder: patches, whose brightness is that of their class."""
    rng = np.random.default_rng(number)
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    for k in range(number):
        height, width = size[0] + 4 * (k % 2), size[1] - 8 * (k % 2)
        classes = cv2.resize(rng.integers(0, len(values), (3, 4)).astype(np.uint8), (width, height), interpolation=0)
        mask = np.array(values, np.uint8)[classes]
        grey = (classes.astype(float) / max(1, len(values) - 1) * 200).astype(np.uint8)
        image = grey[..., None] + rng.integers(0, 40, (height, width, 3), dtype=np.uint8)
        mask[:3] = 255 if 255 not in values else mask[:3]
        cv2.imwrite(str(folder / "images" / f"{k:03d}.{ending}"), image)
        cv2.imwrite(str(folder / "masks" / f"{k:03d}.png"), mask)


def folder_of_ids(root: Path, *, ignores_255: bool) -> Layout:
    """Masks hold 0, 7 and 255."""
    ids = {0: "a", 7: "b"} | ({} if ignores_255 else {255: "c"})
    for split, number in (("train", 4), ("val", 3)):
        write(root / split, number, list(ids))
    spec = {"classes": list(ids.values()), "label_map": ids}
    parts = {s: {"images": f"{s}/images", "masks": f"{s}/masks"} for s in ("train", "val")}
    (root / "dataset.yaml").write_text(yaml.safe_dump(spec | parts))
    return Layout("folder", str(root), root, root / "val" / "images", root / "val" / "masks")


def ade20k(root: Path) -> Layout:
    """150 classes, JPEG images of several sizes, 0 for what is ignored."""
    for split, number in (("training", 4), ("validation", 3)):
        write(root / split, number, list(range(1, 151)), "jpg")
        for ours, theirs in (("images", "images"), ("masks", "annotations")):
            (root / theirs).mkdir(exist_ok=True)
            (root / split / ours).rename(root / theirs / split)
        for file in (root / "annotations" / split).iterdir():
            mask = cv2.imread(str(file), cv2.IMREAD_UNCHANGED)
            cv2.imwrite(str(file), np.where(mask == 255, 0, mask))  # type: ignore[arg-type]
    return Layout("ade20k", "ade20k", root, root / "images" / "validation", root / "annotations" / "validation")


def camvid(root: Path) -> Layout:
    return Layout("camvid", "camvid", root, root / "val", root / "valannot")


def of_files(predictor: Predictor, layout: Layout, out: Path) -> Scores:
    """The scores of the files that a predictor writes."""
    assert predict_files(predictor, [str(layout.images)], out, outputs=Outputs(overlays=False)) == {}
    return score_files(find_pairs(out, layout.masks), Classes.of_data(layout.data))


def ties_alone_differ(predictor: Predictor, layout: Layout, out: Path) -> bool:
    """Whether files have a predictor's class in every pixel whose two best logits are not equal up to rounding."""
    apart = np.zeros(0, np.float32)
    for image in sorted(layout.images.iterdir()):
        found = predictor.predict(image)
        written = cv2.imread(str(out / f"{image.stem}.png"), cv2.IMREAD_UNCHANGED)
        apart = np.append(apart, found.margin[predictor.to_ids(found.class_map) != written])
    return len(apart) == 0 or float(apart.max()) < TIE


@pytest.mark.parametrize("ignores_255", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_files_have_the_score_of_validate(tmp_path: Path, tiny_model: dict[str, Any], ignores_255: bool) -> None:
    layout = folder_of_ids(tmp_path / "data", ignores_255=ignores_255)
    found, module = scored(layout.root, tiny_model, (100, 300), "once", "folder")
    predictor = Predictor(module.segmenter.eval(), engine="eager:fp32", device="cpu")
    scores = of_files(predictor, layout, tmp_path / "out")
    assert module.scores is not None
    assert scores.miou == pytest.approx(found["val/miou"], abs=1e-6)
    assert scores.to_dict()["confusion"] == module.scores.to_dict()["confusion"]
    assert [f"{name}.png" for name in scores.images.names] == list(module.scores.images.names)  # type: ignore[union-attr]


LAYOUTS: dict[str, Callable[[Path, Path], Layout]] = {
    "camvid": lambda folder, drawn: camvid(drawn),
    "ade20k": lambda folder, drawn: ade20k(folder),
    "255 is a class": lambda folder, drawn: folder_of_ids(folder, ignores_255=False),
    "255 is ignored": lambda folder, drawn: folder_of_ids(folder, ignores_255=True),
}


def command(*words: str | Path) -> None:
    """A command of rtseg to its good end, in this process."""
    with pytest.raises(SystemExit) as end:
        main([str(word) for word in words])
    assert not end.value.code


@pytest.mark.slow
@pytest.mark.parametrize("resize", ["null", "[48,90]"])
@pytest.mark.parametrize("kind", list(LAYOUTS))
def test_every_road(kind: str, resize: str, tmp_path: Path, tiny_camvid: Path) -> None:
    layout, run = LAYOUTS[kind](tmp_path / "data", tiny_camvid), tmp_path / "run"
    data = (f"--data.dataset={layout.name}", f"--data.root={layout.root}", "--data.num_workers=0")
    command(
        "fit", *data, "--trainer.max_epochs=2", "--data.batch_size=2", "--data.crop_size=[32,32]",
        f"--data.eval_resize={resize}", f"--model.options={{{', '.join(SMALL)}}}", "--model.optim.warmup_steps=1",
        "--fps.enabled=false", "--trainer.accelerator=cpu", "--trainer.devices=1", f"--output={run}",
    )  # fmt: skip
    miou = last_scores(run)["val/miou"]
    checkpoint = run / "last.ckpt"
    words = ("validate", f"--ckpt_path={checkpoint}", *data, "--trainer.accelerator=cpu")
    command(*words, "--trainer.devices=1", "-o", tmp_path / "one.json")
    finished(*words, *DDP, "-o", str(tmp_path / "two.json"))
    assert (tmp_path / "one.json").read_text() == (tmp_path / "two.json").read_text(), "to the last count"
    found = {"validate": json.loads((tmp_path / "one.json").read_text())["miou"]}
    for engine in (name for name in ENGINES if parse_backend(name)[0].is_here()):
        predictor = load(checkpoint, engine=f"{engine}:fp32", device="cpu")
        found[engine] = of_files(predictor, layout, tmp_path / engine).miou
    for suffix in EXPORTS:
        command("export", checkpoint, "-o", tmp_path / f"net.{suffix}", "--open-size")
        found[suffix] = of_files(load(tmp_path / f"net.{suffix}"), layout, tmp_path / f"of_{suffix}").miou
    if resize != "null":
        del found["onnxruntime-plain"]  # its class maps have the network's size: they are resized by nearest neighbour
    differ = {road: value - miou for road, value in found.items() if abs(value - miou) > 1e-6}
    judge = load(checkpoint, engine="eager:fp32", device="cpu")
    for road in differ.keys() - set(MNN):  # one pixel of three small images is more than 1e-6
        assert ties_alone_differ(judge, layout, tmp_path / (f"of_{road}" if road in EXPORTS else road)), differ
    assert all(abs(d) < 1e-2 for d in differ.values()), differ
