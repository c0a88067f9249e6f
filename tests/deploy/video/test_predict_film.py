"""Films through `rtseg predict`: every frame once, the class maps those of the images, whatever the film is."""

import json
import os
import re
import signal
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from rtseg.command_line import resumable
from rtseg.deploy.folder.counts import Counts
from rtseg.deploy.folder.image_files import Outputs
from rtseg.deploy.folder.predict_files import predict_files
from rtseg.deploy.predictor import Predictor
from rtseg.deploy.video.ffmpeg import ffmpeg_program
from rtseg.deploy.video.reader import FilmReader
from rtseg.errors import UserError
from rtseg.models.segmenter import Segmenter
from rtseg.speed.benchmark import texture
from tests.helpers.films import ffmpeg, frames, read_film, read_ids, write_film

pytest.importorskip("imageio_ffmpeg")


@pytest.fixture(scope="module")
def predictor(shared_segmenter: Segmenter) -> Predictor:
    return Predictor(shared_segmenter, device="cpu")


@pytest.mark.parametrize("size", [(48, 64), (45, 61)])
@pytest.mark.parametrize("ids", [(7, 8, 11, 300, 12), (7, 8, 11, 255, 12)])
def test_class_maps_are_those_of_the_images(
    segmenter: Segmenter,
    tmp_path: Path,
    size: tuple[int, int],
    ids: tuple[int, ...],
    capsys: pytest.CaptureFixture[str],
) -> None:
    segmenter.card = replace(segmenter.card, ids=ids)
    predictor = Predictor(segmenter, device="cpu")
    images, out = frames(10, size), tmp_path / "out"
    film = write_film(tmp_path / "street.mkv", images, "-pix_fmt", "bgr0")
    assert predict_files(predictor, [film], out) == {}
    seen = read_film(film)
    assert np.array_equal(seen, images)
    maps = np.stack([predictor(image) for image in seen])
    found = read_ids(out / "street_classes.mkv", size, np.uint16 if max(ids) > 255 else np.uint8)
    assert np.array_equal(found, predictor.to_ids(maps))
    shown = read_film(out / "street_overlay.mp4")
    assert len(shown) == 10
    assert shown[0].shape[0] >= size[0]
    assert not shown[0].shape[0] % 2
    assert shown[0].shape[1] == size[1] + size[1] % 2
    line = json.loads((out / "predictions.jsonl").read_text().splitlines()[1])
    assert (line["name"], line["frames"]) == ("street.mkv", 10)
    assert line["pixels"] == {str(k): int((maps == k).sum()) for k in np.unique(maps)}
    assert (out / "legend.png").is_file()
    assert sorted(path.name for path in out.iterdir() if not path.name.startswith(".")) == [
        "legend.png",
        "predictions.jsonl",
        "street_classes.mkv",
        "street_overlay.mp4",
    ]
    said = capsys.readouterr().out
    assert "street.mkv: 10 frames. In" in said
    assert re.search("10 frames in .*slowest stage: .*; eager on the CPU\n", said)


def test_the_overlay_is_as_browsers_play_it(predictor: Predictor, tmp_path: Path) -> None:
    predict_files(predictor, [write_film(tmp_path / "a.mkv", frames(3))], tmp_path / "out")
    data = (tmp_path / "out" / "a_overlay.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat"), "faststart"
    assert b"moof" not in data
    film = cv2.VideoCapture(str(tmp_path / "out" / "a_overlay.mp4"))
    assert int(film.get(cv2.CAP_PROP_FOURCC)).to_bytes(4, "little") in (b"avc1", b"h264")
    assert film.get(cv2.CAP_PROP_FPS) == pytest.approx(10)


def test_grey_and_one_frame_and_no_overlay(predictor: Predictor, tmp_path: Path) -> None:
    grey = [image[..., 0].copy() for image in frames(1)]
    film, out = write_film(tmp_path / "grey.mkv", grey, pixels="gray"), tmp_path / "out"
    assert predict_files(predictor, [film], out, outputs=Outputs(overlays=False)) == {}
    expected = predictor.to_ids(predictor(np.repeat(grey[0][..., None], 3, 2)))
    assert np.array_equal(read_ids(out / "grey_classes.mkv", (48, 64), np.uint16), expected[None])
    assert not (out / "grey_overlay.mp4").exists()


def test_a_rotated_film_is_upright(predictor: Predictor, tmp_path: Path) -> None:
    film = write_film(tmp_path / "flat.mp4", frames(3), "-c:v", "libx264", "-crf", "1", "-pix_fmt", "yuv420p")
    ffmpeg("-display_rotation", "90", "-i", film, "-c", "copy", tmp_path / "up.mp4")
    predict_files(predictor, [tmp_path / "up.mp4"], tmp_path / "out")
    upright = read_film(tmp_path / "up.mp4")
    assert upright[0].shape == (64, 48, 3)
    assert np.array_equal(upright[0], np.rot90(read_film(film)[0]))
    expected = predictor.to_ids(np.stack([predictor(image) for image in upright]))
    assert np.array_equal(read_ids(tmp_path / "out" / "up_classes.mkv", (64, 48), np.uint16), expected)


def test_a_cut_film_is_written_as_far_as_it_goes(
    predictor: Predictor, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = write_film(tmp_path / "whole.mp4", frames(12), "-c:v", "mpeg4", "-g", "1", "-movflags", "+faststart")
    film = tmp_path / "film.mp4"
    film.write_bytes(whole.read_bytes()[: whole.stat().st_size * 2 // 3])
    assert predict_files(predictor, [film], tmp_path / "out") == {}
    many = len(read_film(film))
    assert 0 < many < 12
    assert len(read_ids(tmp_path / "out" / "film_classes.mkv", (48, 64), np.uint16)) == many
    said = f"film.mp4: ends at frame {many} of the 12 that its header states; those {many} are written"
    assert said in capsys.readouterr().out


def test_films_without_frames_are_named_and_the_others_are_done(
    predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty, text = tmp_path / "empty.mp4", tmp_path / "text.avi"
    empty.write_bytes(b"\0\0\0\x20ftypisom" + bytes(100))
    text.write_text("no film")
    header = write_film(tmp_path / "header.mp4", frames(2), "-c:v", "mpeg4", "-movflags", "+faststart")
    data = header.read_bytes()
    header.write_bytes(data[: data.index(b"mdat") + 4])
    Image.fromarray(texture((45, 60))).save(tmp_path / "a.png")
    good = write_film(tmp_path / "good.mkv", frames(2))
    failed = predict_files(predictor, [empty, tmp_path / "a.png", text, header, good], tmp_path / "out")
    assert list(failed) == [empty, text, header]
    assert "cannot be read as a film" in failed[empty]
    assert "is no film, but a text file; fetch the film once more" in failed[text]
    assert "cannot be read as a film" in failed[header]
    assert (tmp_path / "out" / "a.png").is_file()
    assert (tmp_path / "out" / "good_classes.mkv").is_file()
    assert not list((tmp_path / "out").glob("header*"))
    monkeypatch.setattr(FilmReader, "turns", lambda self: iter(()))
    assert "no frame of it can be decoded" in predict_files(predictor, [good], tmp_path / "none")[good]


def test_a_size_that_changes_becomes_the_first(
    predictor: Predictor, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    title = ("-metadata", "service_name=[Parsed_showinfo_0 @ 0x1] n: 0 s:1x1 ")
    one = write_film(tmp_path / "one.ts", frames(4), "-c:v", "mpeg2video", "-q:v", "2", "-r", "25", *title)
    two = write_film(tmp_path / "two.ts", frames(4, (96, 128)), "-c:v", "mpeg2video", "-q:v", "2", "-r", "25")
    both = tmp_path / "both.ts"
    both.write_bytes(one.read_bytes() + two.read_bytes())
    predict_files(predictor, [both], tmp_path / "out")
    said = "both.ts: its frames change their size (64x48, then 128x96); all are written as 64x48"
    assert said in capsys.readouterr().out
    assert len(read_ids(tmp_path / "out" / "both_classes.mkv", (48, 64), np.uint16)) == len(read_film(both)) > 12


def test_without_ffmpeg_the_film_is_mp4v_and_says_so(
    predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    film = write_film(tmp_path / "a.mkv", frames(4, (45, 61)), "-pix_fmt", "bgr0")
    monkeypatch.setattr("rtseg.deploy.video.predict_film.ffmpeg_program", lambda: None)
    predict_files(predictor, [film], tmp_path / "out")
    assert "which browsers will not show" in " ".join(capsys.readouterr().err.split())
    assert len(read_film(tmp_path / "out" / "a_overlay.mp4")) == 4
    found = [np.asarray(Image.open(file)) for file in sorted((tmp_path / "out" / "a_classes").iterdir())]
    assert np.array_equal(found, predictor.to_ids(np.stack([predictor(image) for image in frames(4, (45, 61))])))


def test_an_ffmpeg_that_dies_is_quoted(predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    film = write_film(tmp_path / "a.mkv", frames(9))
    dying = tmp_path / "ffmpeg"
    dying.write_text("#!/bin/sh\necho 'Unknown encoder' >&2\nexit 8\n")
    dying.chmod(0o755)
    monkeypatch.setenv("RTSEG_FFMPEG", str(dying))
    reason = predict_files(predictor, [film], tmp_path / "out")[film]
    assert "ffmpeg stopped while it wrote" in reason
    assert "Unknown encoder" in reason
    monkeypatch.setenv("RTSEG_FFMPEG", str(tmp_path / "lost"))
    assert "is no program" in predict_files(predictor, [film], tmp_path / "out", overwrite=True)[film]


def test_a_full_disk_leaves_a_film_that_plays(
    predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noise = [np.random.default_rng(k).integers(0, 255, (96, 128, 3), np.uint8) for k in range(40)]
    film = write_film(tmp_path / "a.mkv", noise)
    limited = tmp_path / "ffmpeg"
    limited.write_text(f"#!/bin/bash\ntrap '' XFSZ\nulimit -f 60\nexec {ffmpeg_program()} \"$@\"\n")
    limited.chmod(0o755)
    monkeypatch.setenv("RTSEG_FFMPEG", str(limited))
    reason = predict_files(predictor, [film], tmp_path / "out")[film]
    assert "File too large" in reason
    monkeypatch.delenv("RTSEG_FFMPEG")
    assert 5 < len(read_film(tmp_path / "out" / "a_overlay.mp4")) < 40


def test_an_interrupt_leaves_a_film_that_plays(
    predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    film, counts, seen = write_film(tmp_path / "a.mkv", frames(40)), Counts(), list[int]()
    frame = FilmReader.frame

    def interrupted(self: FilmReader) -> np.ndarray:
        seen.append(1)
        if len(seen) == 20:
            os.kill(os.getpid(), signal.SIGINT)
        return frame(self)

    monkeypatch.setattr(FilmReader, "frame", interrupted)
    with pytest.raises(SystemExit), resumable(counts.sentence):
        predict_files(predictor, [film], tmp_path / "out", counts=counts)
    shown = read_film(tmp_path / "out" / "a_overlay.mp4")
    assert 0 < len(shown) == counts.frames < 40
    assert len(read_ids(tmp_path / "out" / "a_classes.mkv", (48, 64), np.uint16)) == counts.frames
    assert f"Stopped. {counts.frames} frames of '{film}' are written." in capfd.readouterr().out


def test_what_is_of_images_alone_is_refused(predictor: Predictor, tmp_path: Path) -> None:
    film = write_film(tmp_path / "a.mkv", frames(1))
    with pytest.raises(UserError, match="--resume adds images"):
        predict_files(predictor, [film], tmp_path / "out", resume=True)
    with pytest.raises(UserError, match="are of images"):
        predict_files(predictor, [film], tmp_path / "out", outputs=Outputs(margin=True))
    with pytest.raises(UserError, match=r"no images in .*, but 1 film\..*\*\.mkv'"):
        predict_files(predictor, [tmp_path], tmp_path / "out")
    with pytest.raises(UserError, match="this is a film, and an image is expected"):
        predictor(film)
    ffmpeg("-i", film, "-c", "copy", tmp_path / "b_overlay.mkv")
    (tmp_path / "a_classes.mkv").write_bytes(film.read_bytes())
    with pytest.raises(UserError, match="would overwrite the film"):
        predict_files(predictor, [film, tmp_path / "a_classes.mkv"], tmp_path, overwrite=True)
    assert predict_files(predictor, [f"{tmp_path}/*_overlay.mkv"], tmp_path / "out") == {}
    assert (tmp_path / "out" / "b_overlay_classes.mkv").is_file()


@pytest.mark.slow
def test_a_real_film(predictor: Predictor, shared: Path, tmp_path: Path) -> None:
    film = shared / "data" / "video" / "solidWhiteRight.mp4"
    assert predict_files(predictor, [film], tmp_path / "out") == {}
    maps = read_ids(tmp_path / "out" / "solidWhiteRight_classes.mkv", (540, 960), np.uint16)
    seen = read_film(film)
    assert len(maps) == len(seen) == len(read_film(tmp_path / "out" / "solidWhiteRight_overlay.mp4"))
    for found, image in zip(maps, seen, strict=True):
        assert np.array_equal(found, predictor.to_ids(predictor(image)))
