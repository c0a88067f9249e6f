"""Films that end badly, and disks and programs that do: a sentence, and what is written plays."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from rtseg.deploy.folder.image_files import Outputs
from rtseg.deploy.folder.predict_files import predict_files
from rtseg.deploy.predictor import Predictor
from rtseg.deploy.video.ffmpeg import ffmpeg_program
from rtseg.deploy.video.reader import FilmReader
from rtseg.errors import UserError
from rtseg.models.segmenter import Segmenter
from tests.helpers.disk import full_disk
from tests.helpers.films import frames, read_film, read_ids, write_film

pytest.importorskip("imageio_ffmpeg")

_RUN = """
import sys
from rtseg.command_line import resumable
from rtseg.deploy.folder.counts import Counts
from rtseg.deploy.folder.predict_files import predict_files
from rtseg.deploy.predictor import Predictor
from tests.helpers.segmenters import small
counts = Counts()
with resumable(counts.sentence):
    predict_files(Predictor(small(), device="cpu"), [sys.argv[1]], sys.argv[2], counts=counts)
"""


class _Usage(NamedTuple):
    free: int


@pytest.fixture(scope="module")
def predictor(shared_segmenter: Segmenter) -> Predictor:
    return Predictor(shared_segmenter, device="cpu")


def _without_ffmpeg(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rtseg.deploy.video.predict_film.ffmpeg_program", lambda: None)


def test_empty_films_and_unknown_codecs_are_named(
    predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.mp4").touch()
    assert "a.mp4: is empty" in predict_files(predictor, [tmp_path / "a.mp4"], tmp_path / "out")[tmp_path / "a.mp4"]
    film = write_film(tmp_path / "b.mkv", frames(1))
    monkeypatch.setattr(FilmReader, "turns", lambda self: iter(()))
    assert "does not have its codec (ffv1)" in predict_files(predictor, [film], tmp_path / "out")[film]


def test_an_encoder_that_is_missing_has_a_repair(
    predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    film, program = write_film(tmp_path / "a.mkv", frames(2)), tmp_path / "ffmpeg"
    program.write_text(f'#!/bin/bash\nexec {ffmpeg_program()} "${{@//libx264/libnone}}"\n')
    program.chmod(0o755)
    monkeypatch.setenv("RTSEG_FFMPEG", str(program))
    reason = predict_files(predictor, [film], tmp_path / "out")[film]
    assert "this ffmpeg has no encoder libnone" in reason
    assert "brings one that has" in reason


def test_results_that_cannot_be_written_are_named(predictor: Predictor, tmp_path: Path) -> None:
    film, out = write_film(tmp_path / "a.mkv", frames(1)), tmp_path / "out"
    (out / "a_classes.mkv").mkdir(parents=True)
    assert "a_classes.mkv' cannot be written" in predict_files(predictor, [film], out, overwrite=True)[film]
    (out / "a_classes.mkv").rmdir()
    (out / "a_classes").write_text("a file")
    frame_files = Outputs(film="frames")
    assert predict_files(predictor, [film], out, overwrite=True, outputs=frame_files) == {}, "it is replaced"


def test_a_film_that_fails_half_way_has_a_legend(
    predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    film, frame = write_film(tmp_path / "a.mkv", frames(9)), FilmReader.frame

    def fails(self: FilmReader) -> np.ndarray:
        if self.frames == 5:
            raise UserError("it cannot be decoded")
        return frame(self)

    monkeypatch.setattr(FilmReader, "frame", fails)
    reason = predict_files(predictor, [film], tmp_path / "out")[film]
    assert "a.mkv: frame 5: it cannot be decoded" in reason
    assert (tmp_path / "out" / "legend.png").is_file()
    assert len(read_film(tmp_path / "out" / "a_overlay.mp4")) == 4
    assert len(read_ids(tmp_path / "out" / "a_classes.mkv", (48, 64), np.uint16)) == 4


def test_opencv_stops_before_the_disk_is_full(
    predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    film, asked = write_film(tmp_path / "a.mkv", frames(9)), list[int]()

    def usage(place: Path) -> _Usage:
        asked.append(1)
        return _Usage(2**40 if len(asked) < 6 else 2**20)

    monkeypatch.setattr(shutil, "disk_usage", usage)
    _without_ffmpeg(monkeypatch)
    reason = predict_files(predictor, [film], tmp_path / "out")[film]
    assert "a_overlay.mp4' cannot be written: No space left on device (1.0 MiB are free" in reason
    assert len(read_film(tmp_path / "out" / "a_overlay.mp4")) == 5


@pytest.mark.slow
def test_what_opencv_could_not_write_is_noticed(
    predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noise = [np.random.default_rng(k).integers(0, 255, (96, 128, 3), np.uint8) for k in range(30)]
    film = write_film(tmp_path / "a.mkv", noise)
    _without_ffmpeg(monkeypatch)
    with full_disk(2**16):
        reason = predict_files(predictor, [film], tmp_path / "out")[film]
    assert "of its 30 frames: OpenCV could not write them" in reason


def _started(film: Path, out: Path) -> subprocess.Popen[bytes]:
    """`rtseg predict` of a film, some frames of which are written."""
    process = subprocess.Popen([sys.executable, "-c", _RUN, str(film), str(out)])
    overlay = out / "film_overlay.mp4"
    until = time.monotonic() + 120
    while not overlay.is_file() or overlay.stat().st_size < 50_000:
        assert process.poll() is None
        assert time.monotonic() < until
        time.sleep(0.05)
    return process


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_signal_in_mid_film_leaves_films_that_play(tmp_path: Path, number: signal.Signals) -> None:
    film, out = write_film(tmp_path / "film.mkv", frames(2000)), tmp_path / "out"
    process = _started(film, out)
    process.send_signal(number)
    assert process.wait() == (75 if number == signal.SIGTERM else -signal.SIGKILL)
    time.sleep(2)  # ffmpeg ends by itself
    shown = len(read_film(out / "film_overlay.mp4"))
    kept = len(read_ids(out / "film_classes.mkv", (48, 64), np.uint16))
    assert 0 < shown < 2000
    assert 0 < kept < 2000
    assert abs(shown - kept) <= 1, "the frame that was on its way"
    if number == signal.SIGTERM:
        assert shown == kept
        assert (out / "legend.png").is_file()


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="a small disk is mounted by root alone")
@pytest.mark.parametrize(("program", "size"), [(True, "2m"), (False, "10m")])
def test_a_real_disk_that_is_full(
    predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: bool, size: str
) -> None:
    noise = [np.random.default_rng(k).integers(0, 255, (240, 320, 3), np.uint8) for k in range(200)]
    film, disk = write_film(tmp_path / "a.mkv", noise), tmp_path / "disk"
    disk.mkdir()
    if not program:
        _without_ffmpeg(monkeypatch)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", disk], check=False).returncode:
        pytest.skip("this machine mounts nothing")
    try:
        reason = predict_files(predictor, [film], disk / "out")[film]
        assert "No space left on device" in reason
        shown = read_film(disk / "out" / "a_overlay.mp4")
        assert 5 < len(shown) < 200
        assert min(image.std() for image in shown) > 20
    finally:
        subprocess.run(["umount", disk], check=True)


@pytest.mark.slow
def test_a_film_of_4k(predictor: Predictor, tmp_path: Path) -> None:
    film = write_film(tmp_path / "a.mp4", frames(2, (2160, 3840)), "-c:v", "libx264", "-pix_fmt", "yuv420p")
    assert predict_files(predictor, [film], tmp_path / "out") == {}
    found = read_ids(tmp_path / "out" / "a_classes.mkv", (2160, 3840), np.uint16)
    assert np.array_equal(found, predictor.to_ids(np.stack([predictor(image) for image in read_film(film)])))
    assert len(read_film(tmp_path / "out" / "a_overlay.mp4")) == 2
