"""The page's JavaScript gives what rtseg gives: class maps, margins, and images at the size that the network sees."""

import base64
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from rtseg.data.evaluation import evaluation_size
from rtseg.deploy.class_map.margin_cpu import class_map_and_margin_cpu
from rtseg.page.network import STATIC

# Size of the logits, classes, size of the map, the size between, noise or smooth.
MAPS = [
    ((6, 9, 5), (48, 72), None, False),
    ((6, 9, 150), (41, 67), None, True),
    ((5, 7, 3), (37, 53), (40, 56), True),
    ((5, 7, 300), (23, 90), (40, 56), True),
    ((1, 1, 2), (8, 8), None, True),
    ((4, 4, 1), (9, 9), None, True),
]
RESIZED = [((36, 48), (64, 96)), ((60, 80), (30, 40)), ((33, 50), (32, 32)), ((20, 20), (20, 20)), ((3, 90), (32, 256))]
SIZES = [((360, 480), (512, 2048)), ((1024, 2048), (512, 2048)), ((37, 5000), (512, 2048)), ((11, 13), None)]


def run(cases: list[dict[str, Any]]) -> list[Any]:
    """What the modules give, in order; the test is skipped where there is no node."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("no node here, which runs JavaScript outside a browser")
    program = [node, str(Path(__file__).with_name("modules.mjs")), STATIC.as_uri()]
    done = subprocess.run(program, input=json.dumps(cases), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


def packed(array: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()


def unpacked(text: str, dtype: type[np.generic], shape: tuple[int, ...]) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), dtype).reshape(shape)


def drawn_logits(shape: tuple[int, int, int], *, noise: bool) -> np.ndarray:
    """(1, h, w, K) float32; without noise each class has one wave, so that most are far behind."""
    rng = np.random.default_rng(0)
    h, w, number = shape
    if noise:
        return rng.normal(size=(1, *shape)).astype(np.float32)
    rows, columns = np.mgrid[:h, :w, 0:1][:2]
    phase = rng.uniform(0, 6, number)
    return (4 * np.sin(rows / 3 + phase) + 4 * np.cos(columns / 4 + 2 * phase))[None].astype(np.float32)


def test_class_maps_and_margins_are_those_of_rtseg() -> None:
    logits = [drawn_logits(shape, noise=noise) for shape, _, _, noise in MAPS]
    cases = [
        {"kind": "classMap", "logits": packed(one), "dims": one.shape[1:], "size": size, "between": between}
        for one, (_, size, between, _) in zip(logits, MAPS, strict=True)
    ]
    for one, (shape, size, between, _), found in zip(logits, MAPS, run(cases), strict=True):
        classes, margins, _ = class_map_and_margin_cpu(one, size, between)
        mine = unpacked(found[0], np.uint8 if shape[2] <= 256 else np.uint16, size)
        assert (mine == classes[0]).mean() >= 0.999, shape
        assert (margins[0][mine != classes[0]] < 1e-5).all(), "only ties of float32 may differ"
        np.testing.assert_allclose(unpacked(found[1], np.float32, size), margins[0], atol=1e-5, err_msg=str(shape))


def test_logits_that_are_no_numbers_are_not_the_first_class() -> None:
    """As a broken driver gives them, here at the last positions alone."""
    logits = drawn_logits((6, 9, 5), noise=True)
    case = {"kind": "classMap", "logits": packed(logits), "dims": (6, 9, 5), "size": (48, 72), "between": None}
    (said,) = run([{**case, "lost": 5 * 5}])
    assert "not a number" in said


def test_images_are_resized_as_opencv_does() -> None:
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (*size, 4), np.uint8) for size, _ in RESIZED]
    cases = [
        {"kind": "resize", "rgba": packed(image), "size": size, "seen": seen}
        for image, (size, seen) in zip(images, RESIZED, strict=True)
    ]
    for image, (_, (height, width)), found in zip(images, RESIZED, run(cases), strict=True):
        wanted = cv2.resize(image[..., :3], (width, height), interpolation=cv2.INTER_LINEAR)
        mine = unpacked(found, np.uint8, (height, width, 3))
        assert np.abs(mine.astype(int) - wanted).max() <= 1
        assert (mine != wanted).mean() < 0.001


def test_sizes_are_those_of_the_evaluation_unless_they_are_too_large() -> None:
    given = {"size": None, "resize": None, "most_pixels": 2**16}
    cases: list[dict[str, Any]] = [
        *({"kind": "evaluationSize", "size": size, "resize": resize} for size, resize in SIZES),
        {"kind": "seenSize", "size": (200, 300), "input": given},
        {"kind": "seenSize", "size": (2000, 3000), "input": given},
        {"kind": "seenSize", "size": (2000, 3000), "input": {**given, "size": (64, 96)}},
    ]
    *sizes, small, large, fixed = run(cases)
    assert sizes == [list(evaluation_size(size, resize)) for size, resize in SIZES]
    assert small == {"seen": [200, 300], "reduced": False}
    assert large == {"seen": [192, 288], "reduced": True}
    assert fixed == {"seen": [64, 96], "reduced": False}
