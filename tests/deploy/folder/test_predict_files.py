"""One image of many: whatever it does is its own failure, and its results have a name that fits."""

import errno
import json
import os
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from rtseg.deploy.folder.image_files import Outputs
from rtseg.deploy.folder.predict_files import predict_files
from rtseg.deploy.folder.result_names import result_names
from rtseg.deploy.predictor import Predictor
from rtseg.deploy.windows.tiling import tiling
from rtseg.errors import UserError
from rtseg.models.segmenter import Segmenter
from rtseg.speed.benchmark import texture


class Faulty(Predictor):
    """Raises where the first pixel of an image says so."""

    faults: dict[int, Exception]

    def classes_of(self, whole: np.ndarray) -> np.ndarray:
        if (fault := self.faults.get(int(whole[0, 0, 0]))) is not None:
            raise fault
        return super().classes_of(whole)


@pytest.fixture
def predictor(segmenter: Segmenter) -> Faulty:
    predictor = Faulty(segmenter, device="cpu")
    predictor.faults = {}
    return predictor


def save(path: Path, first: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = texture((12, 17))
    pixels[0, 0] = first
    Image.fromarray(pixels).save(path)
    return path


def test_an_animation_is_its_first_image_and_that_is_said(
    predictor: Faulty, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = (Image.new("RGB", (17, 12), color) for color in ("red", "blue"))
    first.save(tmp_path / "still.gif")
    first.save(tmp_path / "moves.gif", save_all=True, append_images=[second])
    (tmp_path / "cut.gif").write_bytes((tmp_path / "moves.gif").read_bytes()[:8])
    gifs = [tmp_path / f"{name}.gif" for name in ("still", "moves", "cut")]
    assert list(predict_files(predictor, gifs, tmp_path / "out")) == [tmp_path / "cut.gif"]
    assert f"'{tmp_path / 'moves.gif'}': of an animation the first image alone" in capsys.readouterr().err


def test_the_rest_is_predicted(predictor: Faulty, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    predictor.faults = {1: MemoryError(), 2: RuntimeError("no kernel"), 3: UserError("not finite"), 4: KeyError("x")}
    for first in range(6):
        save(tmp_path / "in" / f"{first}.png", first)
    (tmp_path / "in" / "bomb.bmp").write_bytes(
        b"BM" + bytes(12) + b"\x28\0\0\0\xff\xff\xff\0\xff\xff\xff\0" + bytes(40)
    )
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "5_overlay.jpg").mkdir()  # stands in the way of one image's result
    failed = predict_files(predictor, [tmp_path / "in"], tmp_path / "out", overwrite=True)
    assert {path.name for path in failed} == {"1.png", "2.png", "3.png", "4.png", "5.png", "bomb.bmp"}
    assert (tmp_path / "out" / "0_overlay.jpg").is_file()
    said = capsys.readouterr().err
    assert "2.png: RuntimeError: no kernel" in said
    assert "3.png: not finite" in said
    assert said.endswith("6 of 7 images were not predicted\n")


def test_any_number_of_threads_writes_the_same_files(
    predictor: Faulty, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for k in range(30):
        Image.fromarray(texture((20 + k, 40))).save(tmp_path / f"{k:02d}.png")
    (tmp_path / "13.png").write_bytes(b"")
    written = []
    for threads in (1, 4):
        monkeypatch.setattr("rtseg.deploy.folder.predict_files.stage_threads", lambda threads=threads: threads)
        out, before = tmp_path / f"out{threads}", threading.active_count()
        assert list(predict_files(predictor, [tmp_path / "*.png"], out)) == [tmp_path / "13.png"]
        assert threading.active_count() == before
        written.append({file.name: file.read_bytes() for file in out.iterdir() if file.is_file()})
    assert written[0] == written[1]
    assert len(written[0]) == 29 * 3 + 2
    lines = [json.loads(line) for line in written[0]["predictions.jsonl"].splitlines()[1:]]
    assert [line["name"] for line in lines] == [f"{k:02d}" for k in range(30) if k != 13]
    assert [sum(line["pixels"].values()) for line in lines] == [(20 + k) * 40 for k in range(30) if k != 13]


def test_a_full_disk_stops(predictor: Faulty, tmp_path: Path) -> None:
    predictor.faults = {0: OSError(errno.ENOSPC, "No space left on device")}
    save(tmp_path / "a.png")
    with pytest.raises(OSError, match="No space left"):
        predict_files(predictor, [tmp_path], tmp_path / "out")


def test_a_network_that_fails_alike_on_20_images_stops(predictor: Faulty, tmp_path: Path) -> None:
    predictor.faults = {0: RuntimeError("no kernel")}
    for k in range(21):
        save(tmp_path / "in" / f"{k:02d}.png")
    with pytest.raises(UserError, match="the first 20 images fail for one reason: RuntimeError: no kernel"):
        predict_files(predictor, [tmp_path / "in"], tmp_path / "out")
    save(tmp_path / "in" / "00.png", 1)
    assert len(predict_files(predictor, [tmp_path / "in"], tmp_path / "out")) == 20


def test_settings_are_no_fault_of_the_images(predictor: Faulty, tmp_path: Path) -> None:
    save(tmp_path / "a.png")
    with pytest.raises(UserError, match="--alpha"):
        Outputs(alpha=2)
    with pytest.raises(UserError, match="--max-pixels 0"):
        predict_files(predictor, [tmp_path], tmp_path / "out", max_pixels=0)
    assert "limit of 203" in predict_files(predictor, [tmp_path], tmp_path / "out", max_pixels=203).popitem()[1]


def test_names_of_any_length_and_bytes(predictor: Faulty, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = [
        b"x" * 236 + b".png",
        b"x" * 237 + b".png",
        "é".encode() * 125 + b".png",
        b"\xff\xfe.png",
        b"\x1b[31m\n.png",
    ]
    for name in names:
        save(tmp_path / "in" / os.fsdecode(name))
    (tmp_path / "in" / os.fsdecode(b"\x1b]0;title\x07\xe9.png")).touch()
    failed = predict_files(predictor, [tmp_path / "in"], tmp_path / "out")
    assert len(failed) == 1
    assert (
        len(list((tmp_path / "out").glob("*_colour.png"))) == len(list((tmp_path / "out").glob("*_overlay.jpg"))) == 5
    )
    said = capsys.readouterr().err
    assert "names that are too long for results are cut and end in a digest: 'x" in said
    assert r"\x1b]0;title\x07\udce9.png: empty file" in said
    assert "\x1b]0" not in said


LETTERS = st.characters(blacklist_characters="/\0", blacklist_categories=["Cs"])
PARTS = st.text(LETTERS, min_size=1, max_size=70).filter(lambda part: part not in (".", ".."))


@settings(max_examples=15, deadline=None)
@given(st.lists(st.lists(PARTS, min_size=1, max_size=60), min_size=1, max_size=4))
def test_result_names_are_unique_stable_and_fit(paths: list[list[str]]) -> None:
    found = [(Path("/data"), Path("/data", *parts[:-1], f"{parts[-1]}.png")) for parts in paths]
    names, _ = result_names(found, Path("/out"))
    assert len({name.lower() for name in names.values()}) == len(names) == len(set(found))
    for name in names.values():
        assert len(os.fsencode(f"/out/{name}")) <= 4000
        assert len(os.fsencode(Path(name).name)) <= 200 or len(os.fsencode(name)) <= 200
    assert result_names(found[::-1], Path("/out"))[0] == names


def test_margins_of_windows_are_refused_before_anything_is_written(segmenter: Segmenter, tmp_path: Path) -> None:
    windows = Predictor(segmenter, device="cpu", tiles=tiling((32, 32)))
    with pytest.raises(UserError, match=r"--margin needs .* which --tile does not keep; leave out one"):
        predict_files(windows, [save(tmp_path / "a.png")], tmp_path / "out", outputs=Outputs(margin=True))
    assert not (tmp_path / "out").exists()
