"""What can be written of a film beside its overlay: side by side, frame by frame, and raw into a pipe."""

import io
import os
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest
from PIL import Image

from rtseg.deploy.folder.counts import Counts
from rtseg.deploy.folder.image_files import Outputs
from rtseg.deploy.folder.predict_files import predict_files
from rtseg.deploy.predictor import Predictor
from rtseg.deploy.video.piped import frames_on_stdout, one_film, pipe_film
from rtseg.errors import UserError
from rtseg.models.segmenter import Segmenter
from rtseg.terminal import say
from tests.helpers.films import frames, read_film, read_ids, write_film

pytest.importorskip("imageio_ffmpeg")


@pytest.fixture(scope="module")
def predictor(shared_segmenter: Segmenter) -> Predictor:
    return Predictor(shared_segmenter, device="cpu")


def shown(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name.startswith("a"))


def test_each_kind_replaces_the_others(predictor: Predictor, tmp_path: Path) -> None:
    images, out = frames(2), tmp_path / "out"
    film = write_film(tmp_path / "a.mkv", images)
    predict_files(predictor, [film], out)
    overlay = read_film(out / "a_overlay.mp4")
    predict_files(predictor, [film], out, overwrite=True, outputs=Outputs(film="side-by-side"))
    assert shown(out) == ["a_classes.mkv", "a_side_by_side.mp4"]
    both = read_film(out / "a_side_by_side.mp4")
    assert len(both) == 2
    assert np.abs(both[1][:48, :64].astype(int) - images[1]).mean() < 15, "H.264 has half the colours"
    assert np.abs(both[1][:, 64:].astype(int) - overlay[1]).mean() < 15
    ids = read_ids(out / "a_classes.mkv", (48, 64), np.uint16)
    predict_files(predictor, [film], out, overwrite=True, outputs=Outputs(film="frames"))
    assert shown(out) == ["a_classes", "a_overlay"]
    files = sorted((out / "a_overlay").iterdir())
    assert [file.name for file in files] == ["000000.png", "000001.png"]
    assert np.abs(np.asarray(Image.open(files[1])).astype(int) - overlay[1]).mean() < 15
    assert np.array_equal([np.asarray(Image.open(file)) for file in sorted((out / "a_classes").iterdir())], ids)
    (out / "a_overlay.mp4").mkdir()
    predict_files(predictor, [film], out, overwrite=True, outputs=Outputs(overlays=False))
    assert shown(out) == ["a_classes.mkv", "a_overlay.mp4"], "a folder of somebody else stays"


def test_frames_of_somebody_else_stay(predictor: Predictor, tmp_path: Path) -> None:
    film, own = write_film(tmp_path / "a.mkv", frames(1)), tmp_path / "a_overlay" / "000000.png"
    own.parent.mkdir()
    own.touch()
    (tmp_path / "a_classes").touch()
    predict_files(predictor, [film], tmp_path, overwrite=True)
    assert own.is_file()
    assert (tmp_path / "a_classes").is_file()


def test_frames_need_no_ffmpeg(
    predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    film = write_film(tmp_path / "a.mkv", frames(1))
    monkeypatch.setattr("rtseg.deploy.video.predict_film.ffmpeg_program", lambda: None)
    predict_files(predictor, [film], tmp_path / "out", outputs=Outputs(film="frames"))
    said = capsys.readouterr()
    assert "there is no ffmpeg" not in said.err
    assert "a_overlay: the film with its classes, a PNG of each frame" in said.out


def test_a_pipe_gets_each_frame_and_nothing_else(
    predictor: Predictor, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    film, pipe, counts = write_film(tmp_path / "a.mkv", frames(3)), io.BytesIO(), Counts()
    pipe_film(predictor, film, pipe, Outputs(), max_pixels=None, counts=counts)
    said = capsys.readouterr().out
    predict_files(predictor, [film], tmp_path / "out", outputs=Outputs(film="frames"))
    drawn = [np.asarray(Image.open(file))[..., ::-1] for file in sorted((tmp_path / "out" / "a_overlay").iterdir())]
    height, width = drawn[0].shape[:2]
    assert pipe.getvalue() == b"".join(frame.tobytes() for frame in drawn)
    assert f"-f rawvideo -pix_fmt bgr24 -video_size {width}x{height} -framerate 10 -i -" in said
    assert counts.frames == 3
    pipe = io.BytesIO()
    pipe_film(predictor, film, pipe, Outputs(overlays=False), max_pixels=None, counts=counts)
    assert "-pix_fmt gray16le -video_size 64x48" in capsys.readouterr().out
    assert np.array_equal(np.frombuffer(pipe.getvalue(), np.uint16).reshape(3, 48, 64)[2],
                          predictor.to_ids(predictor(frames(3)[2])))  # fmt: skip


def test_a_closed_pipe_ends_the_film_quietly(predictor: Predictor, tmp_path: Path) -> None:
    film, counts = write_film(tmp_path / "a.mkv", frames(20)), Counts()
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb", buffering=0) as pipe:
        pipe_film(predictor, film, pipe, Outputs(), max_pixels=None, counts=counts)
    assert counts.frames == 0


def test_the_standard_output_is_for_frames_alone(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with frames_on_stdout() as out:
        say("said")
        os.write(1, b"by a library\n")
        out.write(b"frame")
    sys.stdout.flush()
    assert capfd.readouterr() == ("frame", "said\nby a library\n")
    monkeypatch.setattr(sys, "stdout", None)
    with pytest.raises(UserError, match="the standard output, which is closed"), frames_on_stdout():
        pass


def test_a_pipe_that_nobody_empties_can_be_left() -> None:
    before = os.dup(1)
    read, write = os.pipe()
    os.dup2(write, 1)
    begun = threading.Event()

    def fill(out: BinaryIO) -> None:
        begun.set()
        with suppress(OSError, ValueError):
            out.write(bytes(2**20))

    try:
        with frames_on_stdout() as out:
            thread = threading.Thread(target=fill, args=(out,), daemon=True)
            thread.start()
            begun.wait()
            time.sleep(0.05)  # by then it waits, as a rule
    finally:
        os.dup2(before, 1)
        for end in (before, write, read):
            os.close(end)
    thread.join(10)
    assert not thread.is_alive()


def test_what_cannot_be_written_is_refused(predictor: Predictor, tmp_path: Path) -> None:
    film = write_film(tmp_path / "a.mkv", frames(1))
    Image.fromarray(frames(1)[0]).save(tmp_path / "b.png")
    assert one_film([str(film)]) == film
    with pytest.raises(UserError, match=r"takes one film, and '.*b\.png' is none"):
        one_film([str(film), str(tmp_path / "b.png")])
    with pytest.raises(UserError, match="leave the other outputs out"):
        pipe_film(predictor, film, io.BytesIO(), Outputs(film="frames"), max_pixels=None, counts=Counts())
    with pytest.raises(UserError, match="--film films is unknown"):
        Outputs(film="films")
    with pytest.raises(UserError, match="--no-overlay draws none"):
        Outputs(overlays=False, film="side-by-side")
    with pytest.raises(UserError, match="there is no film"):
        predict_files(predictor, [tmp_path / "b.png"], tmp_path / "out", outputs=Outputs(film="frames"))
