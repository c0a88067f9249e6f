from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

import rtseg
from rtseg.deploy.drawing.overlay import overlay
from rtseg.deploy.drawing.overlay_colors import distinct_colors
from rtseg.deploy.folder.predict_files import predict_files
from rtseg.deploy.folder.result_names import LEGEND, RECORD, result_files
from rtseg.deploy.fuse import deploy
from rtseg.deploy.predictor import Predictor, load
from rtseg.deploy.windows.tiling import tiling
from rtseg.errors import UserError
from rtseg.models.segmenter import Segmenter, describe
from rtseg.speed.benchmark import texture

IMAGE = texture((45, 60))


@pytest.fixture
def predictor(segmenter: Segmenter) -> Predictor:
    return Predictor(segmenter, device="cpu")


def save(path: Path, pixels: np.ndarray = IMAGE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def test_two_lines_of_python(segmenter: Segmenter, tmp_path: Path) -> None:
    segmenter.save_pretrained(tmp_path / "net")
    segment = rtseg.load(tmp_path / "net", device="cpu")
    classes = segment(save(tmp_path / "street.png"))
    assert classes.shape == IMAGE.shape[:2]
    assert classes.dtype == np.uint8
    assert len(np.unique(classes)) > 1
    assert np.array_equal(classes, deploy(segmenter)(torch.from_numpy(IMAGE)).numpy())
    assert segment.card == segmenter.card
    assert segment.device == torch.device("cpu")


def test_every_kind_of_input_gives_one_answer(predictor: Predictor, tmp_path: Path) -> None:
    path = save(tmp_path / "a.png")
    expected = predictor(IMAGE)
    bgr = np.ascontiguousarray(IMAGE[..., ::-1])
    alpha = np.dstack([IMAGE, np.full(IMAGE.shape[:2], 7, np.uint8)])
    images: list[Any] = [path, str(path), Image.open(path), bgr[..., ::-1], Image.fromarray(alpha)]
    for image in [*images, save(tmp_path / "rgba.png", alpha)]:
        assert np.array_equal(predictor(image), expected)


def test_grey_and_16_bit(predictor: Predictor, tmp_path: Path) -> None:
    grey = IMAGE[..., 0]
    expected = predictor(np.dstack([grey] * 3))
    deep = grey.astype(np.uint16) * 256 + 100
    cv2.imwrite(str(tmp_path / "deep.png"), deep)
    cv2.imwrite(str(tmp_path / "deep_rgb.png"), np.dstack([deep] * 3))
    files = [save(tmp_path / "grey.png", grey), tmp_path / "deep.png", tmp_path / "deep_rgb.png"]
    images: list[Any] = [*files, *map(Image.open, files), Image.fromarray(deep.astype(np.int32))]
    for image in images:
        assert np.array_equal(predictor(image), expected), image
    for kind in (np.float32, np.int32):  # of the second it is not known whether 255 or 65535 is white
        with pytest.raises(UserError, match=r"mode [FI] have no known range; convert it to L"):
            predictor(Image.fromarray(grey.astype(kind)))


def test_colours_that_readers_convert_in_different_ways_are_refused(predictor: Predictor, tmp_path: Path) -> None:
    profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    lab = ImageCms.profileToProfile(Image.fromarray(IMAGE), *profiles, outputMode="LAB")
    assert lab is not None
    lab.save(tmp_path / "lab.tif")
    Image.fromarray(IMAGE).save(tmp_path / "rgb.tif")
    assert np.array_equal(predictor(tmp_path / "rgb.tif"), predictor(IMAGE))
    for image in (lab, tmp_path / "lab.tif", Image.open(tmp_path / "lab.tif")):
        with pytest.raises(UserError, match=r"LAB|CIELab.*convert it to RGB"):
            predictor(image)
    with pytest.raises(UserError, match="PIL image of mode La cannot be read as RGB"):
        predictor(Image.fromarray(IMAGE).convert("LA").convert("La"))


def test_exif_orientation_is_applied(predictor: Predictor, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying on its side: to be turned by 90 degrees clockwise
    Image.fromarray(np.rot90(IMAGE)).save(tmp_path / "phone.jpg", exif=exif, quality=100, subsampling=0)
    found = predictor(tmp_path / "phone.jpg")
    assert found.shape == IMAGE.shape[:2]
    assert (found == predictor(IMAGE)).mean() > 0.9  # JPEG is lossy
    assert np.array_equal(predictor(Image.open(tmp_path / "phone.jpg")), found)


@pytest.mark.parametrize("size", [(1, 1), (1, 70), (33, 7), (250, 131)])
def test_any_size(predictor: Predictor, size: tuple[int, int]) -> None:
    assert predictor(texture(size)).shape == size


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((8, 8), np.uint8), r"not uint8 \(8, 8\)"),
        (np.zeros((8, 8, 3)), "not float64"),
        (np.zeros((3, 8, 8), np.uint8), r"\(3, 8, 8\)"),
        (np.zeros((0, 8, 3), np.uint8), r"\(0, 8, 3\)"),
        (torch.zeros(8, 8, 3), "not Tensor"),
        ("no/such/street.jpg", "no/such/street.jpg"),
        (Path(__file__), "readable image"),
        (Path(__file__).parent, "is a folder"),
    ],
)
def test_other_input_is_refused(predictor: Predictor, image: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        predictor(image)


def test_ids_and_palette(segmenter: Segmenter) -> None:
    predictor = Predictor(segmenter, device="cpu")
    assert predictor.to_ids(np.array([[0, 3, 4]], np.uint8)).tolist() == [[7, 300, 12]]
    assert predictor.to_ids(np.zeros((1, 1), np.uint8)).dtype == np.uint16
    segmenter.card = replace(segmenter.card, ids=(), palette=())
    bare = Predictor(segmenter, device="cpu")
    assert bare.to_ids(np.array([[4]], np.uint8)).tolist() == [[4]]
    assert bare.to_ids(np.array([[4]], np.uint8)).dtype == np.uint8
    assert len(bare.palette) == 5


def test_load_refuses_a_missing_device(segmenter: Segmenter, tmp_path: Path) -> None:
    segmenter.save_pretrained(tmp_path)
    with pytest.raises(UserError, match="unknown device 'gpu'"):
        load(tmp_path, device="gpu")


def test_a_ruined_network_predicts_nothing(segmenter: Segmenter, tmp_path: Path) -> None:
    """All finite, but not what comes out: class 0 is the largest of NaN."""
    with torch.no_grad():
        for parameter in segmenter.head.parameters():
            parameter.mul_(1e30)
    predictor = Predictor(segmenter, device="cpu")
    with pytest.raises(UserError, match=r"logits are not finite.* Give another checkpoint"):
        predictor(IMAGE)
    failed = predict_files(predictor, [save(tmp_path / "a.png")], tmp_path / "out")
    assert "not finite" in failed[tmp_path / "a.png"]
    assert results(tmp_path / "out") == set()


def read(path: Path) -> np.ndarray:
    """As stored."""
    pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert pixels is not None
    return pixels


def results(folder: Path) -> set[str]:
    """Names of the results, each of which has all its files; nothing else is there but the legend and the record."""
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    names = {file.removesuffix("_overlay.jpg") for file in files if file.endswith("_overlay.jpg")}
    assert files == {file for name in names for file in result_files(name)} | ({RECORD, LEGEND} if names else set())
    return names


def test_files_folders_and_globs(predictor: Predictor, tmp_path: Path) -> None:
    save(tmp_path / "set" / "a" / "x.png")
    save(tmp_path / "set" / "b" / "x.png", texture((20, 30)))
    save(tmp_path / "more" / "y1.jpg")
    save(tmp_path / "more" / "z.jpg")
    (tmp_path / "set" / "labels.txt").write_text("no picture")
    out = tmp_path / "out"
    failed = predict_files(predictor, [tmp_path / "set", f"{tmp_path}/more/y*"], out)
    assert failed == {}
    assert results(out) == {"a/x", "b/x", "y1"}
    classes = predictor(IMAGE)
    written = read(out / "a" / "x.png")
    assert written.dtype == np.uint16  # the ids of the card reach 300
    assert np.array_equal(written, predictor.to_ids(classes))
    shown = np.asarray(Image.open(out / "a" / "x_overlay.jpg")).astype(int)
    assert np.abs(shown - overlay(IMAGE, classes, distinct_colors(predictor.palette), outlines=True)).mean() < 12


def test_equal_names_do_not_collide(predictor: Predictor, tmp_path: Path) -> None:
    pictures = [save(tmp_path / folder / "x.png", texture((9, 9))) for folder in ("a", "b")]
    predict_files(predictor, [*pictures, pictures[0]], tmp_path / "out")
    assert results(tmp_path / "out") == {"a/x", "b/x"}
    pictures.append(save(tmp_path / "a" / "x.jpg", texture((9, 9))))
    predict_files(predictor, pictures, tmp_path / "out2")
    assert results(tmp_path / "out2") == {"a/x.png", "b/x.png", "a/x.jpg"}


def test_unreadable_pictures_are_reported_and_stop_nothing(
    predictor: Predictor, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = save(tmp_path / "set" / "good.png")
    (tmp_path / "set" / "a_cut.png").write_bytes(good.read_bytes()[:200])
    (tmp_path / "set" / "empty.jpg").touch()
    failed = predict_files(predictor, [tmp_path / "set"], tmp_path / "out")
    assert {path.name for path in failed} == {"a_cut.png", "empty.jpg"}
    assert results(tmp_path / "out") == {"good"}
    assert "a_cut.png" in capsys.readouterr().err.replace("\n", "")


def test_results_are_never_overwritten_silently(predictor: Predictor, tmp_path: Path) -> None:
    picture = save(tmp_path / "x.png")
    out = tmp_path / "x"
    predict_files(predictor, [tmp_path], out)
    before = (out / "x.png").read_bytes()
    with pytest.raises(UserError, match="--overwrite"):
        predict_files(predictor, [picture], out)
    save(picture, texture((8, 8)))
    predict_files(predictor, [tmp_path], out, overwrite=True)  # its own results below the source are no pictures
    assert results(out) == {"x"}
    assert (out / "x.png").read_bytes() != before
    with pytest.raises(UserError, match="is a file"):
        predict_files(predictor, [picture], picture)


def test_results_never_replace_a_source(predictor: Predictor, tmp_path: Path) -> None:
    picture = save(tmp_path / "a.png")
    before = picture.read_bytes()
    for source in (picture, tmp_path, tmp_path / "*.png"):
        with pytest.raises(UserError, match="would overwrite the image"):
            predict_files(predictor, [source], tmp_path, overwrite=True)
    assert picture.read_bytes() == before
    save(tmp_path / "drive" / "b.jpg")
    assert predict_files(predictor, [tmp_path / "drive"], tmp_path, overwrite=True) == {}
    assert (tmp_path / "b.png").exists()


def test_names_that_differ_by_case_alone_stay_apart(predictor: Predictor, tmp_path: Path) -> None:
    for name in ("A.png", "a.jpg"):
        save(tmp_path / "in" / name)
    predict_files(predictor, [tmp_path / "in"], tmp_path / "out")
    assert len({name.lower() for name in results(tmp_path / "out")}) == 2


@pytest.mark.parametrize("names", [("a.png", "a_colour.jpg"), ("legend.jpg", "a.png")])
def test_names_that_are_those_of_other_results_stay_apart(predictor: Predictor, tmp_path: Path, names: Any) -> None:
    for name in names:
        save(tmp_path / "in" / name, texture((9, 9)))
    predict_files(predictor, [tmp_path / "in"], tmp_path / "out")
    assert results(tmp_path / "out") == {*names}


def test_sources_without_pictures_are_refused(predictor: Predictor, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for source in (tmp_path / "empty", f"{tmp_path}/*.jpg"):
        with pytest.raises(UserError, match="no images in"):
            predict_files(predictor, [source], tmp_path / "out")
    with pytest.raises(UserError, match="no such image"):
        predict_files(predictor, [tmp_path / "street.jpg"], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_network_sees_what_its_evaluation_shows(segmenter: Segmenter) -> None:
    """ADE20K's rule: the short side scaled, both sides stretched to multiples of 32; the class map is the picture's."""
    describe(segmenter, eval_resize=(64, 256))
    predictor = Predictor(segmenter, device="cpu")
    classes = predictor(IMAGE)
    assert classes.shape == IMAGE.shape[:2]
    assert predictor.logits(IMAGE).shape == (1, 5, 8, 12)  # of 64x96: 45x60 times 64 / 45 is 64x85
    deployed = deploy(segmenter)
    with torch.inference_mode():
        logits = deployed.logits(deployed.prepare(torch.from_numpy(cv2.resize(IMAGE, (96, 64)))[None]))
    upsampled = torch.nn.functional.interpolate(logits, size=IMAGE.shape[:2], mode="bilinear")
    assert (upsampled.argmax(1)[0].numpy() == classes).mean() >= 0.999


def test_real_pictures(predictor: Predictor, shared: Path, tmp_path: Path) -> None:
    picture = next((shared / "data" / "camvid" / "val").glob("*.jpg"))
    assert predict_files(predictor, [picture], tmp_path) == {}
    assert read(tmp_path / f"{picture.stem}.png").shape == (360, 480)


def test_slips_of_the_hand_are_named(segmenter: Segmenter) -> None:
    predictor = Predictor(segmenter, device="cpu", engine="eager")
    for one in ("a.jpg", np.zeros((8, 8, 3), np.uint8)):
        with pytest.raises(UserError, match="batch takes a list of images"):
            predictor.batch(one)  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"the image is empty: the array has the shape \(0, 10, 3\)"):
        predictor(np.zeros((0, 10, 3), np.uint8))
    with pytest.raises(UserError, match=r"tile is \(height, width\).*not 96"):
        tiling(96)  # type: ignore[arg-type]
    assert repr(predictor) == f"Predictor({segmenter.card.model}, engine 'eager', on cpu)"
    assert repr(predictor.predict(texture((8, 9)))).startswith("Prediction(8x9 (height x width): ")
