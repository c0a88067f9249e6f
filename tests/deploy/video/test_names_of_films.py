"""Films that are called as nobody expects, and an ffmpeg that is none."""

import json
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rtseg.deploy.folder.pipeline import Pipeline
from rtseg.deploy.folder.predict_files import predict_files
from rtseg.deploy.folder.sources import split_films
from rtseg.deploy.predictor import Predictor
from rtseg.deploy.video.writer import Lossless, Mp4v
from rtseg.errors import UserError
from rtseg.models.segmenter import Segmenter
from tests.helpers.films import frames, read_film, write_film

pytest.importorskip("imageio_ffmpeg")


@pytest.fixture(scope="module")
def predictor(shared_segmenter: Segmenter) -> Predictor:
    return Predictor(shared_segmenter, device="cpu")


def test_odd_names_and_two_films_of_one_name(
    predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names = ["-{a}[/b]%03d:ü.mkv", "one/x.mkv", "two/x.mkv"]
    for name in names:
        Path(name).parent.mkdir(exist_ok=True)
        write_film(tmp_path / name, frames(1))
    assert predict_files(predictor, names, "out") == {}
    lines = (tmp_path / "out" / "predictions.jsonl").read_text().splitlines()[1:]
    assert [json.loads(line)["name"] for line in lines] == names
    for name in names:
        assert len(read_film(tmp_path / "out" / name.replace(".mkv", "_overlay.mp4"))) == 1


def test_a_name_that_is_not_utf8_is_refused(predictor: Predictor, tmp_path: Path) -> None:
    film = tmp_path / os.fsdecode(b"a\xff.mkv")
    try:
        film.write_bytes(b"\x1a\x45\xdf\xa3")
    except OSError:
        pytest.skip("this file system has no such names")
    assert "not UTF-8" in predict_files(predictor, [film], tmp_path / "out")[film], "OpenCV ends the process"
    with pytest.raises(UserError, match="not UTF-8"):
        Mp4v(film, (4, 4), 10)


def test_a_film_is_not_overwritten_through_a_link(predictor: Predictor, tmp_path: Path) -> None:
    (tmp_path / "films").mkdir()
    first = write_film(tmp_path / "films" / "a.mkv", frames(1))
    second = write_film(tmp_path / "films" / "a_classes.mkv", frames(1))
    (tmp_path / "out").symlink_to(tmp_path / "films")
    with pytest.raises(UserError, match="would overwrite the film"):
        predict_files(predictor, [first, second], tmp_path / "out", overwrite=True)
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "a_classes.mkv").symlink_to(second)
    before = second.read_bytes()
    assert predict_files(predictor, [first], tmp_path / "new", overwrite=True) == {}
    assert second.read_bytes() == before


def test_an_ffmpeg_that_writes_nothing_fails(
    predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    film, out, program = write_film(tmp_path / "a.mkv", frames(1)), tmp_path / "out", tmp_path / "ffmpeg"
    program.write_text("#!/bin/sh\ncat > /dev/null\n")
    program.chmod(0o755)
    monkeypatch.setenv("RTSEG_FFMPEG", str(program))
    out.mkdir()
    (out / "a_overlay.mp4").write_text("older")
    assert "ffmpeg stopped" in predict_files(predictor, [film], out, overwrite=True)[film]
    assert not (out / "a_overlay.mp4").exists()


def test_a_signal_to_ffmpeg_too_stops_all_films(
    predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, close = Pipeline.run, Lossless.close

    def stopped(self: Pipeline[int], items: Iterable[int]) -> None:
        run(self, items)
        raise SystemExit(75)

    def died(self: Lossless) -> None:
        close(self)
        raise UserError("ffmpeg stopped")

    monkeypatch.setattr(Pipeline, "run", stopped)
    monkeypatch.setattr(Lossless, "close", died)
    with pytest.raises(SystemExit):
        predict_files(predictor, [write_film(tmp_path / "a.mkv", frames(1))], tmp_path / "out")


def test_a_glob_finds_films_beside_their_results_and_arrays(tmp_path: Path) -> None:
    for name in ("a.mkv", "b.npy"):
        (tmp_path / name).touch()
    pattern = f"{tmp_path}/*"
    assert split_films([pattern], tmp_path) == ([], [tmp_path / "a.mkv"])
    assert split_films([pattern], tmp_path / "out", (".npy",)) == ([pattern], [tmp_path / "a.mkv"])


def test_every_source_without_images_is_named(predictor: Predictor, tmp_path: Path) -> None:
    film, image = write_film(tmp_path / "a.mkv", frames(1)), tmp_path / "b.png"
    lost = [tmp_path / "lost.png", tmp_path / "gone.png"]
    assert list(predict_files(predictor, [film, *lost], tmp_path / "one")) == lost
    Image.fromarray(np.zeros((48, 64, 3), np.uint8)).save(image)
    assert list(predict_files(predictor, [film, image, *lost], tmp_path / "two")) == lost
