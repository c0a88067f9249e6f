"""Numbered images as a film."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from rtseg.deploy.folder.image_files import Outputs
from rtseg.deploy.folder.predict_files import predict_files
from rtseg.deploy.predictor import Predictor
from rtseg.errors import UserError
from rtseg.models.segmenter import Segmenter
from rtseg.numbered import is_numbered, name_of_numbered, numbered_files
from rtseg.paths import check_any_image
from tests.helpers.films import frames, read_ids

pytest.importorskip("imageio_ffmpeg")


@pytest.fixture(scope="module")
def predictor(shared_segmenter: Segmenter) -> Predictor:
    return Predictor(shared_segmenter, device="cpu")


@pytest.fixture
def images(tmp_path: Path) -> list[np.ndarray]:
    """Five images numbered 8, 9, 10, 12 and 13 in `street`."""
    (tmp_path / "street").mkdir()
    drawn = frames(5)
    for number, image in zip((8, 9, 10, 12, 13), drawn, strict=True):
        Image.fromarray(image).save(tmp_path / "street" / f"{number:04d}.png")
    return drawn


def test_names() -> None:
    assert is_numbered("frames/%06d.png")
    assert is_numbered("a_%d.jpg")
    assert not any(map(is_numbered, ("a.png", "%s.png", "100%.png", "%d/a.png", "%d_%d.png")))
    assert name_of_numbered(Path("/x/cam-%04d.png")) == Path("/x/cam.png")
    assert name_of_numbered(Path("/x/%d.png")) == Path("/x")


def test_numbers_are_counted_and_not_spelled(tmp_path: Path) -> None:
    for name in ("a9.png", "a10.png", "a010.png", "b1.png", "a1.jpg"):
        (tmp_path / name).touch()
    assert list(numbered_files(tmp_path / "a%d.png")) == [9, 10]
    assert list(numbered_files(tmp_path / "a%03d.png").values()) == [tmp_path / "a010.png"]
    assert numbered_files(tmp_path / "lost" / "%d.png") == {}
    check_any_image([str(tmp_path / "a%d.png")])
    with pytest.raises(UserError, match=r"no image in .* has such a name as 'c%d\.png'"):
        check_any_image([str(tmp_path / "c%d.png")])
    for typed, meant in (("b%06d.png", "b%d.png"), ("a%06d.jpg", "a%d.jpg")):
        with pytest.raises(UserError, match=f"six digits or more.*did you mean '.*/{meant}'"):
            check_any_image([str(tmp_path / typed)])
    (tmp_path / "c0005.png").touch()
    with pytest.raises(UserError, match=r"did you mean '.*/c%04d\.png'"):
        check_any_image([str(tmp_path / "c%06d.png")])


def test_the_class_maps_are_those_of_the_images(
    predictor: Predictor, tmp_path: Path, images: list[np.ndarray], capsys: pytest.CaptureFixture[str]
) -> None:
    pattern, out = tmp_path / "street" / "%04d.png", tmp_path / "out"
    assert predict_files(predictor, [pattern], out, outputs=Outputs(fps=5)) == {}
    ids = read_ids(out / "street_classes.mkv", (48, 64), np.uint16)
    assert np.array_equal(ids, predictor.to_ids(np.stack([predictor(image) for image in images])))
    assert cv2.VideoCapture(str(out / "street_overlay.mp4")).get(cv2.CAP_PROP_FPS) == pytest.approx(5)
    assert "%04d.png: 1 number between the first and the last is missing" in capsys.readouterr().out
    line = json.loads((out / "predictions.jsonl").read_text().splitlines()[1])
    assert (line["image"], line["frames"]) == ("%04d.png", 5)


def test_what_is_no_film_is_said(predictor: Predictor, tmp_path: Path, images: list[np.ndarray]) -> None:
    folder = tmp_path / "street"
    with pytest.raises(UserError, match="--fps is of numbered images"):
        predict_files(predictor, [folder], tmp_path / "out", outputs=Outputs(fps=5))
    lost = folder / "a%04d.png"
    assert "has such a name" in predict_files(predictor, [lost], tmp_path / "out")[lost]
    Image.fromarray(images[0][:40]).save(folder / "0014.png")
    pattern = folder / "%04d.png"
    reason = predict_files(predictor, [pattern], tmp_path / "out")[pattern]
    assert "frame 6: '0014.png' has 64x40 pixels, and the first one 64x48" in reason
    assert len(read_ids(tmp_path / "out" / "street_classes.mkv", (48, 64), np.uint16)) == 5
