"""Films as they are: long, real, and of a data set whose images are scored."""

import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rtseg.deploy.folder.lanes import lanes
from rtseg.deploy.folder.pipeline import Pipeline
from rtseg.deploy.folder.predict_files import predict_files, stage_threads
from rtseg.deploy.pixels import read_pixels
from rtseg.deploy.predictor import Predictor
from rtseg.deploy.video.reader import FilmReader
from rtseg.models.segmenter import Segmenter
from tests.helpers.films import ffmpeg, frames, read_ids, write_film
from tests.helpers.segmenters import small

pytest.importorskip("imageio_ffmpeg")
pytestmark = pytest.mark.slow

_RATE = 10  # of `write_film`
_MORE = 8 * 2**20  # bytes by which two runs of one film differ
_PEAK = """
import sys
from pathlib import Path
from rtseg.deploy.folder.predict_files import predict_files
from rtseg.deploy.predictor import Predictor
from tests.helpers.segmenters import small
assert predict_files(Predictor(small(), device="cpu", engine="eager"), [sys.argv[1]], sys.argv[2]) == {}
print("peak", *(line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line))
"""


@pytest.fixture(scope="module")
def predictor(shared_segmenter: Segmenter) -> Predictor:
    return Predictor(shared_segmenter, device="cpu", engine="eager")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not keep the peak")
def test_memory_does_not_follow_the_length(tmp_path: Path) -> None:
    second = write_film(tmp_path / "second.mkv", frames(_RATE, (32, 64)))
    peaks = {}
    for seconds in (20, 1200):
        film, out = tmp_path / f"{seconds}.mkv", tmp_path / f"out{seconds}"
        ffmpeg("-stream_loop", str(seconds - 1), "-i", second, "-c", "copy", film)
        said = subprocess.run(
            [sys.executable, "-c", _PEAK, film, out], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True
        ).stdout.decode()
        assert f"{seconds * _RATE} frames" in said
        peaks[seconds] = 1024 * int(said.split("peak ")[1])
        assert len(read_ids(out / f"{seconds}_classes.mkv", (32, 64), np.uint16)) == seconds * _RATE
    print({seconds: f"{peak / 2**20:.0f} MiB" for seconds, peak in peaks.items()})
    assert peaks[1200] <= peaks[20] + _MORE


def _alone(predictor: Predictor, images: list[np.ndarray]) -> float:
    """Seconds of an image where the network has the machine for itself."""
    pipeline = Pipeline[int](
        read=lambda number, admit: images[number],
        predict=[partial(lane.predict, Predictor.classes_of) for lane in lanes(predictor, 1000)],
        write=lambda number, image, classes: None,
        finish=lambda number, result, error: None,
    )
    begin = time.perf_counter()
    pipeline.run(range(len(images)))
    return (time.perf_counter() - begin) / len(images)


def test_a_film_is_nearly_as_fast_as_its_slowest_stage(shared: Path, tmp_path: Path) -> None:
    predictor = Predictor(small(base_channels=32, num_classes=19), device="cpu", engine="eager")
    film = shared / "data" / "video" / "solidWhiteRight.mp4"
    reader = FilmReader(film, 10**6)
    images = [reader.frame() for turn in reader.turns() if turn.number < 40]  # all turns: `frames` counts them
    _alone(predictor, images[:4])
    before = _alone(predictor, images)
    begin = time.perf_counter()
    assert predict_files(predictor, [film], tmp_path / "out") == {}
    whole = (time.perf_counter() - begin) / reader.frames
    network = (before + _alone(predictor, images)) / 2
    print(f"{stage_threads()} threads: {1000 * network:.0f} ms alone, {1000 * whole:.0f} ms from file to file")
    assert network >= 0.8 * whole


def test_camvids_frames_as_a_film_have_the_class_maps_of_its_images(
    predictor: Predictor, shared: Path, tmp_path: Path
) -> None:
    images = sorted((shared / "data" / "camvid" / "val").iterdir())
    read = [read_pixels(path, predictor.card, 10**6) for path in images]
    film = write_film(tmp_path / "val.mkv", read, "-pix_fmt", "bgr0")
    assert predict_files(predictor, [*images, film], tmp_path / "out") == {}
    found = read_ids(tmp_path / "out" / "val_classes.mkv", (360, 480), np.uint16)
    assert len(found) == len(images) == 101
    for path, ids in zip(images, found, strict=True):
        assert np.array_equal(np.asarray(Image.open(tmp_path / "out" / f"{path.stem}.png")), ids)
