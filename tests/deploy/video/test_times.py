"""The times of a film's frames and its sound, which its results keep."""

import re
import subprocess
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from rtseg.deploy.folder.predict_files import predict_files
from rtseg.deploy.predictor import Predictor
from rtseg.deploy.video.ffmpeg import RawImages, ffmpeg_program
from rtseg.deploy.video.reader import FilmReader
from rtseg.models.segmenter import Segmenter
from tests.helpers.films import ffmpeg, frames, write_film

pytest.importorskip("imageio_ffmpeg")

_UNEVEN = (
    "-vf",
    "settb=1/1000,setpts=N*(N+1)*40",
    "-fps_mode",
    "vfr",
    "-enc_time_base",
    "1:1000",
)  # 0, 80, 240, 480 ... ms
_SLOW = [pytest.param(late, kind, marks=pytest.mark.slow) for late, kind in ((0.0, "mp4"), (0.5, "mp4"), (0.5, "mkv"))]
_SOUNDS = [(0.5, "ts"), *_SLOW]


@pytest.fixture(scope="module")
def predictor(shared_segmenter: Segmenter) -> Predictor:
    return Predictor(shared_segmenter, device="cpu")


def times(film: Path, kind: str = "v:0") -> list[float]:
    """Milliseconds at which the frames of a stream are shown or heard, as a player has them."""
    program = ffmpeg_program()
    assert program is not None
    words = [
        program,
        "-loglevel",
        "error",
        "-copyts",
        "-i",
        str(film),
        "-map",
        f"0:{kind}",
        "-enc_time_base",
        "1:120000",
    ]
    said = subprocess.run([*words, "-f", "framecrc", "-"], capture_output=True, check=False, text=True).stdout
    unit = re.search(r"#tb 0: (\S+)", said)
    found = re.findall(r"^0, *-?\d+, *(-?\d+)", said, re.MULTILINE)
    return [1000 * float(Fraction(unit[1]) * int(time)) for time in found] if unit else []


def with_sound(film: Path, target: Path, *options: str, late: float = 0.0) -> Path:
    """The film, which begins `late` seconds after 3 s of sound."""
    sound = ("-f", "lavfi", "-i", "sine=frequency=440:duration=3")
    ffmpeg(*sound, "-itsoffset", str(late), "-i", film, "-map", "1:v", "-map", "0:a", *options, target)
    return target


def test_uneven_times_are_kept_to_the_millisecond(predictor: Predictor, tmp_path: Path) -> None:
    film = write_film(tmp_path / "a.mkv", frames(6), *_UNEVEN)
    assert times(film) == [0, 80, 240, 480, 800, 1200]
    assert predict_files(predictor, [film], tmp_path / "out") == {}
    assert times(tmp_path / "out" / "a_classes.mkv") == times(film)
    assert times(tmp_path / "out" / "a_overlay.mp4") == pytest.approx(times(film), abs=0.01)


@pytest.mark.parametrize("rate", ["24000/1001", "30000/1001", "25"])
def test_even_times_stay_even(tmp_path: Path, rate: str) -> None:
    program, number = ffmpeg_program(), float(Fraction(rate))
    assert program is not None
    film = RawImages(program, tmp_path / "a.mp4", (48, 64), number, "bgr24", ["-c:v", "libx264"])
    for k, image in enumerate(frames(5)):
        film.write(image, k / number)
    film.close()
    assert len(set(np.diff(np.array(times(tmp_path / "a.mp4"))).round(6))) == 1


@pytest.mark.parametrize(("late", "kind"), _SOUNDS)
def test_sound_is_copied_at_its_time(predictor: Predictor, tmp_path: Path, late: float, kind: str) -> None:
    codecs = ("-c:v", "libx264", "-pix_fmt", "yuv420p", "-c:a", "aac")
    film = with_sound(write_film(tmp_path / "a.mkv", frames(9)), tmp_path / f"b.{kind}", *codecs, late=late)
    assert predict_files(predictor, [film], tmp_path / "out") == {}
    overlay = tmp_path / "out" / "b_overlay.mp4"
    shown, heard = times(overlay), times(overlay, "a:0")
    assert np.diff(shown) == pytest.approx(np.diff(times(film)), abs=0.01)
    assert shown[0] - heard[0] == pytest.approx(times(film)[0] - times(film, "a:0")[0], abs=1)
    assert min(shown[0], heard[0]) == pytest.approx(0, abs=25), "sound has a silent beginning, which players leave out"
    assert heard[-1] == pytest.approx(shown[-1] + 100, abs=60), "sound ends with the last frame"


@pytest.mark.slow
def test_sound_that_browsers_do_not_play_is_made_aac_or_left_out(
    predictor: Predictor, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    film = with_sound(
        write_film(tmp_path / "a.mkv", frames(3)), tmp_path / "b.avi", "-c:v", "mpeg4", "-c:a", "adpcm_ms"
    )
    predict_files(predictor, [film], tmp_path / "out")
    assert "b.avi: its sound (adpcm_ms) is made AAC" in capsys.readouterr().out
    assert times(tmp_path / "out" / "b_overlay.mp4", "a:0")
    limited = tmp_path / "ffmpeg"
    limited.write_text(f'#!/bin/sh\ncase "$*" in *"-c:a aac"*) exit 1;; esac\nexec {ffmpeg_program()} "$@"\n')
    limited.chmod(0o755)
    monkeypatch.setenv("RTSEG_FFMPEG", str(limited))
    predict_files(predictor, [film], tmp_path / "out", overwrite=True)
    assert "b.avi: its sound (adpcm_ms) is left out" in capsys.readouterr().out
    assert not times(tmp_path / "out" / "b_overlay.mp4", "a:0")
    assert len(times(tmp_path / "out" / "b_overlay.mp4")) == 3


def test_films_one_after_another_in_one_file_go_on(tmp_path: Path) -> None:
    one = write_film(tmp_path / "one.ts", frames(4), "-c:v", "mpeg2video", "-q:v", "2", "-r", "25")
    (tmp_path / "both.ts").write_bytes(one.read_bytes() * 2)
    at = [turn.at for turn in FilmReader(tmp_path / "both.ts", 10**6).turns()]
    assert len(at) > 12
    assert at == pytest.approx([k / 25 for k in range(len(at))])


class _OfABrowser:
    """A film whose header is as browsers record it: a rate that is a unit of time, and frames by that rate."""

    def __init__(self, film: cv2.VideoCapture) -> None:
        self._film = film

    def get(self, key: int) -> float:
        return {cv2.CAP_PROP_FPS: 1000.0, cv2.CAP_PROP_FRAME_COUNT: 1300.0}.get(key, self._film.get(key))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._film, name)


def test_a_rate_that_is_none_is_not_believed(
    predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    film, opened = write_film(tmp_path / "a.mkv", frames(6), *_UNEVEN), cv2.VideoCapture
    monkeypatch.setattr(cv2, "VideoCapture", lambda *arguments: _OfABrowser(opened(*arguments)))
    assert predict_files(predictor, [film], tmp_path / "out") == {}
    assert "its header states" not in capsys.readouterr().out
    assert times(tmp_path / "out" / "a_overlay.mp4") == pytest.approx(times(film), abs=0.01)


def test_without_ffmpeg_a_variable_rate_is_said(
    predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    film = write_film(tmp_path / "a.mkv", frames(6), *_UNEVEN)
    monkeypatch.setattr("rtseg.deploy.video.predict_film.ffmpeg_program", lambda: None)
    predict_files(predictor, [film], tmp_path / "out")
    assert "a.mkv: its frame rate varies, and its overlay plays at" in capsys.readouterr().out
