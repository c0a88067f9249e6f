"""Small films whose frames are known, and what is in those that rtseg writes."""

import subprocess
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from rtseg.deploy.video.ffmpeg import ffmpeg_program
from rtseg.speed.benchmark import texture


def frames(count: int, size: tuple[int, int] = (48, 64)) -> list[np.ndarray]:
    """(H, W, 3) uint8 RGB, each of them another."""
    return [np.roll(texture(size), 5 * k, 1) for k in range(count)]


def write_film(file: Path, images: Sequence[np.ndarray], *options: str, pixels: str = "rgb24") -> Path:
    """A film of 10 images a second without loss, by ffmpeg.

    Args:
        options: for ffmpeg, after those of the codec.
    """
    program = ffmpeg_program()
    assert program is not None
    height, width = images[0].shape[:2]
    raw = ["-f", "rawvideo", "-pix_fmt", pixels, "-video_size", f"{width}x{height}", "-framerate", "10", "-i", "-"]
    words = [program, "-y", "-loglevel", "error", *raw, "-c:v", "ffv1", *options, str(file)]
    subprocess.run(words, input=b"".join(image.tobytes() for image in images), check=True)
    return file


def ffmpeg(*words: str | Path) -> None:
    program = ffmpeg_program()
    assert program is not None
    subprocess.run([program, "-y", "-loglevel", "error", *map(str, words)], check=True, stdin=subprocess.DEVNULL)


def read_film(file: Path) -> list[np.ndarray]:
    """(H, W, 3) uint8 RGB of each frame, as OpenCV decodes it."""
    film, found = cv2.VideoCapture(str(file), cv2.CAP_FFMPEG), list[np.ndarray]()
    while film.grab():
        found.append(cv2.cvtColor(film.retrieve()[1], cv2.COLOR_BGR2RGB))
    return found


def read_ids(file: Path, size: tuple[int, int], dtype: type[np.generic]) -> np.ndarray:
    """(N, H, W) ids of a film of class maps."""
    program = ffmpeg_program()
    assert program is not None
    pixels = "gray" if dtype is np.uint8 else "gray16le"
    words = [
        program,
        "-loglevel",
        "error",
        "-i",
        str(file),
        "-fps_mode",
        "passthrough",
        "-f",
        "rawvideo",
        "-pix_fmt",
        pixels,
        "-",
    ]
    raw = subprocess.run(words, check=True, capture_output=True, stdin=subprocess.DEVNULL).stdout
    return np.frombuffer(raw, dtype).reshape(-1, *size)
