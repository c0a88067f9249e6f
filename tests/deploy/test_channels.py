"""Networks for images of any number of channels: one class map by file, array and PIL image, by every engine."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from rtseg.cli import main
from rtseg.data.channels import read_channels
from rtseg.deploy.exports.proof import Proof
from rtseg.deploy.folder.image_files import Outputs
from rtseg.deploy.folder.results import Results
from rtseg.deploy.fuse import check_images, deploy
from rtseg.deploy.pixels import drawn_levels, for_people, read_pixels, to_pixels
from rtseg.deploy.prediction import Prediction
from rtseg.deploy.predictor import Predictor
from rtseg.deploy.windows.tiling import tiling
from rtseg.errors import UserError
from rtseg.models import create_model
from rtseg.models.segmenter import Segmenter, describe
from rtseg.speed.images import Images
from tests.helpers.channel_folders import MEAN, STD, write_folder
from tests.helpers.command import exit_status
from tests.helpers.segmenters import narrow


def run(*words: str) -> None:
    assert exit_status(main, *words) == 0, words


def network(channels: int) -> Segmenter:
    torch.manual_seed(0)
    segmenter = create_model("ddrnet_23_slim", 2, in_channels=channels, **narrow("ddrnet_23_slim")).eval()
    mean, std = MEAN.get(channels, (0.5,) * channels), STD.get(channels, (0.25,) * channels)
    describe(segmenter, mean=mean, std=std, class_names=("ground", "thing"))
    return segmenter


@pytest.mark.parametrize("channels", [4, pytest.param(1, marks=pytest.mark.slow)])
def test_one_class_map_by_file_array_and_pil_image(tmp_path: Path, channels: int) -> None:
    write_folder(tmp_path, channels, train=1, val=1)
    (path,) = (tmp_path / "images" / "val").iterdir()
    predictor = Predictor(network(channels), engine="eager")
    expected = predictor(path)
    stored = tifffile.imread(path) if channels == 4 else np.asarray(Image.open(path))
    assert np.array_equal(predictor(stored), expected)
    assert np.array_equal(predictor(Image.open(path)), expected)
    assert np.array_equal(predictor.predict(path).class_map, expected)
    assert np.array_equal(predictor.batch([path, stored])[1], expected)
    tiled = Predictor(network(channels), engine="eager")
    assert tiled(stored).shape == expected.shape


@pytest.mark.parametrize("channels", [1, 4, 12])
def test_a_deployed_network_takes_levels(channels: int) -> None:
    segmenter = network(channels)
    levels = torch.from_numpy(np.random.default_rng(0).uniform(0, 255, (33, 40, channels)).astype(np.float32))
    deployed = deploy(segmenter)
    mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (segmenter.card.mean, segmenter.card.std))
    image = ((levels.permute(2, 0, 1) / 255 - mean) / std)[None]
    with torch.inference_mode():
        expected = segmenter(image)[0].argmax(0)
        assert (deployed(levels).long() == expected).float().mean() > 0.999
    with pytest.raises(UserError, match=rf"images of float32 grey levels of shape \(H, W, {channels}\)"):
        check_images(levels.byte(), channels)


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (np.zeros((5, 6, 3), np.uint8), r"takes images \(height, width, 4\), not \(5, 6, 3\)"),
        (np.zeros((4, 5, 6), np.uint8), "put channels last"),
        (np.zeros((5, 6, 4), np.int32), "uint8, uint16 or floats"),
        (np.full((5, 6, 4), np.inf), "the image: 120 of 120 values are not finite"),
        (Image.new("CMYK", (6, 5)), "mode CMYK has no plain channels"),
        (Image.new("LAB", (6, 5)), "mode LAB has no plain channels"),
        (Image.new("I", (6, 5)), "mode I has no plain channels"),
        (Image.new("RGB", (6, 5)), r"not \(5, 6, 3\)"),
        (7, "a path, a PIL image or a numpy array"),
    ],
)
def test_another_image_is_one_sentence(image: Any, words: str) -> None:
    with pytest.raises(UserError, match=words):
        to_pixels(image, network(4).card)


def test_a_file_of_other_channels_is_told_what_the_network_takes(tmp_path: Path) -> None:
    Image.new("RGB", (6, 5)).save(tmp_path / "a.png")
    words = r"a\.png: the image has 3 channels \(RGB\), and this network takes 4: give images as"
    for read in (to_pixels, read_pixels):
        with pytest.raises(UserError, match=words):
            read(tmp_path / "a.png", network(4).card)


def test_an_array_is_taken_as_its_file_is(tmp_path: Path) -> None:
    card = network(4).card
    for dtype in ("uint8", "uint16", ">u2", "float32", "float64"):
        array = (np.random.default_rng(0).random((5, 6, 4)) * (1 if "f" in dtype else 250)).astype(dtype)
        np.save(tmp_path / "a.npy", array)
        np.testing.assert_array_equal(to_pixels(array, card), read_channels(tmp_path / "a.npy", 4))


def test_a_proof_of_levels_is_read_as_it_was_written() -> None:
    image = np.random.default_rng(0).normal(0, 1e4, (8, 9, 5)).astype(np.float32)
    proof = Proof(image, np.zeros((8, 9), np.uint8), 99.0, "a test")
    entries = json.loads(json.dumps(proof.to_dict()))
    assert np.array_equal(Proof.from_dict(entries).image, image)
    for damage in (entries["image"][:100], "eNaaaa", entries["image"][::-1]):
        with pytest.raises((ValueError, OSError, SyntaxError)):
            Proof.from_dict(entries | {"image": damage})


def test_drawings_are_of_the_range_that_the_card_says() -> None:
    card, street = network(1).card, np.random.default_rng(0).integers(0, 256, (9, 9, 3)).astype(np.uint8)
    levels = drawn_levels(street, card)
    assert (levels.shape, levels.dtype) == ((9, 9, 1), np.float32)
    assert abs(levels.mean() / 255 - card.mean[0]) < card.std[0]
    assert for_people(levels, card).std() > 40
    (batch,) = Images([], [], torch.device("cpu")).batches((2, 9, 9), card)
    assert (batch.shape, batch.dtype) == ((2, 9, 9, 1), torch.float32)


@pytest.mark.parametrize(("dtype", "tile"), [("uint8", None), ("uint16", None), ("float32", (32, 32))])
def test_files_of_any_depth_are_predicted_as_they_are_loaded(
    tmp_path: Path, dtype: str, tile: tuple[int, int] | None
) -> None:
    """Levels of a file are not taken for its numbers a second time: in folders, in windows, with margins."""
    predictor = Predictor(network(4), engine="eager", tiles=tiling(tile))
    largest = 1 if dtype == "float32" else np.iinfo(dtype).max
    array = (largest * np.random.default_rng(0).random((32, 40, 4))).astype(dtype)
    np.save(tmp_path / "a.npy", array)
    expected, levels = predictor(array), read_channels(tmp_path / "a.npy", 4)
    assert np.array_equal(predictor.predict(array).class_map, expected)
    for margin in (False, True):
        results = Results(tmp_path, predictor, Outputs(overlays=False, margin=margin), resume=False, overwrite=True)
        found = results.predict(predictor, levels)
        assert np.array_equal(found.class_map if isinstance(found, Prediction) else found, expected)


@pytest.mark.slow
@pytest.mark.parametrize("channels", [4, 1])
def test_a_folder_is_trained_resumed_exported_verified_and_predicted(tmp_path: Path, channels: int) -> None:
    root, first = write_folder(tmp_path / "data", channels), tmp_path / "run"
    words = [
        "fit", "--config", "rtformer_slim_folder", "--data.root", str(root), "--model.name=ddrnet_23_slim",
        "--model.attention=null", "--model.options={base_channels: 8, spp_channels: 16}", "--data.num_workers=0",
        "--data.batch_size=4", "--fps.seconds=0.1", f"--output={first}", "--trainer.max_steps",
    ]  # fmt: skip
    run(*words, "40")
    run(*words, "60", "--ckpt_path", str(first / "last.ckpt"), f"--output={first}2")
    checkpoint = str(tmp_path / "run2" / "best.ckpt")
    images = sorted((tmp_path / "data/images/val").iterdir())
    expected = [Predictor(Segmenter.from_pretrained(checkpoint), engine="eager")(image) for image in images]
    for ending in ("onnx", "xml", "pt2", "mnn"):
        file = str(tmp_path / f"net.{ending}")
        run("export", checkpoint, "-o", file, "--open-size")
        run("verify", file)
    run("predict", str(tmp_path / "net.onnx"), str(tmp_path / "data/images/val"), "-o", str(tmp_path / "out"))
    for image, classes in zip(images, expected, strict=True):
        written = np.asarray(Image.open(tmp_path / "out" / f"{image.stem}.png"))
        assert (written == classes).mean() > 0.999
        assert Image.open(tmp_path / "out" / f"{image.stem}_overlay.jpg").mode == "RGB"
    run("benchmark", str(tmp_path / "net.onnx"), "--input-size", "64", "80", "--seconds", "0.1")
